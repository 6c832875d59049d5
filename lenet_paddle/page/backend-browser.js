// Answer with the exported model in this browser, in worker.js so that drawing never waits.

// Return the same functions as backend-server.js.
export function connect(model) {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    const ask = (message) => new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
        worker.onerror = (event) => reject(new Error(event.message || "worker.js"));
        worker.postMessage(message);
    });
    const url = new URL("model.onnx", document.baseURI).href;
    return ask({ model, url }).then(() => ({
        read: (picture) => ask({ picture }),
        readPage: async (picture) => (await ask({ picture, isPage: true })).digits,
    }));
}
