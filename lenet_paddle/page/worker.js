// Run the exported model with ONNX Runtime in a worker thread.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { findDigits } from "./many.js";
import { softmax } from "./network.js";
import { channelsRead, isEmpty, normalise, planesOf, preparePicture, toPixels } from "./preprocess.js";

ort.env.wasm.numThreads = 1; // more threads need headers that static hosts do not send
let model, session;

self.onmessage = async ({ data }) => {
    try {
        const run = data.isPage ? readPage : answer;
        self.postMessage(data.picture ? await run(data.picture) : await load(data));
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
        probabilities: isWritten ? softmax(Array.from(logits)) : null,
        isDigit: judge(logits, isWritten),
        seen: toPixels(seen),
        features: model.features.map(({ name, shape }) => {
            return { shape, data: scaleMaps(outputs[name].data, shape[1] * shape[2]) };
        }),
    };
}

// Return whether these logits are of a digit, null if the model does not know.
function judge(logits, isWritten = true) {
    return model.threshold === null ? null : isWritten && Math.max(...logits) >= model.threshold;
}

// Find the digits on a page and name them, as export/pages.py does.
async function readPage(picture) {
    const found = await findDigits(planesOf(picture, 1)[0], score);
    const isSame = (a, b) => a.row === b.row && a.number === b.number;
    const named = found.map((digit) => {
        const shares = softmax(digit.logits), best = shares.indexOf(Math.max(...shares));
        return { ...digit, class: model.classes[best], probability: shares[best], is_digit: judge(digit.logits) };
    });
    return {
        digits: named.map((digit) => {
            const members = named.filter((other) => isSame(other, digit));
            const number = members.map((member) => member.class).join("");
            return { ...digit, number, place: members.indexOf(digit) + 1 };
        }),
    };
}

// Return the logits of planes of 28x28.
async function score(planes) {
    const [, , , size] = model.input.shape, values = new Float32Array(planes.length * size * size);
    planes.forEach((plane, k) => values.set(normalise([plane], size), k * size * size));
    const images = new ort.Tensor("float32", values, [planes.length, 1, size, size]);
    const { logits: { data } } = await session.run({ [model.input.name]: images }, ["logits"]);
    const count = model.classes.length;
    return planes.map((_, k) => Array.from(data.subarray(k * count, (k + 1) * count)));
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
