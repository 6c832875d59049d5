// Compute every layer's output of an exported network, and gradients, in plain JavaScript.
//
// network.json (export/explainer.py) lists the layers in order. A layer here has `kind`, `shape` of
// its output as [maps, height, width] (a vector is [N, 1, 1]), `before`, that of its input, and its
// weights as Float32Array. Outputs are Float32Array, map by map, row by row.

// Kinds of layers that work on each value: the function, and its slope by its own result.
export const POINTWISE = {
    relu: [(x) => Math.max(x, 0), (y) => (y > 0 ? 1 : 0)],
    tanh: [Math.tanh, (y) => 1 - y * y],
    sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (y) => y * (1 - y)],
};
const WEIGHTS = ["weight", "bias", "scale", "shift"];
const KINDS = [...Object.keys(POINTWISE), "conv", "max", "average", "norm", "linear"];

export class Network {
    // description: the content of network.json. Throws for one that is none.
    constructor(description) {
        const { input, layers, run = "", model = "", temperature = 1 } = description;
        Object.assign(this, { input, run, model, temperature });
        let before = input;
        this.layers = layers.map((record) => {
            if (!KINDS.includes(record.kind)) throw new Error(`network.json: ${record.kind}`);
            const [maps, height = 1, width = 1] = record.shape;
            const layer = { ...record, before, shape: [maps, height, width] };
            for (const name of WEIGHTS) if (name in record) layer[name] = decodeFloats(record[name]);
            before = layer.shape;
            return layer;
        });
        this.cost = this.layers.reduce((sum, layer) => sum + multiplyAdds(layer), 0);
    }

    // Float32Array (C, S, S), normalised -> the outputs, first the input itself, last the logits.
    forward(image) {
        const outputs = [image];
        for (const layer of this.layers) outputs.push(compute(layer, outputs.at(-1)));
        return outputs;
    }

    // Return the gradient of one logit by the input, Float32Array (C, S, S).
    gradient(outputs, winner) {
        let slope = new Float32Array(outputs.at(-1).length);
        slope[winner] = 1;
        for (let k = this.layers.length - 1; k >= 0; k--) {
            slope = pullBack(this.layers[k], outputs[k], outputs[k + 1], slope);
        }
        return slope;
    }

    // Return what a cell of output `stage` (0: the input) sees of each output before it: [top, left,
    // bottom, right] with the last row and column included; at the border it may reach outside.
    fields(stage, row, column) {
        const fields = Array(stage + 1);
        fields[stage] = [row, column, row, column];
        for (let k = stage; k > 0; k--) fields[k - 1] = seenBy(this.layers[k - 1], fields[k]);
        return fields;
    }

    // Softmax of the logits, calibrated as the exported model's are.
    shares(logits) {
        return softmax(Array.from(logits, (logit) => logit / this.temperature));
    }
}

// Array of logits -> Array of shares.
export function softmax(logits) {
    const most = Math.max(...logits), powers = logits.map((logit) => Math.exp(logit - most));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
}

export function hasWindow({ kind }) {
    return kind === "conv" || kind === "max" || kind === "average";
}

// Base64 -> Uint8Array.
export function decodeBytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function decodeFloats(text) {
    return new Float32Array(decodeBytes(text).buffer); // little endian, as every browser's machine
}

function multiplyAdds({ kind, shape, before, kernel, weight }) {
    if (kind === "conv") return shape[0] * shape[1] * shape[2] * before[0] * kernel[0] * kernel[1];
    return kind === "linear" ? weight.length : 0;
}

function seenBy({ kind, before, kernel, stride, padding }, [top, left, bottom, right]) {
    if (kind === "linear") return [0, 0, before[1] - 1, before[2] - 1];
    if (!kernel) return [top, left, bottom, right];
    const first = (cell, axis) => cell * stride[axis] - padding[axis];
    return [
        ...[first(top, 0), first(left, 1)],
        ...[first(bottom, 0) + kernel[0] - 1, first(right, 1) + kernel[1] - 1],
    ];
}

function compute(layer, input) {
    const { kind, shape, before } = layer;
    if (POINTWISE[kind]) return input.map(POINTWISE[kind][0]);
    if (kind === "linear") return computeLinear(layer, input);
    if (kind === "norm") {
        const size = before[1] * before[2];
        return input.map((x, k) => x * layer.scale[Math.floor(k / size)] + layer.shift[Math.floor(k / size)]);
    }
    return kind === "conv" ? computeConvolution(layer, input) : computePooling(layer, input, shape);
}

function computeLinear({ weight, bias, shape }, input) {
    return new Float32Array(shape[0]).map((_, k) => {
        let sum = bias[k];
        for (let i = 0, w = k * input.length; i < input.length; i++, w++) sum += weight[w] * input[i];
        return sum;
    });
}

// Visit each cell of a convolution's output: visit(place, map, first row and column of its window in
// the input, and which rows [v0, v1) and columns [u0, u1) of the kernel lie inside it).
function eachCell({ shape, before, kernel, stride, padding }, visit) {
    const [maps, height, width] = shape, [, tall, wide] = before;
    for (let map = 0, place = 0; map < maps; map++) {
        for (let y = 0; y < height; y++) {
            const top = y * stride[0] - padding[0], v0 = Math.max(0, -top), v1 = Math.min(kernel[0], tall - top);
            for (let x = 0; x < width; x++, place++) {
                const left = x * stride[1] - padding[1];
                visit(place, map, top, left, v0, v1, Math.max(0, -left), Math.min(kernel[1], wide - left));
            }
        }
    }
}

function computeConvolution(layer, input) {
    const { weight, bias, shape, before: [channels, tall, wide], kernel } = layer, size = kernel[0] * kernel[1];
    const result = new Float32Array(shape[0] * shape[1] * shape[2]);
    eachCell(layer, (place, map, top, left, v0, v1, u0, u1) => {
        let sum = bias[map];
        for (let channel = 0; channel < channels; channel++) {
            for (let v = v0; v < v1; v++) {
                let w = (map * channels + channel) * size + v * kernel[1] + u0;
                let from = (channel * tall + top + v) * wide + left + u0;
                for (let u = u0; u < u1; u++) sum += weight[w++] * input[from++];
            }
        }
        result[place] = sum;
    });
    return result;
}

// Add a convolution's part to `result`, the gradient by its input.
function pullBackConvolution(layer, slope, result) {
    const { weight, before: [channels, tall, wide], kernel } = layer, size = kernel[0] * kernel[1];
    eachCell(layer, (place, map, top, left, v0, v1, u0, u1) => {
        const factor = slope[place];
        if (!factor) return; // of most cells, after ReLU and pooling
        for (let channel = 0; channel < channels; channel++) {
            for (let v = v0; v < v1; v++) {
                let w = (map * channels + channel) * size + v * kernel[1] + u0;
                let to = (channel * tall + top + v) * wide + left + u0;
                for (let u = u0; u < u1; u++) result[to++] += factor * weight[w++];
            }
        }
    });
}

// Visit each window of a pooling layer: visit(place after, places before).
function eachWindow({ shape, before, kernel, stride }, visit) {
    const [maps, height, width] = shape, [, tall, wide] = before;
    const places = Array(kernel[0] * kernel[1]);
    for (let map = 0, to = 0; map < maps; map++) {
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++, to++) {
                const start = (map * tall + y * stride[0]) * wide + x * stride[1];
                for (let v = 0, k = 0; v < kernel[0]; v++) {
                    for (let u = 0; u < kernel[1]; u++, k++) places[k] = start + v * wide + u;
                }
                visit(to, places);
            }
        }
    }
}

function computePooling(layer, input, [maps, height, width]) {
    const result = new Float32Array(maps * height * width);
    eachWindow(layer, (to, places) => {
        let most = -Infinity, sum = 0;
        for (const place of places) {
            most = Math.max(most, input[place]);
            sum += input[place];
        }
        result[to] = layer.kind === "max" ? most : sum / places.length;
    });
    return result;
}

// From the gradient by a layer's output to that by its input.
function pullBack(layer, input, output, slope) {
    const { kind, weight, before, kernel } = layer;
    if (POINTWISE[kind]) return slope.map((value, k) => value * POINTWISE[kind][1](output[k]));
    if (kind === "norm") {
        const size = before[1] * before[2];
        return slope.map((value, k) => value * layer.scale[Math.floor(k / size)]);
    }
    const result = new Float64Array(input.length);
    if (kind === "linear") {
        slope.forEach((value, k) => {
            for (let i = 0; value && i < result.length; i++) result[i] += value * weight[k * result.length + i];
        });
    } else if (kind === "conv") {
        pullBackConvolution(layer, slope, result);
    } else {
        const share = 1 / (kernel[0] * kernel[1]);
        eachWindow(layer, (to, places) => {
            if (kind === "max") result[places.find((place) => input[place] === output[to])] += slope[to];
            else for (const place of places) result[place] += slope[to] * share;
        });
    }
    return Float32Array.from(result);
}
