// Tell ink from paper: data/ink.py, line by line, which explains the steps.

import {
    crop, gaussianFilter, greyClosing, greyErosion, labelParts, makePlane, map, maximum, pad,
    percentiles, uniformFilter,
} from "./plane.js";
import { HAMMING, resize, transpose } from "./resample.js";

export const WORK = 400;
const WINDOW = 101;
const NARROW = 41;
const SHADOW = 0.65;
const GREY_ENOUGH = 0.3;
const COLOUR = 4;
const SMALL_SHEET = 100;
const TURNS = Array.from({ length: 120 }, (_, k) => (3 * k * Math.PI) / 180);
const SLOPES = Array.from({ length: 25 }, (_, k) => -0.12 + (k * 0.24) / 24);
const MOST_LINE = 20;
const { fround } = Math;

export function roundEven(value) {
    const below = Math.floor(value);
    if (value - below !== 0.5) return Math.round(value);
    return below % 2 ? below + 1 : below;
}

export function fit(picture, side, whole) {
    const longer = Math.max(picture.width, picture.height);
    const scaled = (length) => Math.max(1, roundEven((length * side) / longer));
    const width = scaled(picture.width), height = scaled(picture.height);
    return resize(picture, width, height, HAMMING, whole, 2);
}

// Grey as Pillow's convert("L") makes it.
export function greyOf(planes) {
    if (planes.length === 1) return planes[0];
    const [red, green, blue] = planes.map(({ data }) => data);
    return map(planes[0], (_, k) =>
        (red[k] * 19595 + green[k] * 38470 + blue[k] * 7471 + 0x8000) >> 16);
}

// One plane of grey, or three of red, green and blue -> the plane in which ink differs from paper.
export function toPlane(planes) {
    if (planes.length === 1) return planes[0];
    const [red, green, blue] = planes.map(({ data }) => data);
    if (red.every((value, k) => value === green[k] && value === blue[k])) return planes[0];
    const grey = greyOf(planes);
    const rest = planes.map((plane) => {
        const around = uniformFilter(plane, WINDOW).data;
        return plane.data.map((value, k) => value - around[k]);
    });
    const spread = rest.map((a) => rest.map((b) =>
        a.reduce((sum, value, k) => sum + value * b[k], 0) / a.length));
    const along = (vector) => spread.map((row) => dot(row, vector));
    const weights = [0.299, 0.587, 0.114];
    const kept = dot(weights, along(weights)) / dot(weights, weights);
    let direction = spread.reduce((most, row) => (dot(row, row) > dot(most, most) ? row : most));
    for (let k = 0; k < 500; k++) { // power iteration
        const next = along(direction), length = Math.sqrt(dot(next, next)) || 1;
        direction = next.map((value) => value / length);
    }
    const variance = dot(direction, along(direction));
    if (kept >= GREY_ENOUGH * variance || variance < COLOUR ** 2) return grey;
    const largest = direction.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most));
    const [r, g, b] = direction.map((value) => value * Math.sign(largest));
    const places = Float64Array.from(red, (value, k) => r * value + g * green[k] + b * blue[k]);
    const mean = places.reduce((sum, value) => sum + value, 0) / places.length;
    return map(grey, (_, k) => Math.min(Math.max(roundEven(127.5 + places[k] - mean), 0), 255));
}

const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);

export function otsu(data, separation) {
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

// The pixels of a light sheet on something darker, but for a rim, in a picture of 100 pixels, and
// their box; null without one.
export function findSheet(picture) {
    const fitted = fit(picture, SMALL_SHEET, true);
    const small = crop(greyClosing(pad(fitted, 4, 0), 4), 4, 4, fitted.width, fitted.height);
    const threshold = otsu(small.data, 0.7);
    if (threshold === null) return null;
    const { width, height, data } = small;
    const light = map(small, (value) => (value > threshold ? 1 : 0));
    const mean = (isLight) => average(data.filter((_, k) => light.data[k] === isLight));
    if (mean(0) > fround(0.8 * mean(1))) return null;
    const { labels, count } = labelParts(light);
    const sizes = new Float64Array(count + 1);
    for (const label of labels) if (label) sizes[label] += 1;
    const size = Math.max(...sizes), label = sizes.indexOf(size);
    const limits = new Float64Array(TURNS.length).fill(-Infinity);
    const box = { left: Infinity, top: Infinity, right: 0, bottom: 0 };
    labels.forEach((own, k) => {
        if (own !== label) return;
        const x = k % width, y = (k - x) / width;
        TURNS.forEach((turn, i) => {
            limits[i] = Math.max(limits[i], x * Math.cos(turn) + y * Math.sin(turn));
        });
        box.left = Math.min(box.left, x + 2);
        box.right = Math.max(box.right, x - 1);
        box.top = Math.min(box.top, y + 2);
        box.bottom = Math.max(box.bottom, y - 1);
    });
    const [outer, around, hull, inner, middle] = [3.01, 1.5, 0.01, -1.99, -3.99].map((by) =>
        within(limits.map((limit) => limit + by), height, width));
    const rim = data.filter((_, k) => outer[k] && !around[k]);
    const inside = data.filter((_, k) => inner[k] && !middle[k]);
    const share = average(hull);
    const isBare = (places) => average(places.map((k) => hull[k])) < 0.5;
    const row = Array.from({ length: width }, (_, x) => x);
    const column = Array.from({ length: height }, (_, y) => y * width);
    const bare = [row, row.map((k) => data.length - 1 - k), column,
        column.map((k) => k + width - 1)].filter(isBare).length;
    if (share <= 0.08 || share >= 0.995 || (bare < 2 && share < 0.85)) return null;
    if (!rim.length || !inside.length) return null; // a strip has no inside
    const quarter = TURNS.length / 4, turned = (k) => (k + TURNS.length) % TURNS.length;
    const widths = limits.map((limit, k) => limit + limits[turned(k - 2 * quarter)] + 1);
    const rectangle = Math.min(...widths.map((side, k) => side * widths[turned(k - quarter)]));
    const area = share * data.length;
    if (size <= 0.93 * area || area <= 0.83 * rectangle) return null;
    if (percentiles(rim, [75])[0] > fround(0.7 * percentiles(inside, [25])[0])) return null;
    return { covered: makePlane(width, height, inner), box };
}

export const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function within(limits, height, width) {
    const inside = new Float32Array(height * width).fill(1);
    TURNS.forEach((turn, i) => {
        const cos = Math.cos(turn), sin = Math.sin(turn);
        for (let y = 0, k = 0; y < height; y++) {
            for (let x = 0; x < width; x++, k++) if (x * cos + y * sin > limits[i]) inside[k] = 0;
        }
    });
    return inside;
}

export function darkOnLight(picture) {
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

export function findInk(picture, hasShadows) {
    const ink = absorbed(picture, WINDOW);
    const wide = maximum(greyErosion(ink, (NARROW - 11) >> 1));
    if (hasShadows && wide > fround(0.1)) {
        const thin = absorbed(picture, NARROW);
        const most = maximum(thin), limit = 0.25 * most;
        const dark = thin.data.reduce((sum, value) => sum + (value > limit), 0);
        if (dark < 0.2 * thin.data.length && wide < fround(SHADOW * most)) {
            return map(thin, (value) => Math.max(value - wide, 0));
        }
    }
    return ink;
}

function absorbed(picture, window) {
    const smooth = gaussianFilter(picture, 0.8);
    const half = window >> 1, { width, height } = picture;
    const edges = makePlane(width, height, smooth.data.slice());
    for (const y of [0, height - 1]) closeLine(edges.data, y * width, 1, width, half);
    for (const x of [0, width - 1]) closeLine(edges.data, x, width, height, half);
    const wide = pad(edges, half, "edge");
    for (let y = 0; y < height; y++) {
        const row = smooth.data.subarray(y * width, (y + 1) * width);
        wide.data.set(row, (half + y) * wide.width + half);
    }
    const paper = crop(greyClosing(wide, half), half, half, width, height);
    return map(paper, (light, k) => fround(light - smooth.data[k]) / Math.max(light, 1));
}

function closeLine(data, start, step, length, half) {
    const line = makePlane(length + 2 * half, 1, new Float32Array(length + 2 * half).fill(255));
    for (let k = 0; k < length; k++) line.data[half + k] = data[start + k * step];
    const closed = greyClosing(line, half).data;
    for (let k = 0; k < length; k++) {
        data[start + k * step] = Math.max(data[start + k * step], closed[half + k]);
    }
}

// Erase straight lines from edge to edge: the rest, and whether any was found.
export function removeLines(dark) {
    const level = findLines(dark), upright = findLines(transpose(dark));
    const rest = transpose(erase(transpose(erase(dark, level)), upright));
    return { rest, hasLines: level.length + upright.length > 0 };
}

function findLines(dark) {
    const height = dark.height >> 1, width = dark.width >> 1;
    if (Math.min(height, width) < 20) return [];
    const near = new Uint8Array(height * width);
    for (let y = 0; y < 2 * height; y++) {
        for (let x = 0; x < 2 * width; x++) {
            if (!dark.data[y * dark.width + x]) continue;
            for (let row = Math.max(0, (y >> 1) - 1); row <= Math.min(height - 1, (y >> 1) + 1); row++) {
                near[row * width + (x >> 1)] = 1;
            }
        }
    }
    const shares = new Float32Array(SLOPES.length * height);
    SLOPES.forEach((slope, k) => {
        const shift = Array.from({ length: width }, (_, x) => Math.floor(slope * (x - width / 2) + 0.5));
        for (let y = 0; y < height; y++) {
            let hits = 0, count = 0;
            for (let x = 0; x < width; x++) {
                const at = y + shift[x];
                if (at < 0 || at >= height) continue;
                count += 1;
                hits += near[at * width + x];
            }
            shares[k * height + y] = count > width / 2 ? hits / count : 0;
        }
    });
    const lines = [];
    while (lines.length < 100) {
        let best = 0;
        for (let k = 0; k < shares.length; k++) if (shares[k] > shares[best]) best = k;
        if (shares[best] <= fround(0.8)) break;
        const row = best % height;
        lines.push([SLOPES[(best - row) / height], 2 * row + 1]);
        SLOPES.forEach((_, k) => {
            shares.fill(0, k * height + Math.max(0, row - 3), k * height + Math.min(height, row + 4));
        });
    }
    return lines;
}

function erase(dark, lines) {
    const { width, height } = dark;
    const data = dark.data.slice();
    for (const [slope, middle] of lines) {
        const runs = [];
        for (let x = 0; x < width; x++) {
            const at = Math.floor(middle + slope * (x - width / 2) + 0.5);
            const step = [0, -1, 1, -2, 2, -3, 3, -4, 4].find((by) =>
                at + by >= 0 && at + by < height && data[(at + by) * width + x]);
            if (step === undefined) continue;
            let first = at + step, last = at + step + 1;
            while (first > 0 && data[(first - 1) * width + x]) first -= 1;
            while (last < height && data[last * width + x]) last += 1;
            runs.push([x, first, last]);
        }
        if (!runs.length) continue;
        const most = median(runs.map(([, first, last]) => last - first));
        if (most > MOST_LINE) continue;
        for (const [x, first, last] of runs) {
            if (last - first > 1.5 * most + 2) continue;
            for (let y = first; y < last; y++) data[y * width + x] = 0;
        }
    }
    return makePlane(width, height, data);
}

// numpy.median
export function median(values) {
    const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// Which parts are frames around others, or the bars of a form's boxes.
export function dropFrames(labels, boxes, width, height, hasLines) {
    const sides = boxes.map((box) => [box.bottom - box.top, box.right - box.left]);
    const extents = sides.map((pair) => Math.max(...pair));
    const most = extents.reduce((a, b) => Math.max(a, b));
    const foreign = boxes.map(() => false);
    const large = [...boxes.keys()].filter((k) => extents[k] >= 0.1 * most);
    const byExtent = large.slice().sort((a, b) => extents[b] - extents[a] || a - b).slice(0, 40);
    for (const outer of byExtent) {
        const around = boxes[outer];
        for (const inner of large) {
            if (extents[inner] < 0.25 * extents[outer] || foreign[inner]) continue;
            const box = boxes[inner];
            if (box.top <= around.top || box.left <= around.left) continue;
            if (box.bottom >= around.bottom || box.right >= around.right) continue;
            const y = (box.top + box.bottom) >> 1, x = (box.left + box.right) >> 1;
            const meets = (from, to, step) => {
                for (let k = from; k < to; k += step) if (labels[k] === outer + 1) return true;
                return false;
            };
            foreign[outer] ||= meets(y * width, y * width + x, 1)
                && meets(y * width + x, (y + 1) * width, 1)
                && meets(x, y * width + x, width) && meets(y * width + x, width * height, width);
        }
    }
    if (!hasLines) return foreign;
    const bars = sides.map((pair, k) =>
        Math.min(...pair) <= 0.25 * Math.max(...pair) && extents[k] >= 0.1 * Math.max(width, height));
    const isOther = bars.some((bar, k) => !bar && !foreign[k] && extents[k] >= 0.1 * most);
    const isForm = isOther && bars.filter(Boolean).length >= 2;
    return isForm ? foreign.map((was, k) => was || bars[k]) : foreign;
}
