// Prepare a picture of a handwritten digit like the MNIST digits: data/digit.py, line by line. A
// test compares the two; data/digit.py explains the steps.

import {
    crop, dilate, dilateDisc, distances, gaussianFilter, greyClosing, greyErosion, labelParts,
    makePlane, map, maximum, pad, percentiles, uniformFilter,
} from "./plane.js";
import { HAMMING, resize } from "./resample.js";

export const FIELD = 28;
const BOX = 20;
const FINE = 80;
const WORK = 400;
const MARGIN = Math.floor(WORK / 3);
const WINDOW = 101;
const STROKE = 2.6;
const SMALL = 40;
const SEPARATION = 0.6;
const SURE_SEPARATION = 0.8;
const THICK = 17;
const MOST_HOLES = 8;
const { fround } = Math; // Python computes in float32 here; so do all planes

// A plane of whole numbers 0 to 255, of any size -> such a plane of 28x28, white on black; all
// zeros where nothing is written.
export function prepareDigit(picture) {
    if (hasMnistForm(picture)) return picture;
    const strokes = findStrokes(picture);
    let digit = strokes && cutOut(strokes);
    if (!digit) return makePlane(FIELD, FIELD);
    digit = fit(thicken(fit(digit, FINE, false)), BOX, false);
    const scale = fround(255 / maximum(digit));
    return centred(map(digit, (value) => roundEven(fround(scale * value))));
}

function hasMnistForm(picture) {
    if (picture.width !== FIELD || picture.height !== FIELD || maximum(picture) < 254) return false;
    if (picture.data.reduce((count, value) => count + (value === 0), 0) < picture.data.length / 2) {
        return false;
    }
    const masses = [new Float64Array(FIELD), new Float64Array(FIELD)];
    picture.data.forEach((value, k) => {
        masses[0][Math.floor(k / FIELD)] += value;
        masses[1][k % FIELD] += value;
    });
    const lengths = masses.map((mass) =>
        mass.findLastIndex((value) => value > 0) - mass.findIndex((value) => value > 0) + 1);
    const offsets = masses.map((mass) => {
        const moment = mass.reduce((sum, value, k) => sum + k * value, 0);
        return Math.abs(moment / mass.reduce((sum, value) => sum + value) - FIELD / 2);
    });
    const length = Math.max(...lengths);
    return BOX - 1 <= length && length <= BOX && Math.max(...offsets) < 0.55;
}

// The digit's pixels and the ink there, full ink 1; null without a digit.
function findStrokes(picture) {
    const work = fit(picture, WORK, true);
    const ink = inkOf(darkOnLight(work));
    const strokes = chooseDigit(ink);
    const isSmall = Math.max(picture.width, picture.height) <= SMALL;
    if (!isSmall && strokes && !isCropped(strokes.digit, ink)) return withoutShadow(strokes, 0);
    const padded = addMargin(work, !strokes && !isSmall ? SURE_SEPARATION : SEPARATION);
    if (!padded) return withoutShadow(strokes, 0);
    return withoutShadow(chooseDigit(inkOf(padded)), Math.floor(MARGIN * WORK / (WORK + 2 * MARGIN)));
}

// The strokes; null if they are a filled rectangle that is no straight 1.
function withoutShadow(strokes, margin) {
    if (!strokes) return null;
    const { width, height, data } = strokes.digit;
    const [box] = boxesOf(data, 1, width);
    const sides = [box.right - box.left, box.bottom - box.top];
    if (data.reduce((sum, isDigit) => sum + isDigit, 0) <= 0.97 * sides[0] * sides[1]) return strokes;
    const touched = (box.left <= margin + 2) + (box.right >= width - margin - 2)
        + (box.top <= margin + 2) + (box.bottom >= height - margin - 2);
    const isWide = 2 * Math.min(...sides) > Math.max(...sides);
    return isWide || touched > (margin ? 2 : 1) ? null : strokes;
}

function isCropped(digit, ink) {
    const limit = 0.25 * maximum(ink);
    const areas = map(greyErosion(ink, THICK >> 1), (value) => (value > limit ? 1 : 0));
    return touchesOppositeSides(digit) || touchesOppositeSides(areas);
}

function touchesOppositeSides({ width, height, data }) {
    let [left, right, top, bottom] = [false, false, false, false];
    data.forEach((isDigit, k) => {
        if (!isDigit) return;
        const x = k % width, y = (k - x) / width;
        left ||= x < 2;
        right ||= x >= width - 2;
        top ||= y < 2;
        bottom ||= y >= height - 2;
    });
    return (left && right) || (top && bottom);
}

function addMargin(picture, separation) {
    const { width, height, data } = picture;
    const threshold = otsu(data, separation);
    if (threshold === null) return null;
    const isDark = (k) => (data[k] <= threshold ? 1 : 0);
    const share = (places) => places.reduce((sum, k) => sum + isDark(k), 0) / places.length;
    const row = Array.from({ length: width }, (_, x) => x);
    const column = Array.from({ length: height }, (_, y) => y * width);
    const last = data.length - 1;
    const edge = [...row, ...row.map((k) => last - k), ...column, ...column.map((k) => last - k)];
    const corners = [0, width - 1, last - width + 1, last];
    const isInverted = share(edge) + 0.5 * share([...data.keys()]) + 0.5 * share(corners) >= 1;
    const light = isInverted ? map(picture, (value) => 255 - value) : picture;
    const ground = light.data.filter((_, k) => isDark(k) === (isInverted ? 1 : 0)).sort();
    const middle = ground.length >> 1;
    const median = ground.length % 2 ? ground[middle] : (ground[middle - 1] + ground[middle]) / 2;
    return fit(map(pad(light, MARGIN, median), roundEven), WORK, true);
}

function otsu(data, separation) {
    const counts = new Float64Array(256);
    for (const value of data) counts[value] += 1 / data.length;
    const mean = counts.reduce((sum, count, level) => sum + count * level, 0);
    const variance = counts.reduce((sum, count, level) => sum + count * (level - mean) ** 2, 0);
    let below = 0, meanBelow = 0, most = 0, threshold = 0;
    counts.forEach((count, level) => {
        below += count;
        meanBelow += count * level;
        const between = (mean * below - meanBelow) ** 2 / (below * (1 - below));
        if (between > most && Number.isFinite(between)) [most, threshold] = [between, level];
    });
    return most <= separation * variance ? null : threshold;
}

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
    const half = WINDOW >> 1, { width, height } = picture;
    const edges = makePlane(width, height, smooth.data.slice());
    for (const y of [0, height - 1]) closeLine(edges.data, y * width, 1, width);
    for (const x of [0, width - 1]) closeLine(edges.data, x, width, height);
    const wide = pad(edges, half, "edge");
    for (let y = 0; y < height; y++) {
        const row = smooth.data.subarray(y * width, (y + 1) * width);
        wide.data.set(row, (half + y) * wide.width + half);
    }
    const paper = crop(greyClosing(wide, half), half, half, width, height);
    return map(paper, (light, k) => fround(light - smooth.data[k]) / Math.max(light, 1));
}

function closeLine(data, start, step, length) {
    const half = WINDOW >> 1;
    const line = makePlane(length + 2 * half, 1, new Float32Array(length + 2 * half).fill(255));
    for (let k = 0; k < length; k++) line.data[half + k] = data[start + k * step];
    const closed = greyClosing(line, half).data;
    for (let k = 0; k < length; k++) {
        data[start + k * step] = Math.max(data[start + k * step], closed[half + k]);
    }
}

function chooseDigit(shares) {
    const [low, bare] = percentiles(shares.data, [10, 30]);
    const ink = map(shares, (value) => value - bare);
    const limit = Math.max(fround(0.05), fround(7 * fround(bare - low)), 0.25 * maximum(ink));
    const dark = map(ink, (value) => (value > limit ? 1 : 0));
    if (!maximum(dark)) return null;
    const parts = digitParts(ink, dark);
    const [full] = percentiles(ink.data.filter((_, k) => parts.data[k]), [80]);
    const least = fround(0.4 * full);
    const digit = map(parts, (part, k) => (part && ink.data[k] > least ? 1 : 0));
    const { count } = labelParts(map(digit, (isDigit) => 1 - isDigit));
    return count > MOST_HOLES ? null : { digit, ink: map(ink, (value) => value / full) };
}

function cutOut({ digit, ink }) {
    const [box] = boxesOf(digit.data, 1, digit.width);
    const width = box.right - box.left, height = box.bottom - box.top;
    if (Math.max(width, height) <= Math.floor(WORK / 40)) return null; // a grain
    const soft = dilate(digit, 2, false).data;
    const clear = map(ink, (value, k) => (soft[k] ? Math.min(Math.max(value, 0), 1) : 0));
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
    const inside = pad(map(digit, (value) => (value > half ? 1 : 0)), 1, 0);
    const far = distances(inside).filter((_, k) => inside.data[k]);
    const width = (4 * far.reduce((sum, value) => sum + value, 0)) / far.length;
    const radius = ((STROKE * FINE) / BOX - width) / 2;
    return radius < 0.5 ? digit : dilateDisc(pad(digit, Math.ceil(radius), 0), radius + 0.25);
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
