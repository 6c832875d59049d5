// From a picture's pixels to the network's input: data/preprocess.py for the browser.
//
// A picture is a list of planes: one of grey, or three of red, green and blue.

import { prepareDigit, roundEven } from "./digit.js";
import { makePlane } from "./plane.js";
import { LANCZOS, resize } from "./resample.js";

// ImageData (RGBA, opaque) -> planes of integers 0 to 255; grey is that of Pillow's convert("L").
export function planesOf({ width, height, data }, channels) {
    const grey = (k) => (data[k] * 19595 + data[k + 1] * 38470 + data[k + 2] * 7471 + 0x8000) >> 16;
    return Array.from({ length: channels }, (_, channel) => {
        const plane = makePlane(width, height), read = channels === 1 ? grey : (k) => data[k + channel];
        for (let k = 0; k < plane.data.length; k++) plane.data[k] = read(4 * k);
        return plane;
    });
}

// Planes -> Uint8ClampedArray of RGBA, as in ImageData.
export function toPixels(planes) {
    const pixels = new Uint8ClampedArray(4 * planes[0].data.length).fill(255);
    for (const channel of [0, 1, 2]) {
        const { data } = planes[planes.length === 1 ? 0 : channel];
        for (let k = 0; k < data.length; k++) pixels[4 * k + channel] = data[k];
    }
    return pixels;
}

// Planes of any size -> planes of size x size; `mode` is "digit" (one plane, 28x28) or "resize".
export function preparePicture(planes, mode, size) {
    if (mode === "digit") return [prepareDigit(planes[0])];
    const isPrepared = planes[0].width === size && planes[0].height === size;
    return isPrepared ? planes : planes.map((plane) => scaleToFit(plane, size));
}

// Return whether nothing is written in a prepared picture: it is grey and has one value.
export function isEmpty([{ data }, ...others]) {
    return !others.length && data.every((value) => value === data[0]);
}

function scaleToFit(plane, size) {
    const scale = size / Math.max(plane.width, plane.height);
    const scaled = (length) => Math.max(1, roundEven(length * scale));
    const small = resize(plane, scaled(plane.width), scaled(plane.height), LANCZOS, true);
    const field = makePlane(size, size);
    field.data.fill(Math.trunc(medianOfBorder(plane)));
    const top = (size - small.height) >> 1, left = (size - small.width) >> 1;
    for (let y = 0; y < small.height; y++) {
        const row = small.data.subarray(y * small.width, (y + 1) * small.width);
        field.data.set(row, (top + y) * size + left);
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

// Planes, 0 to 255 -> float32 (C, S, S) with S = size, -1 to 1, padded with the background, -1.
export function normalise(planes, size) {
    const result = new Float32Array(planes.length * size * size).fill(-1);
    planes.forEach((plane, channel) => {
        const start = (size - plane.width) >> 1, first = (channel * size + start) * size + start;
        for (let y = 0; y < plane.height; y++) {
            for (let x = 0; x < plane.width; x++) {
                const value = plane.data[y * plane.width + x];
                result[first + y * size + x] = (value - 127.5) / 127.5;
            }
        }
    });
    return result;
}
