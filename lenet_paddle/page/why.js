// Why this answer: the pixels that speak for it, the nearest training digits, another network.

import { format, make } from "./parts.js";
import { css, largest, paintValues } from "./colours.js";
import { Network } from "./network.js";
import { normalise } from "./preprocess.js";
import { say } from "./words.js";

const NEIGHBOURS = 8;
const DIGIT = 28; // pixels on a side of a digit in digits.png
const SLICE = 6; // ms of work between two frames
const MOST_WORK = 1.5e9; // multiply-adds for the hidden activations of all digits

// The training digits that look most alike to the network: nearest in its last hidden layer.
export class Nearest {
    constructor(network) {
        this.network = network;
        this.digits = []; // {label, planes, hidden}
        this.waiting = [];
    }

    // Fetch the sheet, a row a class, and compute the digits' activations between frames.
    async load(url) {
        const blob = await (await fetch(url)).blob();
        const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
        context.drawImage(bitmap, 0, 0);
        const across = bitmap.width / DIGIT, down = bitmap.height / DIGIT;
        const most = Math.min(across, Math.floor(MOST_WORK / this.network.cost / down));
        for (let k = 0; k < most; k++) {
            for (let label = 0; label < down; label++) {
                const { data } = context.getImageData(k * DIGIT, label * DIGIT, DIGIT, DIGIT);
                const grey = Float64Array.from({ length: DIGIT * DIGIT }, (_, i) => data[4 * i]);
                this.waiting.push({ label, planes: [{ width: DIGIT, height: DIGIT, data: grey }] });
            }
        }
    }

    // Compute for a few milliseconds; return whether there is more to do.
    work() {
        const end = performance.now() + SLICE;
        while (this.waiting.length && performance.now() < end) {
            const digit = this.waiting.shift();
            digit.hidden = this.network.forward(normalise(digit.planes, this.network.input[2])).at(-2);
            this.digits.push(digit);
        }
        return this.waiting.length > 0;
    }

    // Return the nearest digits to a hidden activation, nearest first: [{label, planes, distance}].
    find(hidden) {
        const found = this.digits.map(({ label, planes, hidden: other }) => {
            let sum = 0;
            for (let k = 0; k < other.length; k++) sum += (other[k] - hidden[k]) ** 2;
            return { label, planes, distance: Math.sqrt(sum) };
        });
        return found.sort((a, b) => a.distance - b.distance).slice(0, NEIGHBOURS);
    }
}

// The part of the page; `root` has an element for each of the three.
export class Why {
    constructor(root, classes, network, nearest, other) {
        Object.assign(this, { root, classes, network, nearest });
        this.other = other && new Network(other);
        const find = (name) => root.querySelector(name);
        this.find = find;
        find("#neighbours").closest("section").hidden = !nearest;
        find("#beside").closest("section").hidden = !this.other;
        this.thumbs = Array.from({ length: NEIGHBOURS }, () => {
            const figure = make("figure"), canvas = make("canvas"), caption = make("figcaption");
            figure.append(canvas, caption);
            find("#neighbours").append(figure);
            return { figure, canvas, caption };
        });
        this.noise = makeNoise(network.input.reduce((a, b) => a * b));
        find("#noise").oninput = () => this.#compare();
    }

    // outputs: of every stage; planes: what the network saw; winner: the best class.
    show(outputs, planes, winner, palette) {
        Object.assign(this, { outputs, planes, palette });
        const [channels, side] = this.network.input, size = side * side;
        const slope = this.network.gradient(outputs.slice(0, -1), winner);
        const parts = slope.map((value, k) => value * (outputs[0][k] + 1)); // against a black picture
        this.slope = sumChannels(slope, channels, size);
        this.parts = sumChannels(parts, channels, size);
        const name = this.classes[winner];
        this.find("#why-title").textContent = say("What speaks for {0}", name);
        for (const [id, values] of [["#ink", this.parts], ["#slope", this.slope]]) {
            paintValues(this.find(id), values, side, largest(values), palette.scale);
        }
        this.find("#ink-text").textContent = say("Ink that speaks for {0} (blue) or against it (red)", name);
        this.find("#slope-text").textContent = say("Where more ink would raise its logit (blue) or lower it (red)");
        clearTimeout(this.later); // each in a task of its own, so that none takes a frame
        this.later = setTimeout(() => {
            if (this.nearest) this.showNeighbours();
            if (this.other) this.later = setTimeout(() => this.#compare());
        });
    }

    // Show the nearest digits among those that are computed so far.
    showNeighbours() {
        if (!this.outputs) return;
        const found = this.nearest.find(this.outputs.at(-3)), { palette } = this; // the last hidden layer
        this.thumbs.forEach(({ figure, canvas, caption }, k) => {
            figure.hidden = !found[k];
            if (!found[k]) return;
            const { planes: [{ data }], label, distance } = found[k];
            paintValues(canvas, data.map((value) => value / 127.5 - 1), DIGIT, 1, palette.greys);
            caption.textContent = `${this.classes[label]} · ${format(distance, 1)}`;
        });
        const count = this.nearest.digits.length, labels = found.map(({ label }) => this.classes[label]);
        const same = labels.filter((label) => label === labels[0]).length;
        this.find("#neighbours-text").textContent = !count ? "" : say(
            "{0} of the {1} nearest are {2}. Distance in the last hidden layer, among {3} training digits.",
            same, labels.length, labels[0], count);
    }

    // Ask both networks about the drawing, with noise on it if the reader wants some.
    #compare() {
        if (!this.planes) return;
        const level = Number(this.find("#noise").value) / 100, own = this.network.input[2];
        const first = (own - this.planes[0].width) / 2;
        const noisy = this.planes.map(({ width, height, data }, channel) => {
            const changed = Float64Array.from(data, (value, k) => {
                const row = Math.floor(k / width) + first, at = (channel * own + row) * own + (k % width) + first;
                return Math.max(0, Math.min(255, value + 127.5 * level * this.noise[at]));
            });
            return { width, height, data: changed };
        });
        const shares = [this.network, this.other].map((network) => {
            return network.shares(network.forward(normalise(noisy, network.input[2])).at(-1));
        });
        const image = normalise(noisy, own).subarray(0, own * own);
        paintValues(this.find("#disturbed"), image, own, 1, this.palette.greys);
        this.find("#names").replaceChildren(...[this.network, this.other].map(({ run, model }) => {
            return make("b", "", [model, run].filter(Boolean).join(", "));
        }));
        const ranked = shares[0].map((_, k) => k);
        ranked.sort((a, b) => Math.max(shares[0][b], shares[1][b]) - Math.max(shares[0][a], shares[1][a]));
        const shown = ranked.slice(0, 5).sort((a, b) => a - b);
        this.find("#beside").replaceChildren(...shown.map((k) => {
            const row = make("li");
            row.append(make("b", "", this.classes[k]), ...shares.flatMap((of) => {
                const track = make("span", "track"), fill = make("i");
                fill.style.width = `${100 * of[k]}%`;
                fill.style.backgroundColor = css(this.palette.plus, of[k] === Math.max(...of) ? 1 : 0.5);
                track.append(fill);
                return [track, make("span", "share", `${(100 * of[k]).toFixed(1)}%`)];
            }));
            return row;
        }));
    }
}

function sumChannels(values, channels, size) {
    const sums = values.slice(0, size);
    for (let k = size; k < channels * size; k++) sums[k % size] += values[k];
    return sums;
}

// The same noise at each visit: normal values by Box and Muller, from a linear congruential generator.
function makeNoise(count) {
    let state = 1;
    const next = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 1) / 4294967297;
    return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}
