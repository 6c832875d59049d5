// Find the digits on a page and join them into numbers: data/many.py, line by line; it explains
// the steps.

import { median } from "./ink.js";
import { findInk } from "./page-ink.js";
import {
    divide, extentOf, findPairs, findPieces, joinBroken, joinPieces, toDigit, usualHeight,
} from "./pieces.js";

const MOST_PARTS = 1000;
const UNSURE = 0.8;
const WIDE = 1.2, STEEP = 3;
const FLAT = 0.8;
const APART = 0.9;
const CUT = 0.5;

// A plane of whole numbers 0 to 255 -> in reading order [{row, number, box: [left, top, right,
// bottom], logits}]. `score` is an async function from planes of 28x28 to their logits.
export async function findDigits(page, score) {
    const { ink, dark } = findInk(page);
    const pieces = findPieces(ink, dark);
    const found = pieces.length ? await read(pieces, ink, score) : [];
    if (!found.length) return [];
    const scale = Math.max(page.width, page.height) / Math.max(ink.width, ink.height);
    return arrange(found.map(({ piece }) => piece)).flatMap((numbers, row) =>
        numbers.flatMap((members, number) => members.map((k) => {
            const { piece: { left, top, width, height }, logits } = found[k];
            const box = [left, top, left + width, top + height].map((end) => Math.floor(end * scale + 0.5));
            return { row: row + 1, number: number + 1, box, logits };
        })));
}

async function read(all, ink, score) {
    const look = async (chosen) => {
        if (!chosen.length) return [];
        const answers = await score(chosen.map((piece) => toDigit(piece, ink)));
        return chosen.map((piece, k) => judged(piece, answers[k], usual));
    };
    const usual = usualHeight(all);
    const pieces = joinBroken(all, usual);
    const pairs = findPairs(pieces, usual).slice(0, MOST_PARTS);
    const answers = await look([...pieces, ...pairs.map(([i, k]) => joinPieces(pieces[i], pieces[k]))]);
    const digits = answers.slice(0, pieces.length);
    pairs.forEach(([i, k], at) => {
        const union = answers[pieces.length + at];
        if (!digits[i] || !digits[k] || !isOne(digits[i], digits[k], union)) return;
        digits[i] = union;
        digits[k] = null;
    });
    const kept = digits.filter((digit) => digit && mayBeDigit(digit));
    const ways = kept.map((digit) => (mayBeSeveral(digit) ? divide(digit.piece, FLAT * usual) : []));
    const parts = await look(ways.flat(2).slice(0, MOST_PARTS));
    let at = 0;
    return kept.flatMap((digit, k) => {
        let best = digit.sureness, chosen = [digit];
        for (const way of ways[k]) {
            const split = parts.slice(at, at += way.length);
            const least = Math.min(...split.map((part) => part.sureness));
            const sureness = CUT ** (way.length - 1) * least;
            if (split.length === way.length && sureness > best) [best, chosen] = [sureness, split];
        }
        return chosen;
    });
}

function judged(piece, logits, usual) {
    const most = Math.max(...logits);
    const probability = 1 / logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    const ratio = piece.width / Math.max(piece.height, FLAT * usual);
    const sureness = probability * Math.exp(-STEEP * Math.max(0, ratio - WIDE));
    return { piece, logits, usual, probability, ratio, sureness, isLarge: extentOf(piece) > 0.6 * usual };
}

function isOne(digit, other, union) {
    const apart = [digit, other].filter((each) => each.isLarge).map((each) => each.sureness);
    return union.sureness > APART * (apart.length ? Math.min(...apart) : 0);
}

function mayBeDigit({ piece, usual, sureness, isLarge }) {
    const height = piece.height / usual;
    return height > 0.25 && (isLarge || (height > 0.4 && sureness > UNSURE));
}

function mayBeSeveral({ ratio, probability }) {
    return ratio > 1.1 || (ratio > 0.65 && probability < UNSURE);
}

// Places of the pieces in the list: rows, their numbers, digits.
function arrange(pieces) {
    const x = pieces.map((piece) => piece.left + piece.width / 2);
    const y = pieces.map((piece) => piece.top + piece.height / 2);
    const heights = pieces.map((piece) => piece.height);
    const slope = rowSlope(x, y, heights);
    const level = y.map((value, k) => value - slope * x[k]);
    const rows = [];
    for (const k of level.map((_, place) => place).sort((a, b) => level[a] - level[b])) {
        const row = rows.at(-1) ?? [];
        const mean = row.reduce((sum, place) => sum + level[place], 0) / row.length;
        const height = row.length ? median(row.map((place) => heights[place])) : 0;
        if (row.length && level[k] - mean < 0.6 * height) row.push(k);
        else rows.push([k]);
    }
    return rows.map((row) => splitRow(row.sort((a, b) => x[a] - x[b]), x, heights));
}

function rowSlope(x, y, heights) {
    let rise = 0, run = (2 * median(heights)) ** 2;
    x.forEach((left, k) => {
        let dx = Infinity, dy = 0;
        x.forEach((right, other) => {
            const across = right - left, down = y[other] - y[k];
            const isNear = across > 0 && across < 3 * heights[k]
                && Math.abs(down) < 0.5 * Math.min(heights[other], heights[k]);
            if (isNear && across < dx) [dx, dy] = [across, down];
        });
        if (dx === Infinity) return;
        rise += dx * dy;
        run += dx * dx;
    });
    return rise / run;
}

function splitRow(row, x, heights) {
    const steps = row.slice(1).map((k, before) => x[k] - x[row[before]]);
    const height = median(row.map((k) => heights[k])), usual = steps.length ? median(steps) : 0;
    const numbers = [[row[0]]];
    row.slice(1).forEach((k, at) => {
        const isWide = steps[at] > 1.5 * usual || steps[at] > 2.2 * height;
        if (steps[at] > 1.2 * height && isWide) numbers.push([]);
        numbers.at(-1).push(k);
    });
    return numbers;
}
