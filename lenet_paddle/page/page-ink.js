// The ink on a page: paper, printed rules, squares and frames are told from handwriting.
// data/page_ink.py, line by line; it explains the steps.

import { darkOnLight, findInk as shareOf, fit } from "./ink.js";
import { gaussianFilter, leastAlong, makePlane, map, maximum, mostAlong, percentiles } from "./plane.js";
import { HAMMING, resize } from "./resample.js";

const WORK = 1600;
const LEAST = 800;
const COARSE = 400;
const RULE = 8;
const RUN = 30;
const SPAN = 0.25;
const SLOPES = Array.from({ length: 49 }, (_, k) => Math.tan(((k / 4 - 6) * Math.PI) / 180));
const BOARD = 100;
const MOST_POINTS = 50_000;
const { fround } = Math;

// A plane of whole numbers 0 to 255 -> {ink, dark}, planes of shares and of 0 and 1.
export function findInk(page) {
    const ink = absorbed(page);
    const [low] = percentiles(everyFourth(ink), [10]);
    const limit = Math.max(fround(0.05), fround(-7 * low), fround(0.25 * maximum(ink)));
    const dark = map(ink, (value) => (value > limit ? 1 : 0));
    eraseFrames(ink, dark);
    const flat = findRules(dark), steep = turned(findRules(turned(dark)));
    const rules = map(flat, (value, k) => value | steep.data[k]);
    erase(ink, dark, flat, rules);
    const [across, acrossDark] = [turned(ink), turned(dark)];
    erase(across, acrossDark, turned(steep), turned(rules));
    ink.data.set(turned(across).data);
    dark.data.set(turned(acrossDark).data);
    if (maximum(dark)) {
        const [full] = percentiles(ink.data.filter((_, k) => dark.data[k]), [80]);
        const least = fround(0.4 * full);
        dark.data.forEach((isDark, k) => { dark.data[k] = isDark && ink.data[k] > least ? 1 : 0; });
    }
    return { ink, dark };
}

function absorbed(page) {
    const coarse = fit(page, COARSE, true);
    const light = darkOnLight(coarse);
    const share = shareOf(light, false).data;
    const paper = map(gaussianFilter(light, 0.8), (value, k) => value / Math.max(fround(1 - share[k]), fround(0.01)));
    const side = Math.min(Math.max(page.width, page.height, LEAST), WORK);
    const work = fit(page, side, true);
    const smooth = gaussianFilter(light === coarse ? work : map(work, (value) => 255 - value), 0.8);
    const wide = resize(paper, smooth.width, smooth.height, HAMMING, false);
    const ink = map(smooth, (value, k) => {
        const ground = Math.max(wide.data[k], light === coarse ? 1 : BOARD);
        return fround(ground - value) / ground;
    });
    const [bare] = percentiles(everyFourth(ink), [30]);
    return map(ink, (value) => value - bare);
}

function everyFourth({ width, height, data }) {
    const some = new Float32Array(Math.ceil(width / 4) * Math.ceil(height / 4));
    let at = 0;
    for (let y = 0; y < height; y += 4) {
        for (let x = 0; x < width; x += 4) some[at++] = data[y * width + x];
    }
    return some;
}

function turned({ width, height, data }) {
    const result = makePlane(height, width);
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) result.data[x * height + y] = data[y * width + x];
    }
    return result;
}

// Places of the pixels that are set, row by row.
function pointsOf({ width, data }) {
    const points = { x: [], y: [] };
    for (let k = 0; k < data.length; k++) {
        if (!data[k]) continue;
        points.x.push(k % width);
        points.y.push((k - (k % width)) / width);
    }
    return points;
}

const whole = (value) => Math.floor(value + 0.5);
const opened = (plane, reach, axis) => mostAlong(leastAlong(plane, reach, axis), reach, axis);
const closed = (plane, reach, axis) => leastAlong(mostAlong(plane, reach, axis), reach, axis);

// Whole numbers moved so that the least is 0, and how many values they can have.
function fromZero(values) {
    let least = Infinity, most = -Infinity;
    for (const value of values) {
        least = Math.min(least, value);
        most = Math.max(most, value);
    }
    return values.length ? [values.map((value) => value - least), most - least + 1] : [[], 1];
}

function findRules(dark) {
    const { width, height } = dark;
    const scaled = (n) => Math.max(1, Math.floor((n * Math.max(width, height)) / WORK));
    const thin = scaled(RULE), run = scaled(RUN);
    const thick = opened(dark, thin, 0).data;
    const { x, y } = pointsOf(map(dark, (value, k) => (value && !thick[k] ? 1 : 0)));
    const every = Math.floor(y.length / MOST_POINTS) + 1;
    const some = (values) => values.filter((_, k) => k % every === 0);
    const slope = findSlope(some(y), some(x));
    const [down, rows] = fromZero(y.map((value, k) => value - whole(slope * x[k])));
    const straight = makePlane(width, rows);
    down.forEach((row, k) => { straight.data[row * width + x[k]] = 1; });
    const runs = opened(closed(straight, thin + 1, 1), run, 1).data;
    const sums = makePlane(1, rows);
    for (let k = 0; k < runs.length; k++) sums.data[Math.floor(k / width)] += runs[k];
    const covered = mostAlong(sums, 2, 0).data;
    const rules = makePlane(width, height);
    down.forEach((row, k) => { rules.data[y[k] * width + x[k]] = covered[row] >= SPAN * width ? 1 : 0; });
    return map(mostAlong(mostAlong(rules, 1, 0), 1, 1), (value, k) => value & dark.data[k]);
}

function findSlope(y, x) {
    let best = -1, found = 0;
    for (const slope of SLOPES) {
        const [down, rows] = fromZero(y.map((value, k) => value - whole(slope * x[k])));
        const counts = new Float64Array(rows);
        for (const row of down) counts[row] += 1;
        const score = counts.reduce((sum, count) => sum + count * count, 0);
        if (score > best) [best, found] = [score, slope];
    }
    return found;
}

function erase(ink, dark, rule, rules) {
    const inked = ink.data.filter((_, k) => rule.data[k]);
    if (!inked.length) return;
    const [level] = percentiles(inked, [50]);
    const reach = Math.max(1, Math.floor((RULE * Math.max(ink.width, ink.height)) / WORK)) + 2;
    const bare = mostAlong(map(ink, (value, k) => (rules.data[k] ? 0 : value)), 1, 1);
    const across = closed(bare, reach, 0).data;
    const most = fround(1.7 * level), least = fround(0.5 * level);
    ink.data.forEach((value, k) => {
        if (!rule.data[k]) return;
        if (value <= most) ink.data[k] = Math.min(value, across[k]);
        if (ink.data[k] <= least) dark.data[k] = 0;
    });
}

function eraseFrames(ink, dark) {
    const side = Math.max(dark.width, dark.height);
    for (const part of partsOf(dark)) {
        const { left, top, width, height } = part;
        const crosses = height === dark.height || width === dark.width;
        if (Math.min(height, 2 * width) < Math.floor(side / 50) || crosses || !mayBeFrame(part)) continue;
        for (let k = 0; k < SLOPES.length; k += 2) {
            const lines = frameLines(part, SLOPES[k]);
            if (!lines) continue;
            for (const [x, y] of lines) {
                const at = (top + y) * dark.width + left + x;
                ink.data[at] = dark.data[at] = 0;
            }
            break;
        }
    }
}

function mayBeFrame({ width, height, data }) {
    if (5 * data.reduce((sum, value) => sum + value, 0) > 2 * data.length) return false;
    const y = Math.max(3, Math.floor(height / 5)), x = Math.max(3, Math.floor(width / 5));
    const any = (left, top) => {
        for (let v = Math.max(0, top); v < Math.min(top + y, height); v++) {
            for (let u = Math.max(0, left); u < Math.min(left + x, width); u++) {
                if (data[v * width + u]) return true;
            }
        }
        return false;
    };
    const corners = [[0, 0], [width - x, 0], [0, height - y], [width - x, height - y]];
    return width >= 2 * height || corners.every(([left, top]) => any(left, top));
}

// The pixels, [x, y], of a frame's lines that have this slope; null if it is no frame.
function frameLines(part, slope) {
    const { x, y } = pointsOf(part);
    const [down, rowCount] = fromZero(y.map((value, k) => whole(value - slope * x[k])));
    const [along, columnCount] = fromZero(x.map((value, k) => whole(value + slope * y[k])));
    const straight = makePlane(columnCount, rowCount);
    down.forEach((row, k) => { straight.data[row * columnCount + along[k]] = 1; });
    const reach = 2 + Math.floor(Math.max(part.width, part.height) / 200), near = 2 * reach + 1;
    const rows = covered(mostAlong(straight, reach, 0), 0, reach);
    const columns = covered(mostAlong(straight, reach, 1), 1, reach);
    const ends = [rows.slice(0, near), rows.slice(-near), columns.slice(0, near), columns.slice(-near)];
    const share = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    if (!ends.every((end) => end.some(Boolean)) || share(rows) > 0.6 || share(columns) > 0.6) return null;
    const bare = map(straight, (value, k) =>
        (value && !rows[Math.floor(k / columnCount)] && !columns[k % columnCount] ? 1 : 0));
    const [upright, level] = [closed(bare, near, 0).data, closed(bare, near, 1).data];
    return x.map((value, k) => [value, y[k], down[k], along[k]]).filter(([, , row, column]) => {
        const at = row * columnCount + column;
        const isKept = (upright[at] && rows[row]) || (level[at] && columns[column]);
        return (rows[row] || columns[column]) && !isKept;
    });
}

// Which rows (axis 0) or columns (axis 1) are nearly full, and those within `reach` of them.
function covered({ width, height, data }, axis, reach) {
    const sums = makePlane(1, axis ? width : height);
    for (let k = 0; k < data.length; k++) sums.data[axis ? k % width : Math.floor(k / width)] += data[k];
    const limit = 0.9 * (axis ? height : width);
    return mostAlong(map(sums, (sum) => (sum > limit ? 1 : 0)), reach, 0).data;
}

// The 8-connected parts of a plane of 0 and 1: planes with the place of their box.
export function partsOf({ width, height, data }) {
    const seen = new Uint8Array(data.length), parts = [], open = [];
    for (let start = 0; start < data.length; start++) {
        if (!data[start] || seen[start]) continue;
        const members = [];
        let [left, right, top, bottom] = [width, 0, height, 0];
        open.push(start);
        seen[start] = 1;
        while (open.length) {
            const at = open.pop(), x = at % width, y = (at - x) / width;
            members.push(at);
            [left, right] = [Math.min(left, x), Math.max(right, x)];
            [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
            for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
                for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
                    const to = v * width + u;
                    if (!data[to] || seen[to]) continue;
                    seen[to] = 1;
                    open.push(to);
                }
            }
        }
        const part = { left, top, ...makePlane(right - left + 1, bottom - top + 1) };
        for (const at of members) {
            const x = at % width, y = (at - x) / width;
            part.data[(y - top) * part.width + x - left] = 1;
        }
        parts.push(part);
    }
    return parts;
}
