// How a cell's value comes about, as numbers: window, kernel, sums; nothing here touches the page.

const MOST_BLOCKS = 8; // input maps whose window is shown; of larger kernels 6
const MOST_PARTS = 8; // inputs of a linear layer that are shown

// Return {kind, value, before} and, by kind, what the value is made of.
// stages: of Columns; outputs: of each stage; cell: {stage, map, row, column}.
export function describeCell(stages, outputs, cell, temperature = 1) {
    const { stage, map, row, column } = cell, layer = stages[stage], [, height, width] = layer.shape;
    const place = (map * height + row) * width + column, value = outputs[stage][place];
    const own = { kind: layer.kind, cell, layer, value };
    const input = outputs[stage - 1];
    if (layer.kind === "input") return { ...own, pixel: Math.round(value * 127.5 + 127.5) };
    if (layer.kind === "softmax") return { ...own, ...describeShares(input, temperature) };
    if (layer.kind === "linear") return { ...own, ...describeSum(layer, input, map) };
    if (layer.kind === "conv") return { ...own, ...describeConvolution(layer, input, cell) };
    if (layer.kind === "norm") {
        return { ...own, before: input[place], scale: layer.scale[map], shift: layer.shift[map] };
    }
    if (!layer.kernel) return { ...own, before: input[place] };
    const { values } = windowOf(layer, input, map, row, column);
    const winner = layer.kind === "max" ? values.indexOf(Math.max(...values)) : -1;
    return { ...own, values, winner };
}

// Return a window's values in one map, row by row, and which of them lie in the padding.
export function windowOf({ before, kernel, stride, padding }, input, map, row, column) {
    const [, height, width] = before, values = [], isOutside = [];
    for (let v = 0; v < kernel[0]; v++) {
        for (let u = 0; u < kernel[1]; u++) {
            const y = row * stride[0] - padding[0] + v, x = column * stride[1] - padding[1] + u;
            isOutside.push(y < 0 || x < 0 || y >= height || x >= width);
            values.push(isOutside.at(-1) ? 0 : input[(map * height + y) * width + x]);
        }
    }
    return { values, isOutside };
}

// What each tile of the stage before adds to a cell, by its number; 1 where nothing is added up.
export function feeds(layer, input, { map, row, column }) {
    const { kind, before, kernel, weight } = layer, parts = new Map();
    if (kind !== "conv" && kind !== "linear") return parts.set(map, 1);
    const [maps, height, width] = before, size = height * width;
    for (let from = 0; from < maps; from++) {
        let sum = 0;
        if (kind === "linear") {
            const start = map * maps * size + from * size;
            for (let k = 0; k < size; k++) sum += weight[start + k] * input[from * size + k];
        } else {
            const start = (map * maps + from) * kernel[0] * kernel[1];
            windowOf(layer, input, from, row, column).values.forEach((value, k) => { sum += weight[start + k] * value; });
        }
        parts.set(from, sum);
    }
    return parts;
}

function describeConvolution(layer, input, cell) {
    const { map, row, column } = cell, { kernel, weight, bias, before } = layer;
    const size = kernel[0] * kernel[1], most = size > 9 ? 6 : MOST_BLOCKS;
    const sums = feeds(layer, input, cell);
    const chosen = strongest([...sums], most, ([, sum]) => sum).map(([from]) => from).sort((a, b) => a - b);
    const blocks = chosen.map((from) => {
        const start = (map * before[0] + from) * size;
        const weights = Array.from(weight.subarray(start, start + size));
        return { map: from, sum: sums.get(from), weights, ...windowOf(layer, input, from, row, column) };
    });
    const others = [...sums].filter(([from]) => !chosen.includes(from));
    return { blocks, ...restOf(others.map(([, sum]) => sum)), bias: bias[map] };
}

function describeSum({ weight, bias, before }, input, map) {
    const [, height, width] = before, size = height * width;
    const parts = Array.from(input, (x, k) => {
        const w = weight[map * input.length + k];
        return { k, x, w, product: x * w, map: Math.floor(k / size), row: Math.floor((k % size) / width), column: k % width };
    });
    const shown = strongest(parts, MOST_PARTS, ({ product }) => product);
    const others = parts.filter((part) => !shown.includes(part));
    return { parts: shown, isFlat: size > 1, ...restOf(others.map(({ product }) => product)), bias: bias[map] };
}

function describeShares(logits, temperature) {
    const scaled = Array.from(logits, (logit) => logit / temperature), most = Math.max(...scaled);
    const powers = scaled.map((logit) => Math.exp(logit - most));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return { rows: scaled.map((logit, k) => ({ logit, power: powers[k], share: powers[k] / total })), most, total, temperature };
}

function restOf(values) {
    return { others: values.length, rest: values.reduce((sum, value) => sum + value, 0) };
}

function strongest(items, count, value) {
    return [...items].sort((a, b) => Math.abs(value(b)) - Math.abs(value(a))).slice(0, count);
}
