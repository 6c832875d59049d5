// Pillow's Image.resize and Image.reduce for grey pictures, with the same values: of integers 0 to
// 255 (`whole`), computed in 32-bit integers and rounded after each pass, or of floats.

import { makePlane } from "./plane.js";

const ONE = 1 << 24; // Pillow rounds reciprocals of integers down to multiples of 1 / 2^24
const PRECISION = 1 << 22; // Pillow's integer weights are multiples of 1 / 2^22

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

export const HAMMING = {
    support: 1,
    weigh: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x))),
};
export const LANCZOS = {
    support: 3,
    weigh: (x) => (Math.abs(x) >= 3 ? 0 : sinc(x) * sinc(x / 3)),
};

// Scale to width x height. With `gap`, average whole blocks first, as long as the picture stays
// `gap` times as large as the result (Pillow's reducing_gap).
export function resize(plane, width, height, filter, whole, gap = 0) {
    const { width: fromX, height: fromY } = plane;
    const factor = (from, to) => (gap ? Math.floor(from / to / gap) || 1 : 1);
    const byX = factor(fromX, width), byY = factor(fromY, height);
    const reduced = byX > 1 || byY > 1 ? reduce(plane, byX, byY, whole) : plane;
    const rows = alongRows(reduced, width, fromX / byX, filter, whole);
    return transpose(alongRows(transpose(rows), height, fromY / byY, filter, whole));
}

// The mean of each block of byX x byY pixels; blocks at the right and lower edge may be smaller.
function reduce(plane, byX, byY, whole) {
    const { width, height, data } = plane;
    const result = makePlane(Math.ceil(width / byX), Math.ceil(height / byY));
    for (let y = 0; y < result.height; y++) {
        for (let x = 0; x < result.width; x++) {
            let sum = 0;
            const endX = Math.min((x + 1) * byX, width), endY = Math.min((y + 1) * byY, height);
            for (let v = y * byY; v < endY; v++) {
                for (let u = x * byX; u < endX; u++) sum += data[v * width + u];
            }
            const count = (endX - x * byX) * (endY - y * byY);
            const share = whole ? Math.trunc(Math.fround(ONE / count)) / ONE : 1 / count;
            const mean = whole ? Math.floor((sum + (count >> 1)) * share) : sum * share;
            result.data[y * result.width + x] = mean;
        }
    }
    return result;
}

// Scale every row to `width`; `length` is the width of the picture in a row, in pixels.
function alongRows(plane, width, length, filter, whole) {
    if (width === plane.width && length === width) return plane;
    const result = makePlane(width, plane.height);
    for (let x = 0; x < width; x++) {
        const { first, weights } = weigh(x, length / width, plane.width, filter, whole);
        for (let y = 0; y < plane.height; y++) {
            const start = y * plane.width + first;
            let sum = whole ? PRECISION / 2 : 0;
            for (let k = 0; k < weights.length; k++) sum += weights[k] * plane.data[start + k];
            const value = Math.min(Math.max(Math.floor(sum / PRECISION), 0), 255);
            result.data[y * width + x] = whole ? value : sum;
        }
    }
    return result;
}

// The weights of pixel x of the result, for the pixels from `first` on.
function weigh(x, scale, length, filter, whole) {
    const stretch = Math.max(scale, 1), centre = (x + 0.5) * scale;
    const reach = filter.support * stretch;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = [];
    for (let k = first; k < end; k++) weights.push(filter.weigh((k - centre + 0.5) / stretch));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const round = (weight) => Math.trunc(weight * PRECISION + (weight < 0 ? -0.5 : 0.5));
    return { first, weights: weights.map((w) => (whole ? round(w / total) : w / total)) };
}

export function transpose({ width, height, data }) {
    const result = makePlane(height, width);
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) result.data[x * height + y] = data[y * width + x];
    }
    return result;
}
