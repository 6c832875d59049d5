// From a picture's pixels to the network's input: data/preprocess.py for the browser.
//
// A picture is a list of planes: one of grey, or three of red, green and blue.

import { prepareDigit } from "./digit.js";
import { greyOf, median, roundEven } from "./ink.js";
import { makePlane } from "./plane.js";
import { LANCZOS, resize } from "./resample.js";

// The channels in which a picture is read: a digit's colours may tell its ink from the paper.
export const channelsRead = (mode, channels) => (mode === "digit" ? 3 : channels);

// ImageData (RGBA, opaque) -> planes of integers 0 to 255; grey is that of Pillow's convert("L").
export function planesOf({ width, height, data }, channels) {
    const planes = [0, 1, 2].map((channel) => {
        const plane = makePlane(width, height);
        for (let k = 0; k < plane.data.length; k++) plane.data[k] = data[4 * k + channel];
        return plane;
    });
    return channels === 1 ? [greyOf(planes)] : planes;
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

// Planes of any size -> planes of size x size; `mode` is "digit" (to one plane, 28x28) or "resize".
export function preparePicture(planes, mode, size) {
    if (mode === "digit") return [prepareDigit(planes)];
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
    return median(border);
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
