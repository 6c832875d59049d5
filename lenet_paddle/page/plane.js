// A grey picture as rows of numbers, and the filters of scipy.ndimage that digit.js needs.
//
// A plane is {width, height, data: Float32Array}. Every function returns a new one.

const { fround } = Math;

export function makePlane(width, height, data = new Float32Array(width * height)) {
    return { width, height, data };
}

export function map(plane, change) {
    const result = makePlane(plane.width, plane.height);
    for (let k = 0; k < plane.data.length; k++) result.data[k] = change(plane.data[k], k);
    return result;
}

export function maximum(plane) {
    let most = -Infinity;
    for (let k = 0; k < plane.data.length; k++) most = plane.data[k] > most ? plane.data[k] : most;
    return most;
}

// numpy.percentile of float32, which also interpolates in float32.
export function percentiles(values, shares) {
    const sorted = values.slice().sort();
    return shares.map((share) => {
        const place = fround(fround(share / 100) * (sorted.length - 1));
        const below = Math.floor(place);
        const above = Math.min(below + 1, sorted.length - 1);
        return fround(sorted[below] + (place - below) * (sorted[above] - sorted[below]));
    });
}

export function crop(plane, left, top, width, height) {
    const result = makePlane(width, height);
    for (let y = 0; y < height; y++) {
        const start = (top + y) * plane.width + left;
        result.data.set(plane.data.subarray(start, start + width), y * width);
    }
    return result;
}

// numpy.pad with a value, or with mode "edge".
export function pad(plane, by, fill) {
    const { width, height, data } = plane;
    const result = makePlane(width + 2 * by, height + 2 * by);
    for (let y = 0, at = 0; y < result.height; y++) {
        const fromY = nearest(y - by, height);
        for (let x = 0; x < result.width; x++, at++) {
            const fromX = nearest(x - by, width);
            const inside = fromX === x - by && fromY === y - by;
            result.data[at] = fill === "edge" || inside ? data[fromY * width + fromX] : fill;
        }
    }
    return result;
}

// Apply a 1-D filter to every row, then to every column. `filter(wide, line)` reads the line padded
// by `before` and `after` values and writes the new line.
function alongBoth(plane, before, after, extend, filter) {
    const { width, height } = plane;
    const result = makePlane(width, height, plane.data.slice());
    along(result.data, height, width, width, 1, before, after, extend, filter);
    along(result.data, width, height, 1, width, before, after, extend, filter);
    return result;
}

function along(data, lines, length, lineStep, step, before, after, extend, filter) {
    const wide = new Float32Array(before + length + after), line = new Float32Array(length);
    const from = Int32Array.from(wide, (_, k) => extend(k - before, length) * step);
    for (let i = 0; i < lines; i++) {
        const start = i * lineStep;
        for (let k = 0; k < wide.length; k++) wide[k] = data[start + from[k]];
        filter(wide, line);
        for (let k = 0; k < length; k++) data[start + k * step] = line[k];
    }
}

const nearest = (at, length) => Math.min(Math.max(at, 0), length - 1);

// Mirror the ends repeatedly: c b a | a b c | c b a.
function reflected(at, length) {
    const period = 2 * length;
    const within = ((at % period) + period) % period;
    return Math.min(within, period - 1 - within);
}

// uniform_filter(mode="nearest"): the mean over a window; an even window extends further left.
export function uniformFilter(plane, size) {
    const left = size >> 1, right = size - left - 1;
    return alongBoth(plane, left, right, nearest, (wide, line) => {
        let sum = 0;
        for (let k = 0; k < size; k++) sum += wide[k];
        for (let k = 0; k < line.length; k++) {
            line[k] = sum / size;
            sum += wide[k + size] - wide[k];
        }
    });
}

// gaussian_filter(mode="reflect", truncate=4).
export function gaussianFilter(plane, sigma) {
    const radius = Math.floor(4 * sigma + 0.5);
    const weights = Float64Array.from({ length: 2 * radius + 1 },
        (_, k) => Math.exp(-0.5 * ((k - radius) / sigma) ** 2));
    const total = weights.reduce((sum, weight) => sum + weight);
    weights.forEach((weight, k) => { weights[k] = weight / total; });
    return alongBoth(plane, radius, radius, reflected, (wide, line) => {
        for (let k = 0; k < line.length; k++) {
            let sum = 0;
            for (let i = 0; i < weights.length; i++) sum += weights[i] * wide[k + i];
            line[k] = sum;
        }
    });
}

// The maximum in a window of 2 * reach + 1 (van Herk 1992: from the running maxima of blocks as
// long as the window, in both directions).
function maximumFilter(plane, reach) {
    return mostAlong(mostAlong(plane, reach, 1), reach, 0);
}

// The same in a row (axis 1) or a column (axis 0) only.
export function mostAlong(plane, reach, axis) {
    const size = 2 * reach + 1, { width, height } = plane;
    const longest = Math.max(width, height) + size;
    const upTo = new Float32Array(longest), from = new Float32Array(longest);
    const result = makePlane(width, height, plane.data.slice());
    const [lines, length, lineStep, step] = axis ? [height, width, width, 1] : [width, height, 1, width];
    along(result.data, lines, length, lineStep, step, reach, reach, nearest, (wide, line) => {
        for (let start = 0; start < wide.length; start += size) {
            const end = Math.min(start + size, wide.length);
            for (let k = start, most = -Infinity; k < end; k++) {
                upTo[k] = most = wide[k] > most ? wide[k] : most;
            }
            for (let k = end - 1, most = -Infinity; k >= start; k--) {
                from[k] = most = wide[k] > most ? wide[k] : most;
            }
        }
        for (let k = 0; k < line.length; k++) {
            line[k] = from[k] > upTo[k + size - 1] ? from[k] : upTo[k + size - 1];
        }
    });
    return result;
}

// The minimum along an axis.
export function leastAlong(plane, reach, axis) {
    const negative = map(plane, (value) => -value);
    return map(mostAlong(negative, reach, axis), (value) => -value);
}

// grey_closing(mode="nearest") with a square of 2 * reach + 1: fills narrower dark parts.
export function greyClosing(plane, reach) {
    const dilated = maximumFilter(plane, reach);
    const most = maximum(dilated);
    if (dilated.data.every((value) => value === most)) return dilated; // a clean sheet
    return greyErosion(dilated, reach);
}

// grey_erosion(mode="nearest"): the minimum in a square of 2 * reach + 1.
export function greyErosion(plane, reach) {
    const negative = map(plane, (value) => -value);
    return map(maximumFilter(negative, reach), (value) => -value);
}

// grey_dilation with a disc: the maximum within `radius`, zeros outside.
export function dilateDisc(plane, radius) {
    const { width, height, data } = plane;
    const result = makePlane(width, height);
    const reach = Math.floor(radius);
    for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) {
            if (Math.hypot(dx, dy) > radius) continue;
            for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
                for (let x = Math.max(0, -dx); x < Math.min(width, width - dx); x++) {
                    const to = y * width + x;
                    result.data[to] = Math.max(result.data[to], data[to + dy * width + dx]);
                }
            }
        }
    }
    return result;
}

// grey_erosion with a disc: the minimum within `radius`, zeros outside.
export function erodeDisc(plane, radius) {
    const reach = Math.floor(radius), negative = map(pad(plane, reach, 0), (value) => 1 - value);
    const { width, height } = plane;
    return crop(map(dilateDisc(negative, radius), (value) => 1 - value), reach, reach, width, height);
}

// binary_dilation of a plane of 0 and 1, by a diamond of radius `reach` or a square.
export function dilate(mask, reach, square) {
    const { width, height, data } = mask;
    const result = makePlane(width, height);
    for (let at = 0; at < data.length; at++) {
        if (!data[at]) continue;
        const x = at % width, y = (at - x) / width;
        for (let dy = -Math.min(reach, y); dy <= Math.min(reach, height - 1 - y); dy++) {
            const wide = square ? reach : reach - Math.abs(dy);
            const row = (y + dy) * width, end = row + Math.min(width - 1, x + wide);
            for (let to = row + Math.max(0, x - wide); to <= end; to++) result.data[to] = 1;
        }
    }
    return result;
}

// ndimage.label: the 4-connected components of a plane of 0 and 1, numbered from 1.
export function labelParts(mask) {
    const { width, height, data } = mask;
    const labels = new Int32Array(data.length);
    const open = [];
    let count = 0;
    const visit = (at) => {
        if (data[at] && !labels[at]) {
            labels[at] = count;
            open.push(at);
        }
    };
    for (let start = 0; start < data.length; start++) {
        if (!data[start] || labels[start]) continue;
        count += 1;
        visit(start);
        while (open.length) {
            const at = open.pop(), x = at % width;
            if (x > 0) visit(at - 1);
            if (x < width - 1) visit(at + 1);
            if (at >= width) visit(at - width);
            if (at < width * (height - 1)) visit(at + width);
        }
    }
    return { labels, count };
}

// distance_transform_edt: the distance of each 1 to the nearest 0 (Saito, Toriwaki 1994).
export function distances(mask) {
    const { width, height, data } = mask;
    const inColumn = new Float64Array(data.length);
    for (let x = 0; x < width; x++) {
        for (let y = 0, far = Infinity; y < height; y++) {
            far = data[y * width + x] ? far + 1 : 0;
            inColumn[y * width + x] = far;
        }
        for (let y = height - 1, far = Infinity; y >= 0; y--) {
            far = data[y * width + x] ? far + 1 : 0;
            inColumn[y * width + x] = Math.min(inColumn[y * width + x], far);
        }
    }
    return inColumn.map((_, at) => {
        const row = at - (at % width);
        let nearest = Infinity;
        for (let x = 0; x < width; x++) {
            const dx = at - row - x;
            nearest = Math.min(nearest, dx * dx + inColumn[row + x] ** 2);
        }
        return Math.sqrt(nearest);
    });
}
