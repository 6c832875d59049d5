// Prepare a picture of a handwritten digit like the MNIST digits: data/digit.py, line by line. A
// test compares the two; data/digit.py explains the steps.

import {
    average, darkOnLight, dropFrames, findInk, findSheet, fit, greyOf, median, otsu, removeLines, roundEven,
    toPlane, WORK,
} from "./ink.js";
import {
    crop, dilate, dilateDisc, distances, erodeDisc, greyErosion, labelParts, makePlane, map,
    maximum, pad, percentiles,
} from "./plane.js";
import { LANCZOS, resize } from "./resample.js";

export const FIELD = 28;
const BOX = 20;
const FINE = 80;
const MARGIN = Math.floor(WORK / 3);
const MARGIN_SEEN = Math.floor((MARGIN * WORK) / (WORK + 2 * MARGIN));
const STROKE = 2.6;
const THICKEST = 3.5;
const MOST_THINNED = 8;
const SMALL = 40;
const SEPARATION = 0.6;
const SURE_SEPARATION = 0.8;
const THICK = 17;
const MOST_HOLES = 8;
const PARTS = 4;
const MOST = 0.8;
const UNEVEN = 1.13;
const REMAINS = 1.5;
const FADING = 0.28;
const SHORTEST = 3.2;
const WINDING = 3.5;
const { fround } = Math; // Python computes in float32 here; so do all planes

// One plane of grey, or three of red, green and blue, of whole numbers 0 to 255 and of any size ->
// a plane of 28x28, white on black; all zeros where nothing is written.
export function prepareDigit(planes) {
    const [picture] = planes;
    if (picture.width === FIELD && picture.height === FIELD) {
        const grey = greyOf(planes);
        if (hasMnistForm(grey)) return grey;
    }
    const isSmall = Math.max(picture.width, picture.height) <= SMALL;
    if (isSmall) planes = [enlarge(withoutFrame(toPlane(planes)))];
    const work = toPlane(planes.map((plane) => fit(plane, WORK, true)));
    const sheet = isSmall ? null : findSheet(work);
    let strokes = sheet && findOnSheet(planes, sheet);
    if (!strokes) {
        strokes = findStrokes(work, isSmall);
        if (sheet && strokes && isRemains(shapeOf(strokes.digit))) strokes = null;
    }
    const digit = strokes && cutOut(strokes);
    return digit ? asDigit(digit) : makePlane(FIELD, FIELD);
}

// A plane of ink cut to the digit, full ink 1 -> a plane of 28x28, whole numbers 0 to 255.
export function asDigit(cut) {
    const digit = fit(evenOut(fit(cut, FINE, false)), BOX, false);
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

// A small picture without a line along all four edges, one or two pixels wide.
function withoutFrame(picture) {
    for (let k = 0; k < 2 && Math.min(picture.width, picture.height) >= 12; k++) {
        const rings = [0, 1, 2].map((by) => ringOf(picture, by));
        const reach = maximum(picture) - picture.data.reduce((a, b) => Math.min(a, b));
        if (Math.max(...rings[0]) - Math.min(...rings[0]) > 0.3 * reach) break;
        const steps = rings.slice(1).map((ring) => Math.abs(median(ring) - median(rings[0])));
        if (Math.max(...steps) <= 0.5 * reach) break;
        picture = crop(picture, 1, 1, picture.width - 2, picture.height - 2);
    }
    return picture;
}

function ringOf({ width, height, data }, by) {
    const ring = [];
    for (let x = by; x < width - by; x++) {
        ring.push(data[by * width + x], data[(height - 1 - by) * width + x]);
    }
    for (let y = by; y < height - by; y++) {
        ring.push(data[y * width + by], data[y * width + width - 1 - by]);
    }
    return ring;
}

function enlarge(picture) {
    const longer = Math.max(picture.width, picture.height);
    if (longer >= FIELD) return picture;
    const scaled = (length) => Math.max(1, roundEven((length * FIELD) / longer));
    return resize(picture, scaled(picture.width), scaled(picture.height), LANCZOS, true);
}

function findOnSheet(planes, { covered, box }) {
    const [{ width, height }] = planes;
    const across = width / covered.width, down = height / covered.height;
    const left = Math.floor(box.left * across), top = Math.floor(box.top * down);
    const right = Math.floor(box.right * across), bottom = Math.floor(box.bottom * down);
    const cut = toPlane(planes.map((plane) =>
        fit(crop(plane, left, top, right - left, bottom - top), WORK, true)));
    const place = (k) => {
        const x = k % cut.width, y = (k - x) / cut.width;
        const row = Math.floor(box.top + (box.bottom - box.top) * (y / cut.height));
        return row * covered.width + Math.floor(box.left + (box.right - box.left) * (x / cut.width));
    };
    const onSheet = map(cut, (_, k) => covered.data[place(k)]);
    const ground = Math.floor(median(cut.data.filter((_, k) => onSheet.data[k])));
    const strokes = findStrokes(map(cut, (value, k) => (onSheet.data[k] ? value : ground)), false);
    if (!strokes || strokes.digit.width !== cut.width || strokes.digit.height !== cut.height) {
        return strokes;
    }
    const beyond = dilate(pad(map(onSheet, (on) => 1 - on), 6, 1), 6, false);
    const inside = crop(beyond, 6, 6, cut.width, cut.height).data;
    return strokes.digit.data.some((isDigit, k) => isDigit && inside[k]) ? null : strokes;
}

// The digit's pixels and the ink there, full ink 1; null without a digit.
function findStrokes(work, isSmall) {
    const ink = findInk(darkOnLight(work), !isSmall);
    const strokes = chooseDigit(ink);
    if (!isSmall && strokes && !isCropped(strokes.digit, ink)) return writtenOnly(strokes, 0, isSmall);
    const padded = addMargin(work, !strokes && !isSmall ? SURE_SEPARATION : SEPARATION);
    if (!padded) return writtenOnly(strokes, 0, isSmall);
    return writtenOnly(chooseDigit(findInk(padded, !isSmall)), MARGIN_SEEN, isSmall);
}

function writtenOnly(strokes, margin, isSmall) {
    const clear = withoutShadow(strokes, margin);
    return clear && (isSmall || isWritten(clear)) ? clear : null;
}

// Whether the pixels found are a digit's strokes: few, of even width, clear of the paper.
function isWritten({ digit, ink }) {
    const shape = shapeOf(digit), { edge, width, area, extent } = shape;
    const near = dilate(digit, 3, false), far = dilate(near, 3, false);
    const around = ink.data.filter((_, k) => far.data[k] && !near.data[k]);
    const { labels, count } = labelParts(digit), sizes = new Float64Array(count + 1);
    for (const label of labels) sizes[label] += label ? 1 : 0;
    const largest = sizes.sort().slice(-PARTS).reduce((total, size) => total + size, 0);
    return edge * (width - 2) <= UNEVEN * 2 * area && area <= WINDING * extent * width
        && SHORTEST * (width - 2) ** 2 <= area
        && !(isRemains(shape) && area < extent * width && isLevelOrAtEdge(digit))
        && largest >= MOST * area && (!around.length || average(around) <= FADING);
}

function isLevelOrAtEdge({ width, height, data }) {
    const [box] = boxesOf(data, 1, width);
    return box.right - box.left > box.bottom - box.top || box.left === 0 || box.top === 0
        || box.right === width || box.bottom === height;
}

function isRemains({ edge, width, area }) {
    return edge * width > REMAINS * 2 * area;
}

// How many pixels lie at the edge, four times the mean distance to the paper, area and longer side.
function shapeOf(digit) {
    const [box] = boxesOf(digit.data, 1, digit.width);
    const inside = pad(crop(digit, box.left, box.top, box.right - box.left, box.bottom - box.top), 1, 0);
    const { data, width } = inside;
    const edge = data.reduce((sum, isDigit, k) => sum
        + (isDigit && !(data[k - 1] && data[k + 1] && data[k - width] && data[k + width]) ? 1 : 0), 0);
    const area = data.reduce((sum, isDigit) => sum + isDigit, 0);
    const far = distances(inside).reduce((sum, value) => sum + value, 0);
    return { edge, width: (4 * far) / area, area, extent: extent(box) };
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

function chooseDigit(shares) {
    const [low, bare] = percentiles(shares.data, [10, 30]);
    const ink = map(shares, (value) => value - bare);
    const limit = Math.max(fround(0.05), fround(7 * fround(bare - low)), 0.25 * maximum(ink));
    const dark = map(ink, (value) => (value > limit ? 1 : 0));
    if (!maximum(dark)) return null;
    const { rest, hasLines } = removeLines(dark);
    const count = ({ data }) => data.reduce((sum, value) => sum + value, 0);
    const isRest = hasLines && count(rest) > 0.02 * count(dark);
    const parts = digitParts(ink, isRest ? rest : dark, hasLines);
    const [full] = percentiles(ink.data.filter((_, k) => parts.data[k]), [80]);
    const least = fround(0.4 * full);
    const digit = map(parts, (part, k) => (part && ink.data[k] > least ? 1 : 0));
    const holes = labelParts(map(digit, (isDigit) => 1 - isDigit)).count;
    return holes > MOST_HOLES || (hasLines && isRemains(shapeOf(digit))) ? null : { digit, ink: map(ink, (value) => value / full) };
}

function cutOut({ digit, ink }) {
    const [box] = boxesOf(digit.data, 1, digit.width);
    const width = box.right - box.left, height = box.bottom - box.top;
    if (Math.max(width, height) <= Math.floor(WORK / 25)) return null; // a grain
    const soft = dilate(digit, 2, false).data;
    const clear = map(ink, (value, k) => (soft[k] ? Math.min(Math.max(value, 0), 1) : 0));
    return crop(clear, box.left, box.top, width, height);
}

function digitParts(ink, dark, hasLines) {
    let parts;
    for (const reach of [0, 2]) {
        parts = partsOf(ink, dark, reach, hasLines);
        const { labels, foreign } = parts;
        dark = map(dark, (value, k) => (labels[k] && foreign[labels[k] - 1] ? 0 : value));
    }
    const { labels, boxes, foreign, first } = parts, main = boxes[first];
    const belongs = boxes.map((box, k) => {
        const gap = Math.max(box.top - main.bottom, main.top - box.bottom,
            box.left - main.right, main.left - box.right);
        return !foreign[k] && gap < 0.25 * extent(main) && extent(box) >= 0.2 * extent(main);
    });
    return map(dark, (_, k) => (labels[k] && belongs[labels[k] - 1] ? 1 : 0));
}

const extent = (box) => Math.max(box.bottom - box.top, box.right - box.left);

// The parts, joined over gaps of twice `reach`; which are frames or underlines; the digit's main one.
function partsOf(ink, dark, reach, hasLines) {
    const { labels, count } = labelParts(dilate(dark, reach, true));
    const sums = new Float64Array(count);
    for (let k = 0; k < labels.length; k++) {
        if (!dark.data[k]) labels[k] = 0;
        else sums[labels[k] - 1] += ink.data[k];
    }
    const boxes = boxesOf(labels, count, ink.width);
    const frames = dropFrames(labels, boxes, ink.width, ink.height, hasLines);
    const own = sums.map((sum, k) => (frames[k] ? -1 : sum));
    const first = own.indexOf(own.reduce((a, b) => Math.max(a, b)));
    const main = boxes[first], long = extent(main);
    const foreign = boxes.map((box, k) => {
        const wide = box.right - box.left;
        const isUnder = box.top > main.bottom - 0.05 * long && box.bottom - box.top < 0.3 * wide;
        return k !== first && (frames[k] || (isUnder && wide >= 0.2 * long));
    });
    return { labels, boxes, foreign, first };
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

function evenOut(digit) {
    const half = 0.5 * maximum(digit);
    const inside = pad(map(digit, (value) => (value > half ? 1 : 0)), 1, 0);
    const far = distances(inside).filter((_, k) => inside.data[k]);
    const width = (4 * far.reduce((sum, value) => sum + value, 0)) / far.length;
    const thinner = Math.min((width - (THICKEST * FINE) / BOX) / 2, MOST_THINNED);
    if (thinner >= 0.5) return trimmed(erodeDisc(pad(digit, 1, 0), thinner + 0.25));
    const radius = ((STROKE * FINE) / BOX - width) / 2;
    return radius < 0.5 ? digit : dilateDisc(pad(digit, Math.ceil(radius), 0), radius + 0.25);
}

function trimmed(digit) {
    const least = fround(0.1 * maximum(digit));
    const [box] = boxesOf(digit.data.map((value) => (value > least ? 1 : 0)), 1, digit.width);
    return crop(digit, box.left, box.top, box.right - box.left, box.bottom - box.top);
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
