// Answer with the page's server.

import { ask } from "./ask.js";
import { decodeBytes } from "./network.js";

// Return two functions of the drawing's ImageData. `read` returns {probabilities: one per class, or
// null if nothing is written, isDigit: false if unclear, null if the model does not know, seen: RGBA
// of what the network saw, features: [{shape: [C, H, W], data: Uint8}]}; `readPage` the digits found,
// in reading order: [{row, number, place, box: [left, top, right, bottom], class, probability,
// is_digit}].
export async function connect(model) {
    const path = model.features.length ? "features" : "predict";
    const post = async (to, picture) => {
        const body = new FormData();
        body.append("file", await toPng(picture), "drawing.png");
        return ask(to, { method: "POST", body });
    };
    const readPage = async (picture) => (await post("predict?many=1", picture)).pages[0].digits;
    const read = async (picture) => {
        const whole = await post(path, picture), answer = whole.predictions?.[0] ?? whole;
        const { probabilities, seen, features = [] } = answer;
        return {
            probabilities: answer.class === null ? null : model.classes.map((name) => probabilities[name]),
            isDigit: answer.is_digit,
            seen: await toPixels(decodeBytes(seen)),
            features: features.map(({ shape, data }) => ({ shape, data: decodeBytes(data) })),
        };
    };
    return { read, readPage };
}

function toPng(picture) {
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
}

function decode(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
    return bytes;
}

async function toPixels(png) {
    const bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}
