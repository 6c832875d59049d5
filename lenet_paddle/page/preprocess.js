// From a picture's pixels to the network's input: data/preprocess.py for the browser.

import { FIELD, prepareDigit, roundEven } from "./digit.js";
import { makePlane } from "./plane.js";
import { LANCZOS, resize } from "./resample.js";

// ImageData (RGBA, opaque) -> a plane of integers, like Pillow's convert("L").
export function greyOf({ width, height, data }) {
    const plane = makePlane(width, height);
    for (let k = 0; k < plane.data.length; k++) {
        const red = data[4 * k], green = data[4 * k + 1], blue = data[4 * k + 2];
        plane.data[k] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    }
    return plane;
}

// A plane of any size -> a plane of 28x28; `mode` is "digit" or "resize".
export function preparePicture(plane, mode) {
    if (mode === "digit") return prepareDigit(plane);
    return plane.width === FIELD && plane.height === FIELD ? plane : scaleToFit(plane);
}

// Return whether nothing is written in a plane of 28x28: it has one value.
export function isEmpty({ data }) {
    return data.every((value) => value === data[0]);
}

function scaleToFit(plane) {
    const scale = FIELD / Math.max(plane.width, plane.height);
    const scaled = (length) => Math.max(1, roundEven(length * scale));
    const small = resize(plane, scaled(plane.width), scaled(plane.height), LANCZOS, true);
    const field = makePlane(FIELD, FIELD);
    field.data.fill(Math.trunc(medianOfBorder(plane)));
    const top = (FIELD - small.height) >> 1, left = (FIELD - small.width) >> 1;
    for (let y = 0; y < small.height; y++) {
        const row = small.data.subarray(y * small.width, (y + 1) * small.width);
        field.data.set(row, (top + y) * FIELD + left);
    }
    return field;
}

function medianOfBorder({ width, height, data }) {
    const border = [...data.subarray(0, width), ...data.subarray(width * (height - 1))];
    for (let y = 0; y < height; y++) border.push(data[y * width], data[y * width + width - 1]);
    border.sort((a, b) => a - b);
    const middle = border.length >> 1;
    return border.length % 2 ? border[middle] : (border[middle - 1] + border[middle]) / 2;
}

// A plane of 28x28, 0 to 255 -> float32 of size x size, -1 to 1, padded with the background, -1.
export function normalise(plane, size) {
    const result = new Float32Array(size * size).fill(-1);
    const start = (size - plane.width) >> 1;
    for (let y = 0; y < plane.height; y++) {
        for (let x = 0; x < plane.width; x++) {
            const value = plane.data[y * plane.width + x];
            result[(start + y) * size + start + x] = (value - 127.5) / 127.5;
        }
    }
    return result;
}
