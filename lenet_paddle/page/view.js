// Show an answer: the best class, a bar for each class, the network's input, the feature maps.

import { say } from "./words.js";

const MAX_BARS = 12; // if there are more classes, show the most probable
const MAX_MAPS = 32; // shown for a convolution
const PIXELATED = 64; // pixels on a side of the largest canvas whose pixels are shown
const find = (id) => document.getElementById(id);

export function formatShare(share) {
    return share < 0.0005 ? "0%" : `${(100 * share).toFixed(1)}%`;
}

export class View {
    constructor(model) {
        this.classes = model.classes;
        this.size = model.image_size;
        this.isColour = model.input.shape[1] === 3;
        setSize(find("seen"), this.size, this.size);
        this.isLong = model.classes.some((name) => [...name].length > 2);
        this.rows = model.classes.slice(0, MAX_BARS).map(() => this.#addBar());
        find("bars").classList.toggle("words", this.isLong);
        find("bars").classList.toggle("few", this.rows.length < 8);
        this.layers = model.features.map(({ shape }, k) => this.#addMaps(shape, k + 1));
        this.isReady = false; // until there is a backend
        this.show(null);
    }

    // Show a backend's answer, or null for an empty sheet.
    show(answer) {
        this.answer = answer;
        const shares = answer?.probabilities ?? this.classes.map(() => 0);
        const ranked = shares.map((_, k) => k).sort((a, b) => shares[b] - shares[a] || a - b);
        this.#showBest(answer?.probabilities && ranked, shares);
        const order = this.classes.length > MAX_BARS ? ranked : shares.map((_, k) => k);
        this.rows.forEach((row, place) => {
            const k = order[place];
            this.#showBar(row, this.classes[k], shares[k], answer?.probabilities && k === ranked[0]);
        });
        this.paint();
    }

    // Return one sentence for screen readers.
    spoken() {
        const { probabilities } = this.answer;
        if (!probabilities) return say("Nothing is written.");
        const ranked = this.classes.map((name, k) => [name, probabilities[k]]);
        const [[a, p], [b, q]] = [...ranked.sort((x, y) => y[1] - x[1]), ["", 0]];
        if (this.answer.isDigit === false) return say("Unclear. Perhaps {0}, {1}.", a, formatShare(p));
        return say("{0}, {1}. Next: {2}, {3}.", a, formatShare(p), b, formatShare(q));
    }

    // Paint the network's input and the maps in the colours of the current theme.
    paint() {
        const side = `${this.size} × ${this.size}`;
        find("seen-size").textContent = this.isColour ? say("{0}, in colour", side) : side;
        paintPixels(find("seen"), this.answer?.seen);
        this.layers.forEach(({ canvases, caption, shape }, layer) => {
            const [count, height, width] = shape, size = `${height} × ${width}`;
            const some = ["the first {0} of {1} maps of {2}", canvases.length, count, size];
            const [title, detail] = caption.children;
            title.textContent = say("Convolution {0}", layer + 1);
            detail.textContent = canvases.length < count ? say(...some) : say("{0} maps of {1}", count, size);
            const label = say("{0} feature maps of convolution {1}", count, layer + 1);
            canvases[0].parentElement.setAttribute("aria-label", label);
            const data = this.answer?.features[layer]?.data;
            const colour = getComputedStyle(canvases[0]).color.match(/\d+/g).slice(0, 3).map(Number);
            canvases.forEach((canvas, k) => {
                paintMap(canvas, data?.subarray(k * height * width, (k + 1) * height * width), colour);
            });
        });
        this.explainer?.show(this.answer);
    }

    #showBest(ranked, shares) {
        const best = find("best");
        best.classList.toggle("none", !ranked);
        best.classList.toggle("unclear", Boolean(ranked) && this.answer.isDigit === false);
        best.classList.toggle("word", Boolean(ranked) && this.isLong);
        const [a, b] = (ranked ?? []).map((k) => this.classes[k]);
        const share = ranked ? shares[ranked[0]] : 0;
        best.textContent = a ?? "?";
        find("sure").textContent = ranked ? formatShare(share) : "";
        find("comment").textContent = this.#comment(share, a, b);
    }

    #comment(share, a, b) {
        if (!this.isReady) return say("Loading the network…");
        if (!a) return say(this.answer ? "Nothing is written." : "Waiting for your first stroke.");
        if (this.answer.isDigit === false) return say("Unclear: perhaps {0}, perhaps no digit.", a);
        if (share >= 0.9) return say("Quite sure.");
        return share >= 0.6 ? say("Or is it {0}?", b) : say("Hard to tell: {0} or {1}?", a, b);
    }

    #addBar() {
        const row = document.createElement("li");
        const [name, track, share] = ["name", "track", "share"].map((kind) => {
            const part = document.createElement("div");
            part.className = kind;
            row.append(part);
            return part;
        });
        const fill = document.createElement("div");
        fill.className = "fill";
        track.append(fill);
        track.setAttribute("role", "meter");
        find("bars").append(row);
        return { row, name, track, fill, share };
    }

    #showBar({ row, name, track, fill, share }, title, value, isFirst) {
        row.classList.toggle("first", Boolean(isFirst));
        name.textContent = name.title = title;
        share.textContent = formatShare(value);
        fill.style.transform = `translateX(${100 * value - 100}%)`;
        const state = { label: title, valuemin: 0, valuemax: 1, valuenow: value.toFixed(4) };
        for (const [key, text] of Object.entries(state)) track.setAttribute(`aria-${key}`, text);
        track.setAttribute("aria-valuetext", formatShare(value));
    }

    #addMaps(shape, number) {
        const figure = document.createElement("figure"), maps = document.createElement("div");
        const caption = document.createElement("figcaption");
        caption.append(document.createElement("b"), document.createElement("span"));
        const canvases = Array.from({ length: Math.min(shape[0], MAX_MAPS) }, () => {
            const canvas = document.createElement("canvas");
            setSize(canvas, shape[2], shape[1]);
            return canvas;
        });
        maps.className = "maps";
        maps.setAttribute("role", "img");
        maps.style.setProperty("--columns", Math.ceil(canvases.length / 2));
        maps.style.setProperty("--few-columns", canvases.length % 4 ? 3 : 4);
        maps.append(...canvases);
        figure.classList.toggle("wide", canvases.length > 16);
        figure.dataset.layer = number;
        figure.append(maps, caption);
        find("steps").append(figure);
        return { canvases, caption, shape };
    }
}

// Small canvases show their pixels, others are smoothed.
function setSize(canvas, width, height) {
    [canvas.width, canvas.height] = [width, height];
    canvas.classList.toggle("smooth", Math.max(width, height) > PIXELATED);
}

function paintPixels(canvas, pixels) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    if (pixels) image.data.set(pixels);
    context.putImageData(image, 0, 0);
}

// The accent colour, with the value as opacity.
function paintMap(canvas, values, colour) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    const [red, green, blue] = colour, { data } = image;
    for (let k = 0; values && k < values.length; k++) {
        [data[4 * k], data[4 * k + 1], data[4 * k + 2], data[4 * k + 3]] = [red, green, blue, values[k]];
    }
    context.putImageData(image, 0, 0);
}
