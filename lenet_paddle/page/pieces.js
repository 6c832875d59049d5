// Pieces of connected ink on a page: found, chosen, joined, cut, and brought to MNIST's form.
// data/pieces.py, line by line; it explains the steps.
//
// A piece is {left, top, width, height, data}: a plane of 0 and 1 with its place.

import { asDigit } from "./digit.js";
import { dilate, makePlane, map, percentiles } from "./plane.js";
import { partsOf } from "./page-ink.js";

const MOST = 500;
const FAINT = 0.12;
const LINE = 15;
const LEANS = [-0.4, -0.2, 0, 0.2, 0.4];
const MOST_CUTS = 5;

const bottomOf = (piece) => piece.top + piece.height;
const rightOf = (piece) => piece.left + piece.width;
const massOf = (piece) => piece.data.reduce((sum, value) => sum + value, 0);
export const extentOf = (piece) => Math.max(piece.width, piece.height);

export function findPieces(ink, dark) {
    const least = Math.floor(Math.max(dark.width, dark.height) / 200);
    const pieces = partsOf(dark).filter((piece) => extentOf(piece) > least);
    if (!pieces.length) return [];
    const speck = 0.15 * usualHeight(pieces);
    const large = pieces.filter((piece) => extentOf(piece) > speck)
        .sort((a, b) => extentOf(b) - extentOf(a)).slice(0, MOST);
    return withoutFrames(withoutLines(large, ink));
}

function withoutLines(pieces, ink) {
    const mass = pieces.map(massOf);
    const widths = pieces.map((piece, k) => (2 * mass[k]) / edgeOf(piece));
    const levels = pieces.map((piece, k) => inkIn(piece, ink).reduce((sum, value) => sum + value, 0) / mass[k]);
    const strokes = pieces.map((_, k) => k).filter((k) =>
        levels[k] > FAINT && Math.min(pieces[k].width, pieces[k].height) > extentOf(pieces[k]) / LINE);
    if (!strokes.length) return [];
    const [width, level] = [widths, levels].map((values) =>
        middle(strokes.map((k) => values[k]), strokes.map((k) => mass[k])));
    return pieces.filter((_, k) =>
        levels[k] > FAINT && (widths[k] > 0.6 * width || levels[k] > 0.75 * level));
}

// How many pixels have a neighbour, above, below or beside, that is not of the piece.
function edgeOf({ width, height, data }) {
    let count = 0;
    for (let k = 0; k < data.length; k++) {
        const x = k % width, y = (k - x) / width;
        if (!data[k]) continue;
        const isInner = x > 0 && x < width - 1 && y > 0 && y < height - 1
            && data[k - 1] && data[k + 1] && data[k - width] && data[k + width];
        if (!isInner) count += 1;
    }
    return count;
}

// The ink of a piece's pixels.
function inkIn(piece, ink) {
    const values = [];
    piece.data.forEach((isInked, k) => {
        const x = k % piece.width, y = (k - x) / piece.width;
        if (isInked) values.push(ink.data[(piece.top + y) * ink.width + piece.left + x]);
    });
    return Float32Array.from(values);
}

function withoutFrames(pieces) {
    return pieces.filter((piece) => {
        const inside = pieces.filter((p) => p.left > piece.left && p.top > piece.top
            && rightOf(p) < rightOf(piece) && bottomOf(p) < bottomOf(piece));
        const parts = inside.filter((p) => extentOf(p) > 0.1 * extentOf(piece)).length;
        return parts < 3 && !inside.some((p) => p.height > 0.4 * piece.height);
    });
}

export function usualHeight(pieces) {
    return middle(pieces.map((piece) => piece.height), pieces.map(massOf));
}

// The value that half of the mass does not exceed.
function middle(values, mass) {
    const order = values.map((_, k) => k).sort((a, b) => values[a] - values[b]);
    const half = mass.reduce((sum, value) => sum + value, 0) / 2;
    let sum = 0;
    return values[order.find((k) => (sum += mass[k]) >= half)];
}

export function joinPieces(first, second) {
    const top = Math.min(first.top, second.top), left = Math.min(first.left, second.left);
    const height = Math.max(bottomOf(first), bottomOf(second)) - top;
    const width = Math.max(rightOf(first), rightOf(second)) - left;
    const union = { left, top, ...makePlane(width, height) };
    for (const piece of [first, second]) {
        piece.data.forEach((isInked, k) => {
            const x = k % piece.width, y = (k - x) / piece.width;
            if (isInked) union.data[(piece.top - top + y) * width + piece.left - left + x] = 1;
        });
    }
    return union;
}

export function joinBroken(pieces, usual) {
    const joined = [];
    for (const piece of pieces) {
        let isJoined = false;
        for (let k = 0; k < joined.length && !isJoined; k++) {
            const digit = joined[k];
            const across = Math.min(rightOf(piece), rightOf(digit)) - Math.max(piece.left, digit.left);
            const gap = Math.max(piece.top - bottomOf(digit), digit.top - bottomOf(piece));
            if (across < 0.5 * piece.width || gap > 0.15 * usual) continue;
            const union = joinPieces(digit, piece);
            isJoined = piece.height < 0.7 * digit.height
                && union.height < 1.3 * Math.max(usual, digit.height);
            if (isJoined) joined[k] = union;
        }
        if (!isJoined) joined.push(piece);
    }
    return joined;
}

export function findPairs(pieces, usual) {
    const pairs = [];
    pieces.forEach((digit, i) => {
        for (let k = i + 1; k < pieces.length; k++) {
            const other = pieces[k];
            const gap = Math.max(digit.left, other.left) - Math.min(rightOf(digit), rightOf(other));
            const shared = Math.min(bottomOf(digit), bottomOf(other)) - Math.max(digit.top, other.top);
            if (gap > 0.15 * usual || shared < 0.3 * other.height) continue;
            if (gap >= 0 && other.height > 0.7 * digit.height) continue;
            const width = Math.max(rightOf(digit), rightOf(other)) - Math.min(digit.left, other.left);
            const height = Math.max(bottomOf(digit), bottomOf(other)) - Math.min(digit.top, other.top);
            if (width < 1.4 * Math.max(height, usual) && height < 1.4 * Math.max(digit.height, usual)) {
                pairs.push([i, k]);
            }
        }
    });
    return pairs;
}

export function divide(piece, least) {
    const cuts = findCuts(piece);
    const ways = cuts.map((cut) => [cut]);
    if (piece.width > 1.5 * piece.height) {
        cuts.forEach((a, k) => ways.push(...cuts.slice(k + 1).map((b) => [a, b])));
    }
    return ways.map((way) => split(piece, way.sort((a, b) => a.place - b.place)))
        .filter((parts) => parts.every((part) => part.height > 0.5 * Math.max(piece.height, least)));
}

function findCuts({ width, height, data }) {
    const found = [];
    for (const lean of LEANS) {
        const counts = new Float64Array(width + 2 * height);
        data.forEach((isInked, k) => {
            const x = k % width, y = (k - x) / width;
            if (isInked) counts[Math.floor(x + lean * (y - height / 2) + height + 0.5)] += 1;
        });
        for (let place = Math.trunc(0.15 * height); place < Math.trunc(width - 0.15 * height); place++) {
            const at = place + height;
            const ink = (counts[at - 1] + counts[at] + counts[at + 1]) / 3;
            found.push({ ink: ink + 0.02 * Math.abs(lean) * height, lean, place });
        }
    }
    found.sort((a, b) => a.ink - b.ink || a.lean - b.lean || a.place - b.place);
    const cuts = [];
    for (const cut of found) {
        if (cuts.length === MOST_CUTS || cut.ink > 0.45 * height) break;
        if (cuts.every(({ place }) => Math.abs(cut.place - place) > 0.15 * height)) cuts.push(cut);
    }
    return cuts;
}

function split(piece, cuts) {
    const { width, height, data } = piece;
    const side = (k) => {
        const x = k % width, y = (k - x) / width;
        return cuts.filter(({ lean, place }) => x + lean * (y - height / 2) > place).length;
    };
    const sides = Array.from(data, (_, k) => side(k));
    return Array.from({ length: cuts.length + 1 }, (_, number) =>
        cropTo(piece, map(piece, (isInked, k) => (isInked && sides[k] === number ? 1 : 0))));
}

function cropTo(piece, { width, height, data }) {
    let [left, right, top, bottom] = [width, -1, height, -1];
    data.forEach((isInked, k) => {
        if (!isInked) return;
        const x = k % width, y = (k - x) / width;
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    });
    if (right < 0) return { left: piece.left, top: piece.top, ...makePlane(0, 0) };
    const part = makePlane(right - left + 1, bottom - top + 1);
    for (let y = 0; y < part.height; y++) {
        const start = (top + y) * width + left;
        part.data.set(data.subarray(start, start + part.width), y * part.width);
    }
    return { left: piece.left + left, top: piece.top + top, ...part };
}

// A piece -> a plane of 28x28, whole numbers 0 to 255.
export function toDigit(piece, ink) {
    const soft = dilate(piece, 2, false).data;
    const [full] = percentiles(inkIn(piece, ink), [80]);
    return asDigit(map(piece, (_, k) => {
        const x = k % piece.width, y = (k - x) / piece.width;
        const value = ink.data[(piece.top + y) * ink.width + piece.left + x];
        return soft[k] ? Math.min(Math.max(Math.fround(value / full), 0), 1) : 0;
    }));
}
