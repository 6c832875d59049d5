// Run the exported model with ONNX Runtime in a worker thread.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { channelsRead, isEmpty, normalise, planesOf, preparePicture, toPixels } from "./preprocess.js";

ort.env.wasm.numThreads = 1; // more threads need headers that static hosts do not send
let model, session;

self.onmessage = async ({ data }) => {
    try {
        self.postMessage(data.picture ? await answer(data.picture) : await load(data));
    } catch (error) {
        self.postMessage({ error: error.message });
    }
};

async function load({ model: description, url }) {
    model = description;
    session = await ort.InferenceSession.create(url);
    return {};
}

async function answer(picture) {
    const [, channels, , size] = model.input.shape;
    const planes = planesOf(picture, channelsRead(model.preprocess, channels));
    const seen = preparePicture(planes, model.preprocess, model.image_size);
    const image = new ort.Tensor("float32", normalise(seen, size), [1, channels, size, size]);
    const outputs = await session.run({ [model.input.name]: image });
    const logits = outputs.logits.data, isWritten = !isEmpty(seen);
    return {
        probabilities: isWritten ? softmax(logits) : null,
        isDigit: model.threshold === null ? null : isWritten && Math.max(...logits) >= model.threshold,
        seen: toPixels(seen),
        features: model.features.map(({ name, shape }) => {
            return { shape, data: scaleMaps(outputs[name].data, shape[1] * shape[2]) };
        }),
    };
}

function softmax(logits) {
    const most = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - most));
    const total = powers.reduce((sum, power) => sum + power);
    return powers.map((power) => power / total);
}

// Scale each map from its minimum, 0, to its maximum, 255; a constant map becomes 0.
function scaleMaps(values, size) {
    const scaled = new Uint8Array(values.length);
    for (let start = 0; start < values.length; start += size) {
        const map = values.subarray(start, start + size);
        const low = map.reduce((a, b) => Math.min(a, b)), span = map.reduce((a, b) => Math.max(a, b)) - low;
        if (span > 0) scaled.set(map.map((value) => Math.round(((value - low) / span) * 255)), start);
    }
    return scaled;
}
