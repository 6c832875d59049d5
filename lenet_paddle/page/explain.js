// The explainer: the views of the page, the cell that is explained, and what follows from it.

import { ask } from "./ask.js";
import { Card } from "./card.js";
import { describeCell } from "./cell.js";
import { readPalette } from "./colours.js";
import { Columns } from "./columns.js";
import { SheetOverlay } from "./overlay.js";
import { Network } from "./network.js";
import { Play } from "./play.js";
import { normalise, planesOf } from "./preprocess.js";
import { speakCell, titleCell } from "./sentences.js";
import { say } from "./words.js";
import { Nearest, Why } from "./why.js";

// The part of the address after # -> the view, and the kinds of layers whose cell is explained first.
const LINKS = {
    answer: ["answer"], network: ["network", "conv"], convolution: ["network", "conv"], relu: ["network", "relu"],
    pooling: ["network", "max", "average"], inside: ["network", "inside"], linear: ["network", "linear"],
    softmax: ["network", "softmax"], why: ["network", "softmax"], play: ["play"],
};
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const SLOW = 3e6; // multiply-adds above which the network is not computed at every point of a stroke
const PAUSE = 120, SPEAK_AFTER = 500; // ms
const STEP = 160, QUICK_STEP = 60, MANY = 150; // ms of a step, and with more cells than that
const find = (id) => document.getElementById(id);

// Return the explainer of a model (the content of model.json), or null if it cannot be explained.
export async function connect(model, drawing) {
    const { explainer: files } = model;
    if (!files.includes("network.json")) return null;
    try {
        const network = new Network(await ask("explainer/network.json"));
        const other = files.includes("compare.json") ? await ask("explainer/compare.json") : null;
        const nearest = files.includes("digits.png") ? new Nearest(network) : null;
        return new Explainer(model, drawing, network, nearest, other);
    } catch (error) {
        console.warn(error.message);
        return null;
    }
}

class Explainer {
    constructor(model, drawing, network, nearest, other) {
        Object.assign(this, { model, drawing, network, nearest, outputs: null, planes: null, cell: null });
        this.isFixed = this.isPlaying = false;
        this.columns = new Columns(find("columns"), network, model.classes);
        this.card = new Card(find("sum-card"), model.classes, (cell, isFixed) => this.#point(cell, isFixed));
        this.why = new Why(find("why-card"), model.classes, network, nearest, other);
        this.play = new Play(find("play-card"), network, () => this.planes?.[0] ?? null);
        this.overlay = new SheetOverlay(find("frame"), drawing, model.preprocess !== "digit");
        find("views").hidden = false;
        this.#listen();
        this.#open();
    }

    // Show an answer of the backend, or null for an empty sheet.
    show(answer) {
        this.answer = answer;
        clearTimeout(this.later);
        if (this.network.cost > SLOW) this.later = setTimeout(() => this.#compute(), PAUSE);
        else this.#compute();
    }

    #compute() {
        if (this.view === "answer") return;
        performance.mark("explain");
        const { image_size: side, input: { shape: [, channels] } } = this.model;
        const pixels = { width: side, height: side, data: this.answer?.seen };
        const planes = this.answer?.probabilities ? planesOf(pixels, channels) : this.example;
        this.planes = planes ?? null;
        this.outputs = planes ? this.#run(planes) : null;
        if (!this.isChosen) this.cell = this.#find(this.wanted);
        this.paint();
        performance.measure("explain", "explain");
    }

    #run(planes) {
        const outputs = this.network.forward(normalise(planes, this.network.input[2]));
        return [...outputs, Float32Array.from(this.network.shares(outputs.at(-1)))];
    }

    // Read the theme's colours again when they have changed.
    #readPalette() {
        const theme = getComputedStyle(find("columns")).color;
        if (theme !== this.theme) this.colours = readPalette(find("legend"));
        this.theme = theme;
        return this.colours;
    }

    // Paint the view that is open.
    paint() {
        this.palette = this.#readPalette();
        if (this.view === "play") return this.play.show(this.palette);
        const box = find("columns-frame"), height = Math.max(430, Math.min(600, innerHeight * 0.5));
        const key = [box.clientWidth, height, devicePixelRatio, document.documentElement.lang, this.theme].join();
        if (key !== this.laid && box.clientWidth) {
            this.laid = key;
            this.columns.lay(box.clientWidth, height, this.palette);
        }
        find("example").hidden = !this.outputs || Boolean(this.answer?.probabilities);
        find("empty").hidden = Boolean(this.outputs);
        find("cell-card").hidden = find("why-card").hidden = !this.outputs;
        this.#paintCell();
        clearTimeout(this.whyLater);
        if (this.outputs) this.whyLater = setTimeout(() => this.#paintWhy(), PAUSE); // not at every point of a stroke
    }

    #paintWhy() {
        const shares = this.outputs.at(-1), winner = shares.indexOf(Math.max(...shares));
        this.why.show(this.outputs, this.planes, winner, this.palette);
        if (find("on-sheet").checked) this.#paintCell();
    }

    #paintCell() {
        const { outputs, cell, columns, palette } = this;
        columns.paint(outputs, cell);
        find("columns").classList.toggle("fixed", this.isFixed);
        if (!outputs || !cell) return this.overlay.paint(null);
        const data = describeCell(columns.stages, outputs, cell, this.network.temperature);
        const size = data.layer.shape[2], shown = this.isPlaying ? cell.row * size + cell.column + 1 : Infinity;
        this.card.show(data, outputs, palette, shown);
        const stage = Math.min(cell.stage, this.network.layers.length), field = this.network.fields(stage, cell.row, cell.column)[0];
        find("cell-title").textContent = titleCell(columns, cell, this.model.classes);
        const text = speakCell(data, columns, this.model.classes, field, this.network.input);
        find("cell-text").textContent = text;
        find("run-cell").hidden = data.layer.shape[1] * data.layer.shape[2] === 1;
        find("run-cell").textContent = this.isPlaying ? say("Stop") : say("Step by step");
        find("fixed").textContent = this.isFixed ? say("Fixed; Escape, or a click on it, lets go") : "";
        const ink = find("on-sheet").checked && this.why.planes === this.planes ? this.why.parts : null;
        this.overlay.paint(this.answer?.probabilities ? this.planes[0] : null, field, ink, this.network.input[2], palette);
        clearTimeout(this.speakLater);
        const isAsked = document.activeElement === find("columns") && !this.isPlaying;
        if (isAsked) this.speakLater = setTimeout(() => { find("live").textContent = `${find("cell-title").textContent}: ${text}`; }, SPEAK_AFTER);
    }

    // Return the first cell to explain: the strongest one of the wanted kind of layer.
    #find([first, ...others]) {
        const { stages } = this.columns, kinds = [first, ...others];
        let stage = stages.findIndex(({ kind }) => kinds.includes(kind));
        if (first === "inside") stage = stages.findLastIndex(({ kind, shape }) => kind === "conv" && shape[1] * shape[2] > 1);
        const values = this.outputs?.[stage];
        if (!values) return null;
        const best = values.indexOf(Math.max(...values)), [, height, width] = stages[stage].shape;
        const map = Math.floor(best / (height * width)), place = best % (height * width);
        return { stage, map, row: Math.floor(place / width), column: place % width };
    }

    // Explain a cell; unless `isFixed`, only while none is fixed.
    #point(cell, isFixed) {
        if (!this.outputs || (!isFixed && (this.isFixed || this.isPlaying))) return;
        this.#stop();
        const isSame = JSON.stringify(cell) === JSON.stringify(this.cell);
        if (isFixed) this.isFixed = !(this.isFixed && isSame);
        else if (isSame) return;
        this.cell = cell;
        this.isChosen = true;
        this.#paintSoon();
    }

    // Scroll the canvas sideways to the explained cell.
    #reveal() {
        const box = find("columns-frame"), { left, width } = this.columns.columns[this.cell.stage];
        if (left < box.scrollLeft + 60) box.scrollLeft = left - 60;
        else if (left + width > box.scrollLeft + box.clientWidth - 40) box.scrollLeft = left + width + 40 - box.clientWidth;
    }

    #paintSoon() {
        this.frame ??= requestAnimationFrame(() => {
            this.frame = null;
            this.#paintCell();
        });
    }

    #listen() {
        const canvas = find("columns");
        const point = ({ offsetX, offsetY }, isFixed) => {
            const cell = this.columns.cellAt(offsetX, offsetY);
            if (cell) this.#point(cell, isFixed);
        };
        canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && point(event, false));
        canvas.addEventListener("click", (event) => point(event, true));
        canvas.addEventListener("keydown", (event) => this.#press(event));
        find("run-cell").onclick = () => (this.isPlaying ? this.#stop(true) : this.#start());
        find("on-sheet").onchange = () => this.#paintSoon();
        addEventListener("hashchange", () => this.#open());
        addEventListener("resize", () => this.view !== "answer" && this.paint());
    }

    #press(event) {
        if (event.ctrlKey || event.metaKey || event.altKey || !this.cell) return;
        if (ARROWS[event.key]) this.#move(...ARROWS[event.key], event.shiftKey);
        else if (event.key === "Enter" || event.key === " ") this.#point(this.cell, true);
        else if (event.key === "Escape") this.#leave();
        else return;
        event.preventDefault();
    }

    #leave() {
        this.#stop(true);
        if (!this.isFixed) find("columns").blur();
        this.isFixed = false;
        this.#paintSoon();
    }

    // Move in the map; with Shift to another map or layer, as from a vector in any case.
    #move(down, right, isFar) {
        const { stages } = this.columns, { stage, map, row, column } = this.cell, [maps, height, width] = stages[stage].shape;
        const within = (value, count) => Math.min(count - 1, Math.max(0, value));
        const isVector = height * width === 1;
        this.#stop();
        this.isChosen = true;
        if (!isFar && !isVector) {
            this.cell = { stage, map, row: within(row + down, height), column: within(column + right, width) };
        } else if (down) {
            this.cell = { stage, map: within(map + down, maps), row, column };
        } else {
            const next = within(stage + right, stages.length), shape = stages[next].shape;
            const scaled = (value, count, others) => within(Math.floor(((value + 0.5) * others) / count), others);
            this.cell = { stage: next, map: scaled(map, maps, shape[0]), row: scaled(row, height, shape[1]), column: scaled(column, width, shape[2]) };
            this.#reveal();
        }
        this.#paintSoon();
    }

    // Visit every cell of the map, row by row.
    #start() {
        Object.assign(this.cell, { row: 0, column: 0 });
        this.isPlaying = this.isChosen = true;
        this.isFixed = false;
        this.#paintCell();
        this.timer = setInterval(() => {
            const { stage, map, row, column } = this.cell, [, height, width] = this.columns.stages[stage].shape;
            const next = row * width + column + 1;
            if (next >= height * width) return this.#stop(true);
            this.cell = { stage, map, row: Math.floor(next / width), column: next % width };
            this.#paintCell();
        }, this.columns.stages[this.cell.stage].shape[1] ** 2 > MANY ? QUICK_STEP : STEP);
    }

    #stop(isPainted = false) {
        clearInterval(this.timer);
        this.isPlaying = false;
        if (isPainted) this.#paintSoon();
    }

    // Open the view that the address names.
    #open() {
        const name = location.hash.slice(1) in LINKS ? location.hash.slice(1) : "answer";
        [this.view, ...this.wanted] = LINKS[name];
        document.documentElement.dataset.view = this.view;
        for (const link of find("views").children) {
            if (link.getAttribute("href") === `#${this.view}`) link.setAttribute("aria-current", "page");
            else link.removeAttribute("aria-current");
        }
        this.#stop();
        this.play.stop();
        this.cell = null;
        this.isChosen = false;
        this.isFixed = false;
        this.drawing.paint();
        if (this.view === "answer") return this.overlay.paint(null);
        if (this.drawing.isPage) find("many").click(); // one digit is explained
        this.#prepare();
        this.#compute();
        if (this.cell) this.#reveal();
        if (name === "why") find("why-card").scrollIntoView({ block: "nearest" });
        else if (this.wanted.length && name !== "network") find("cell-card").scrollIntoView({ block: "nearest" });
        else scrollTo(0, 0);
    }

    // Load the training digits when they are first needed, and take one as the example.
    async #prepare() {
        if (!this.nearest || this.isPrepared) return;
        this.isPrepared = true;
        await this.nearest.load("explainer/digits.png");
        this.example = this.nearest.waiting[3]?.planes; // a three
        this.#compute();
        const work = () => {
            const isMore = this.nearest.work();
            if (isMore) setTimeout(work, 4);
            if (!isMore || this.nearest.digits.length % 100 < 10) this.why.showNeighbours();
        };
        work();
    }
}
