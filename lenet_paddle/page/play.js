// A convolution played step by step: input N x N, kernel F x F, padding P, stride S.

import { format, make } from "./parts.js";
import { colourOf, css, isLight, largest } from "./colours.js";
import { say } from "./words.js";

const EXAMPLE = ["11100", "01110", "00111", "00110", "01100"];
const STEP_MS = 450, QUICK_MS = 60; // of a step; with many steps
const SIDE = 272; // CSS pixels of the input with its padding
const MOST = { N: 36, F: 7, P: 3, S: 4 }, LEAST = { N: 3, F: 1, P: 0, S: 1 };
const KERNELS = {
    cross: (y, x) => (y + x + 1) % 2,
    vertical: (y, x, F) => Math.sign(x - (F - 1) / 2),
    horizontal: (y, x, F) => Math.sign((F - 1) / 2 - y),
    mean: (y, x, F) => 1 / F ** 2,
};

// Return how many windows fit: {size, exact, isWhole}; size 0 if the kernel is larger than the input.
export function outputSize(N, F, P, S) {
    const exact = (N - F + 2 * P) / S + 1;
    return { size: N + 2 * P < F ? 0 : Math.floor(exact), exact, isWhole: Number.isInteger(exact) };
}

// Return the values of one setting for which the window fits, nearest first: {N: [..], S: [..], P: [..]}.
export function fitting(settings) {
    const fits = {};
    for (const name of ["N", "P", "S"]) {
        const values = [];
        for (let value = LEAST[name]; value <= MOST[name]; value++) {
            const { N, F, P, S } = { ...settings, [name]: value };
            const { size, isWhole } = outputSize(N, F, P, S);
            if (size > 0 && isWhole) values.push(value);
        }
        const near = (value) => Math.abs(value - settings[name]);
        fits[name] = values.sort((a, b) => near(a) - near(b) || a - b).slice(0, 2).sort((a, b) => a - b);
    }
    return fits;
}

export class Play {
    // network: for its first kernels; picture(): what it sees, {width, data: 0 to 255}, or null.
    constructor(root, network, picture) {
        Object.assign(this, { root, picture, settings: { N: 5, F: 3, P: 0, S: 1 }, step: 0, timer: 0 });
        const first = network.layers.find(({ kind }) => kind === "conv");
        this.first = first?.before[0] === 1 && first.kernel[0] === first.kernel[1] ? first : null;
        this.find = (name) => root.querySelector(name);
        this.#listen();
        this.#useKernel("cross");
    }

    // Paint everything in the current theme and language.
    show(palette = this.palette) {
        if (!palette) return;
        this.palette = palette;
        const { N, F, P, S } = this.settings;
        this.size = outputSize(N, F, P, S).size;
        this.input = this.#makeInput();
        this.output = this.#convolve();
        for (const name of "NFPS") {
            this.find(`#${name}`).value = this.settings[name];
            this.find(`#${name}-value`).textContent = this.settings[name];
        }
        const last = Math.max(0, this.size ** 2 - 1);
        this.step = Math.min(this.step, last);
        this.find("#step").max = last;
        this.find("#step").value = this.step;
        this.find("#run").textContent = this.timer ? say("Stop") : say("Play");
        this.#nameKernels();
        this.#showSize();
        this.#paint();
    }

    stop() {
        clearTimeout(this.timer);
        this.timer = 0;
    }

    #listen() {
        for (const name of "NFPS") {
            const slider = this.find(`#${name}`);
            [slider.min, slider.max] = [LEAST[name], MOST[name]];
            slider.oninput = () => this.#set({ [name]: Number(slider.value) });
        }
        this.find("#source").onchange = ({ target }) => {
            if (target.value === "seen") this.#set({ N: this.picture()?.width ?? 28 });
            else this.#set({ N: 5 });
        };
        this.find("#kernel").onchange = ({ target }) => this.#useKernel(target.value);
        this.find("#step").oninput = ({ target }) => {
            this.stop();
            this.step = Number(target.value);
            this.show();
        };
        this.find("#run").onclick = () => {
            if (this.timer) this.stop();
            else {
                if (this.step >= this.size ** 2 - 1) this.step = 0;
                this.#run();
            }
            this.show();
        };
        this.find("#misfit").onclick = () => {
            this.find("#source").value = this.picture() ? "seen" : "example";
            this.#set({ N: 32, F: 5, P: 0, S: 2 });
        };
        this.find("#played").addEventListener("pointermove", (event) => this.#point(event));
        this.find("#played").addEventListener("pointerdown", (event) => this.#point(event));
    }

    #set(settings) {
        const before = this.settings.F;
        Object.assign(this.settings, settings);
        this.step = 0;
        this.stop();
        if (this.settings.F !== before) this.#useKernel(KERNELS[this.find("#kernel").value] ? this.find("#kernel").value : "cross");
        this.show();
    }

    #run() {
        this.timer = setTimeout(() => {
            if (this.step >= this.size ** 2 - 1) this.stop();
            else {
                this.step++;
                this.#run();
            }
            this.show();
        }, this.size > 6 ? QUICK_MS : STEP_MS);
    }

    // Fill the kernel: one of KERNELS, or "0", "1" ... for those of the network's first convolution.
    #useKernel(name) {
        if (!KERNELS[name]) {
            const { kernel: [F], weight, padding, stride } = this.first;
            Object.assign(this.settings, { F, P: padding[0], S: stride[0] });
            const start = Number(name) * F * F;
            this.kernel = Array.from(weight.subarray(start, start + F * F), (w) => Math.round(w * 100) / 100);
        } else {
            const { F } = this.settings;
            this.kernel = Array.from({ length: F * F }, (_, k) => Math.round(100 * KERNELS[name](Math.floor(k / F), k % F, F)) / 100);
        }
        this.#nameKernels();
        this.find("#kernel").value = name;
        this.find("#weights").style.setProperty("--columns", this.settings.F);
        this.find("#weights").classList.toggle("small", this.settings.F > 4);
        this.find("#weights").replaceChildren(...this.kernel.map((value, k) => {
            const field = make("input");
            [field.type, field.step, field.value] = ["number", "0.1", value];
            field.oninput = () => {
                this.kernel[k] = Number(field.value) || 0;
                this.show();
            };
            return field;
        }));
        this.step = 0;
        this.show();
    }

    #nameKernels() {
        const select = this.find("#kernel"), { value } = select, names = {
            cross: say("Chequered"), vertical: say("Edge, left to right"), horizontal: say("Edge, bottom to top"), mean: say("Mean"),
        };
        for (let map = 0; this.first && map < this.first.shape[0]; map++) names[map] = say("Kernel {0} of the network", map + 1);
        const keys = Object.keys(KERNELS).concat(Object.keys(names).filter((key) => !KERNELS[key]));
        select.replaceChildren(...keys.map((key) => Object.assign(make("option", "", names[key]), { value: key })));
        select.value = value || "cross";
        [...this.find("#weights").children].forEach((field, k) => {
            const F = this.settings.F, at = [Math.floor(k / F) + 1, (k % F) + 1];
            field.setAttribute("aria-label", say("Kernel, row {0}, column {1}", ...at));
        });
    }

    // Return the input with its padding, row by row.
    #makeInput() {
        const { N, P } = this.settings, wide = N + 2 * P, values = new Float64Array(wide * wide);
        const seen = this.find("#source").value === "seen" ? this.picture() : null;
        for (let y = 0; y < N; y++) {
            for (let x = 0; x < N; x++) values[(y + P) * wide + x + P] = seen ? pixelOf(seen, y, x, N) : Number(EXAMPLE[y % 5][x % 5]);
        }
        return values;
    }

    #convolve() {
        const { N, F, P, S } = this.settings, wide = N + 2 * P;
        return Float64Array.from({ length: this.size ** 2 }, (_, k) => {
            const top = Math.floor(k / this.size) * S, left = (k % this.size) * S;
            return this.kernel.reduce((sum, w, i) => sum + w * this.input[(top + Math.floor(i / F)) * wide + left + (i % F)], 0);
        });
    }

    #showSize() {
        const { N, F, P, S } = this.settings, { size, exact, isWhole } = outputSize(N, F, P, S), wide = N + 2 * P;
        this.find("#size").textContent = `(N − F + 2P) / S + 1 = (${N} − ${F} + ${2 * P}) / ${S} + 1 = ${size || !isWhole ? Number(exact.toFixed(2)) : exact}`;
        const note = this.find("#fit");
        note.classList.toggle("wrong", !isWhole || !size);
        if (!size) {
            note.textContent = say("The kernel is larger than the padded input: there is no place for it.");
        } else if (isWhole) {
            note.textContent = say("It fits: {0} × {0} places, so the output is {0} × {0}.", size);
        } else {
            const start = size * S + 1, left = wide - ((size - 1) * S + F), fits = fitting(this.settings);
            note.textContent = [
                say("It does not fit. Window {0} would begin in column {1} and end in column {2}, but there are only {3}.", size + 1, start, start + F - 1, wide),
                left === 1 ? say("Libraries round down to {0} and never look at the last row and column.", size)
                    : say("Libraries round down to {0} and never look at the last {1} rows and columns.", size, left),
                say("It fits with {0}.", ["N", "P", "S"].filter((name) => fits[name].length)
                    .map((name) => `${name} = ${fits[name].join(", ")}`).join("; ")),
            ].join(" ");
        }
    }

    #point({ offsetX, offsetY, buttons, pointerType }) {
        if (this.timer || (pointerType === "touch" && !buttons)) return;
        const side = this.find("#played").clientWidth, { size } = this;
        const at = (place) => Math.min(size - 1, Math.max(0, Math.floor((place / side) * size)));
        this.step = at(offsetY) * size + at(offsetX);
        this.show();
    }

    #paint() {
        const { N, F, P, S } = this.settings, wide = N + 2 * P, row = Math.floor(this.step / this.size), column = this.step % this.size;
        const most = largest(this.input) || 1, isSeen = this.find("#source").value === "seen", { greys, scale } = this.palette;
        this.#paintCells(this.find("#padded"), this.input, wide, most, isSeen ? greys : scale, {
            isPadding: (y, x) => y < P || x < P || y >= N + P || x >= N + P,
            frame: this.size ? [row * S, column * S, F] : null,
            isUnseen: (y, x) => this.size && Math.max(y, x) >= (this.size - 1) * S + F,
        });
        this.#paintCells(this.find("#played"), this.output, this.size || 1, largest(this.output) || 1, scale, {
            shown: this.step + 1, frame: this.size ? [row, column, 1] : null,
        });
        this.find("#sum").textContent = this.size ? this.#sumOf(row, column) : "";
        const place = this.find("#place");
        place.textContent = this.size ? say("Step {0} of {1}: row {2}, column {3}", this.step + 1, this.size ** 2, row + 1, column + 1) : "";
        this.find("#step").setAttribute("aria-valuetext", `${place.textContent}: ${this.find("#sum").textContent}`);
    }

    #sumOf(row, column) {
        const { N, F, P, S } = this.settings, wide = N + 2 * P, digits = this.kernel.every(Number.isInteger) && this.input.every(Number.isInteger) ? 0 : 2;
        const terms = this.kernel.map((w, k) => [this.input[(row * S + Math.floor(k / F)) * wide + column * S + (k % F)], w]);
        const bracket = (value) => (value < 0 ? `(${format(value, digits)})` : format(value, digits));
        const shown = terms.slice(0, 9).map(([x, w]) => `${bracket(x)} × ${bracket(w)}`).join(" + ");
        return `${shown}${terms.length > 9 ? " + …" : ""} = ${format(this.output[this.step], digits)}`;
    }

    #paintCells(canvas, values, count, most, scale, { isPadding, isUnseen, frame, shown = Infinity }) {
        const side = SIDE * devicePixelRatio, cell = side / count;
        if (canvas.width !== side) canvas.width = canvas.height = side;
        const context = canvas.getContext("2d"), digits = values.every(Number.isInteger) ? 0 : cell / devicePixelRatio < 34 ? 1 : 2;
        context.clearRect(0, 0, side, side);
        [context.textAlign, context.textBaseline] = ["center", "middle"];
        context.font = `${Math.min(18 * devicePixelRatio, cell * (digits ? 0.3 : 0.42))}px system-ui, sans-serif`;
        values.forEach((value, k) => {
            const y = Math.floor(k / count), x = k % count, colour = k < shown ? colourOf(scale, value / most) : this.palette.zero;
            context.fillStyle = css(colour);
            context.fillRect(x * cell, y * cell, cell + 0.5, cell + 0.5);
            if (isPadding?.(y, x)) this.#hatch(context, x * cell, y * cell, cell);
            if (isUnseen?.(y, x)) {
                context.fillStyle = css(this.palette.minus, 0.55);
                context.fillRect(x * cell, y * cell, cell, cell);
            }
            if (cell < 20 * devicePixelRatio || k >= shown) return;
            context.fillStyle = isLight(colour) ? "#14161b" : "#ffffff";
            context.fillText(format(value, digits), (x + 0.5) * cell, (y + 0.54) * cell);
        });
        if (cell > 6 * devicePixelRatio) {
            [context.strokeStyle, context.lineWidth] = [css(this.palette.line), 1];
            for (let k = 0; k <= count; k++) {
                context.strokeRect(k * cell, -1, 0, side + 2);
                context.strokeRect(-1, k * cell, side + 2, 0);
            }
        }
        if (!frame) return;
        const [top, left, size] = frame, thick = 3 * devicePixelRatio;
        [context.strokeStyle, context.lineWidth] = [css(this.palette.mark), thick];
        context.strokeRect(left * cell + thick / 2, top * cell + thick / 2, size * cell - thick, size * cell - thick);
    }

    #hatch(context, left, top, cell) {
        [context.strokeStyle, context.lineWidth] = [css(this.palette.muted, 0.5), 1];
        context.beginPath();
        for (const share of [0.5, 1, 1.5]) {
            context.moveTo(left + Math.max(0, share - 1) * cell, top + Math.min(1, share) * cell);
            context.lineTo(left + Math.min(1, share) * cell, top + Math.max(0, share - 1) * cell);
        }
        context.stroke();
    }
}

// A pixel of what the network sees, -1 to 1, of N x N: centred in a larger one, else averaged.
function pixelOf({ width, data }, y, x, N) {
    if (N >= width) {
        const start = (N - width) >> 1, [v, u] = [y - start, x - start];
        return v < 0 || u < 0 || v >= width || u >= width ? -1 : data[v * width + u] / 127.5 - 1;
    }
    const from = (k) => Math.floor((k * width) / N);
    let sum = 0, count = 0;
    for (let v = from(y); v < from(y + 1); v++) {
        for (let u = from(x); u < from(x + 1); u++, count++) sum += data[v * width + u];
    }
    return sum / count / 127.5 - 1;
}
