// Prepare a picture of a handwritten digit like the MNIST digits: data/digit.py, line by line. A
// test compares the two; data/digit.py explains the steps.

import {
    crop, dilate, dilateDisc, distances, gaussianFilter, greyClosing, labelParts, makePlane, map,
    maximum, pad, percentiles, uniformFilter,
} from "./plane.js";
import { HAMMING, resize } from "./resample.js";

export const FIELD = 28;
const BOX = 20;
const FINE = 80;
const WORK = 400;
const WINDOW = 101;
const STROKE = 2.6;
const { fround } = Math; // Python computes in float32 here; so do all planes

// A plane of integers 0 to 255, of any size -> a plane of 28x28, white on black.
export function prepareDigit(picture) {
    let digit = cutOut(inkOf(darkOnLight(fit(picture, WORK, true))));
    if (!digit) return makePlane(FIELD, FIELD);
    digit = fit(thicken(fit(digit, FINE, false)), BOX, false);
    const scale = fround(255 / maximum(digit));
    return centred(map(digit, (value) => roundEven(fround(scale * value))));
}

// Round as Python and NumPy do: half to even.
export function roundEven(value) {
    const below = Math.floor(value);
    if (value - below !== 0.5) return Math.round(value);
    return below % 2 ? below + 1 : below;
}

function fit(picture, side, whole) {
    const longer = Math.max(picture.width, picture.height);
    const scaled = (length) => Math.max(1, roundEven((length * side) / longer));
    const width = scaled(picture.width), height = scaled(picture.height);
    return resize(picture, width, height, HAMMING, whole, 2);
}

function darkOnLight(picture) {
    let skewness = 0;
    for (const window of [WINDOW >> 1, 2 * WINDOW]) {
        const local = uniformFilter(picture, window).data;
        let squares = 0, cubes = 0;
        for (let k = 0; k < local.length; k++) {
            const rest = picture.data[k] - local[k];
            squares += rest * rest;
            cubes += rest * rest * rest;
        }
        skewness += cubes / local.length / Math.max(squares / local.length, 1) ** 1.5;
    }
    return skewness <= 0 ? picture : map(picture, (value) => 255 - value);
}

function inkOf(picture) {
    const smooth = gaussianFilter(picture, 0.8);
    const half = WINDOW >> 1;
    const closed = greyClosing(pad(smooth, half, true), half);
    const paper = crop(closed, half, half, picture.width, picture.height);
    return map(paper, (light, k) => fround(light - smooth.data[k]) / Math.max(light, 1));
}

function cutOut(shares) {
    const [low, bare] = percentiles(shares.data, [10, 30]);
    const ink = map(shares, (value) => value - bare);
    const limit = Math.max(fround(0.05), fround(7 * fround(bare - low)), 0.25 * maximum(ink));
    const dark = map(ink, (value) => (value > limit ? 1 : 0));
    if (!maximum(dark)) return null;
    const parts = digitParts(ink, dark);
    const [full] = percentiles(ink.data.filter((_, k) => parts.data[k]), [80]);
    const least = fround(0.4 * full);
    const digit = map(parts, (part, k) => (part && ink.data[k] > least ? 1 : 0));
    const soft = dilate(digit, 2, false).data;
    const [box] = boxesOf(digit.data, 1, digit.width);
    const width = box.right - box.left, height = box.bottom - box.top;
    if (Math.max(width, height) <= Math.floor(WORK / 40)) return null;
    const clear = map(ink, (value, k) => (soft[k] ? Math.min(Math.max(value / full, 0), 1) : 0));
    return crop(clear, box.left, box.top, width, height);
}

function digitParts(ink, dark) {
    const { labels, count } = labelParts(dilate(dark, 2, true));
    const sums = new Float64Array(count);
    for (let k = 0; k < labels.length; k++) {
        if (!dark.data[k]) labels[k] = 0;
        else sums[labels[k] - 1] += ink.data[k];
    }
    const first = sums.indexOf(Math.max(...sums));
    const boxes = boxesOf(labels, count, ink.width);
    const main = boxes[first];
    const extent = (box) => Math.max(box.bottom - box.top, box.right - box.left);
    const belongs = boxes.map((box) => {
        const gap = Math.max(box.top - main.bottom, main.top - box.bottom,
            box.left - main.right, main.left - box.right);
        return gap < 0.25 * extent(main) && extent(box) >= 0.2 * extent(main);
    });
    return map(dark, (_, k) => (labels[k] && belongs[labels[k] - 1] ? 1 : 0));
}

// The bounding box of each label from 1 to count.
function boxesOf(labels, count, width) {
    const boxes = Array.from({ length: count },
        () => ({ left: Infinity, top: Infinity, right: 0, bottom: 0 }));
    for (let k = 0; k < labels.length; k++) {
        if (!labels[k]) continue;
        const box = boxes[labels[k] - 1], x = k % width, y = (k - x) / width;
        box.left = Math.min(box.left, x);
        box.right = Math.max(box.right, x + 1);
        box.top = Math.min(box.top, y);
        box.bottom = Math.max(box.bottom, y + 1);
    }
    return boxes;
}

function thicken(digit) {
    const half = 0.5 * maximum(digit);
    const inside = pad(map(digit, (value) => (value > half ? 1 : 0)), 1);
    const far = distances(inside).filter((_, k) => inside.data[k]);
    const width = (4 * far.reduce((sum, value) => sum + value, 0)) / far.length;
    const radius = ((STROKE * FINE) / BOX - width) / 2;
    return radius < 0.5 ? digit : dilateDisc(pad(digit, Math.ceil(radius)), radius + 0.25);
}

function centred(digit) {
    const { width, height, data } = digit;
    let mass = 0, massX = 0, massY = 0;
    data.forEach((value, k) => {
        mass += value;
        massX += value * (k % width);
        massY += value * Math.floor(k / width);
    });
    const start = (centre, length) =>
        Math.min(Math.max(roundEven(FIELD / 2 - centre), 0), FIELD - length);
    const left = start(massX / mass, width), top = start(massY / mass, height);
    const field = makePlane(FIELD, FIELD);
    for (let y = 0; y < height; y++) {
        field.data.set(data.subarray(y * width, (y + 1) * width), (top + y) * FIELD + left);
    }
    return field;
}
