// The whole network on a canvas: a column of maps for each layer, with lines to what feeds them.
//
// A stage is the input (0), a layer's output (1 ...), or, as the last one, the softmax. A cell is
// {stage, map, row, column}.

import { feeds } from "./cell.js";
import { css, largest, paintValues } from "./colours.js";
import { say } from "./words.js";

const HEAD = 40; // pixels above the maps, for the captions
const MOST_GAP = 90; // pixels between columns
// Size of the maps and least gap between columns, tried until all columns fit; else the canvas scrolls.
const FITS = [[1, 24], [0.9, 22], [0.8, 20], [0.7, 18], [0.6, 16], [0.5, 11]];
const PHONE = 700, ON_PHONE = [[0.8, 22]]; // narrower canvases scroll
const STRIP = [40, 13]; // width of a vector's column and of itself
const SHARES = 148; // width of the softmax
const MOST_LINES = 40; // to one unit of a linear layer

export class Columns {
    constructor(canvas, network, classes) {
        Object.assign(this, { canvas, network, classes });
        this.stages = [{ shape: network.input, kind: "input" }, ...network.layers];
        this.stages.push({ shape: [classes.length, 1, 1], kind: "softmax" });
        this.atlases = this.stages.map(() => new OffscreenCanvas(1, 1));
        this.ground = new OffscreenCanvas(1, 1);
        this.size = [0, 0];
    }

    // Return a stage's name and number in the page's language.
    title(stage) {
        const { kind } = this.stages[stage];
        const number = this.stages.slice(0, stage + 1).filter((other) => other.kind === kind).length;
        return nameOf(kind, number);
    }

    // Place the columns on a canvas of `width` CSS pixels or more, and paint what never changes.
    lay(width, height, palette) {
        const tall = height - HEAD;
        this.palette = palette;
        const gaps = this.stages.length - 1;
        let used, least;
        for (const [scale, space] of width < PHONE ? ON_PHONE : FITS) {
            least = space;
            this.columns = this.stages.map((stage) => makeColumn(stage, tall, scale));
            used = this.columns.reduce((sum, column) => sum + column.width, 0);
            if (used + gaps * least + 8 <= width) break;
        }
        const gap = Math.min(MOST_GAP, Math.max(least, (width - 8 - used) / gaps));
        const whole = Math.max(width, Math.ceil(used + gap * gaps + 8));
        let left = Math.max(4, (whole - used - gap * gaps) / 2);
        for (const column of this.columns) {
            column.left = left;
            column.tiles = column.tiles.map(([x, y, w, h]) => [left + x, HEAD + y, w, h]);
            left += column.width + gap;
        }
        this.gap = gap;
        const ratio = devicePixelRatio, { canvas, ground } = this;
        [canvas.width, canvas.height] = [ground.width, ground.height] = [whole * ratio, height * ratio];
        [canvas.style.width, canvas.style.height] = [`${whole}px`, `${height}px`];
        this.#paintGround(ratio);
    }

    // outputs: of every stage, or null without a drawing. cell: the one that is explained, or null.
    paint(outputs, cell) {
        const context = this.canvas.getContext("2d"), { palette } = this;
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, this.canvas.width, this.canvas.height);
        context.drawImage(this.ground, 0, 0);
        context.scale(devicePixelRatio, devicePixelRatio);
        context.imageSmoothingEnabled = false;
        const seen = cell && outputs ? this.#seen(cell) : null;
        if (seen) this.#paintFeed(context, outputs, cell);
        this.stages.forEach(({ kind, shape }, stage) => {
            const values = outputs?.[stage];
            if (kind === "softmax") return this.#paintShares(context, values, cell);
            const size = shape[1] * shape[2], atlas = this.atlases[stage];
            if (values) {
                const scale = kind === "input" ? palette.greys : palette.scale;
                paintValues(atlas, values, shape[2], kind === "input" ? 1 : largest(values), scale);
            }
            this.columns[stage].tiles.forEach(([x, y, w, h], map) => {
                const isSeen = seen?.[stage] && (seen[stage].map ?? map) === map;
                context.globalAlpha = isSeen || !seen?.[stage] ? 1 : 0.35;
                if (!values) {
                    context.fillStyle = css(palette.zero);
                    context.fillRect(x, y, w, h);
                } else {
                    context.drawImage(atlas, 0, map * shape[1], shape[2], shape[1], x, y, w, h);
                }
                if (size > 1 && kind !== "input") {
                    context.strokeStyle = css(palette.line);
                    context.lineWidth = 1;
                    context.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
                }
                context.globalAlpha = 1;
                if (isSeen) this.#paintFrame(context, stage, map, seen[stage].field, cell);
            });
        });
    }

    // Return the cell at a place of the canvas, in CSS pixels.
    cellAt(x, y) {
        for (const [stage, { tiles }] of this.columns.entries()) {
            const { shape } = this.stages[stage];
            for (const [map, [left, top, width, height]] of tiles.entries()) {
                if (x < left - 1 || x > left + width + 1 || y < top - 1 || y > top + height + 1) continue;
                const cell = (at, size, count) => Math.min(count - 1, Math.max(0, Math.floor((at / size) * count)));
                const row = cell(y - top, height, shape[1]), column = cell(x - left, width, shape[2]);
                return { stage, map, row, column };
            }
        }
        return null;
    }

    // What a cell sees of each stage before it: {map: one, or undefined for all, field}.
    #seen({ stage, map, row, column }) {
        const isLast = stage === this.stages.length - 1, layer = Math.min(stage, this.stages.length - 2);
        const fields = this.network.fields(layer, row, column), seen = Array(this.stages.length);
        let own = map;
        for (let k = layer; k >= 0; k--) {
            seen[k] = { map: isLast ? undefined : own, field: fields[k] };
            if (["conv", "linear"].includes(this.stages[k].kind)) own = undefined;
        }
        if (isLast) seen[stage] = { map, field: fields[layer] };
        return seen;
    }

    #paintFrame(context, stage, map, [top, left, bottom, right], cell) {
        const { shape } = this.stages[stage], [x, y, w, h] = this.columns[stage].tiles[map];
        const isOwn = stage === cell.stage && map === cell.map;
        const isAll = top <= 0 && left <= 0 && bottom >= shape[1] - 1 && right >= shape[2] - 1;
        if (isAll && !isOwn && stage > 0) return;
        const inside = (from, to, size, count) => {
            const low = Math.max(0, from), high = Math.min(count, to + 1);
            return [(low / count) * size, Math.max(3, ((high - low) / count) * size)];
        };
        const [dx, wide] = inside(left, right, w, shape[2]), [dy, tall] = inside(top, bottom, h, shape[1]);
        context.strokeStyle = css(this.palette.mark, 1);
        context.lineWidth = isOwn ? 2 : 1.5;
        context.strokeRect(x + dx - 0.5, y + dy - 0.5, wide + 1, tall + 1);
        if (isOwn && shape[1] * shape[2] > 1) context.strokeRect(x - 2, y - 2, w + 4, h + 4);
    }

    // Lines from what feeds a cell, in the colour of what each adds.
    #paintFeed(context, outputs, cell) {
        if (!cell.stage) return;
        const parts = feeds(this.stages[cell.stage], outputs[cell.stage - 1], cell), most = largest(parts.values());
        const strongest = [...parts].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, MOST_LINES);
        const to = this.columns[cell.stage].tiles[cell.map], { plus, minus } = this.palette;
        for (const [map, value] of strongest.reverse()) {
            const share = most ? Math.abs(value) / most : 0;
            context.strokeStyle = css(value < 0 ? minus : plus, 0.25 + 0.75 * share);
            context.lineWidth = 0.8 + 2.2 * share;
            context.stroke(curve(this.columns[cell.stage - 1].tiles[map], to));
        }
    }

    #paintShares(context, shares, cell) {
        const { palette, columns, classes } = this, best = shares ? shares.indexOf(Math.max(...shares)) : -1;
        const name = (text) => ([...text].length > 5 ? `${[...text].slice(0, 4).join("")}…` : text);
        context.textBaseline = "middle";
        columns.at(-1).tiles.forEach(([x, y, w, h], k) => {
            const thick = Math.min(12, h - 3), bar = w - 104;
            const isOwn = cell?.stage === this.stages.length - 1 && cell.map === k;
            context.font = `${k === best || isOwn ? 700 : 500} ${Math.min(13, h)}px system-ui, sans-serif`;
            context.fillStyle = css(k === best ? palette.plus : palette.text);
            context.fillText(name(classes[k]), x, y + h / 2);
            context.textAlign = "right";
            context.fillText(shares ? `${(100 * shares[k]).toFixed(1)}%` : "", x + w - 4, y + h / 2);
            context.textAlign = "left";
            context.fillStyle = css(palette.zero);
            context.fillRect(x + 36, y + (h - thick) / 2, bar, thick);
            context.fillStyle = css(palette.plus, k === best ? 1 : 0.55);
            context.fillRect(x + 36, y + (h - thick) / 2, bar * (shares?.[k] ?? 0), thick);
            if (!isOwn) return;
            context.strokeStyle = css(palette.mark);
            context.lineWidth = 2;
            context.strokeRect(x - 6, y, w + 6, h);
        });
    }

    // Captions and faint lines.
    #paintGround(ratio) {
        const context = this.ground.getContext("2d"), { palette, columns, stages } = this;
        context.scale(ratio, ratio);
        context.textAlign = "center";
        columns.forEach((column, stage) => {
            const middle = column.left + column.width / 2, { shape, kind } = stages[stage];
            context.fillStyle = css(palette.text);
            context.font = "600 11.5px system-ui, sans-serif";
            const room = column.width + this.gap - 4, fits = (text) => context.measureText(text).width <= room;
            context.fillText([shortName(kind), shorterName(kind)].find(fits) ?? shorterName(kind), middle, 13);
            context.fillStyle = css(palette.muted);
            context.font = "10.5px system-ui, sans-serif";
            const size = shape[1] * shape[2] === 1 ? String(shape[0]) : shape.join("×");
            if (!fits(size)) context.font = "9px system-ui, sans-serif";
            context.fillText(size, middle, 28);
        });
        context.lineWidth = 0.7;
        for (let stage = 1; stage < columns.length; stage++) {
            const before = columns[stage - 1].tiles, after = columns[stage].tiles, { kind } = stages[stage];
            const isFull = kind === "conv" || kind === "linear";
            const opacity = !isFull ? 0.9 : Math.min(0.6, 5 / Math.sqrt(before.length * after.length));
            context.strokeStyle = css(palette.line, opacity);
            const step = isFull ? Math.ceil(Math.sqrt((before.length * after.length) / 1500)) : 1;
            for (let k = 0; k < after.length; k += step) {
                const from = isFull ? before.filter((_, i) => i % step === 0) : [before[k]];
                for (const tile of from) context.stroke(curve(tile, after[k]));
            }
        }
    }
}

export function nameOf(kind, number) {
    const names = {
        input: "Input", conv: "Convolution {0}", relu: "ReLU {0}", tanh: "tanh {0}", sigmoid: "Sigmoid {0}",
        max: "Max pooling {0}", average: "Average pooling {0}", norm: "Batch norm {0}",
        linear: "Linear layer {0}", softmax: "Softmax",
    };
    return say(names[kind], number);
}

function shortName(kind) {
    const names = {
        conv: "Convolution", relu: "ReLU", tanh: "tanh", sigmoid: "Sigmoid", linear: "Linear",
        max: "Max pool", average: "Avg pool", norm: "Norm", input: "Input", softmax: "Softmax",
    };
    return say(names[kind]);
}

function shorterName(kind) {
    const names = { conv: "Conv", max: "Pool", average: "Pool", sigmoid: "Sigm", linear: "Lin" };
    return names[kind] ? say(names[kind]) : shortName(kind);
}

// Return a column's width and its tiles [x, y, width, height], in the middle of `tall` pixels.
function makeColumn({ shape: [maps, height, width], kind }, tall, scale) {
    const isStrip = height * width === 1;
    if (isStrip) {
        const step = Math.min(kind === "softmax" ? 34 : maps <= 24 ? 34 : 9, tall / maps);
        const [whole, wide] = kind === "softmax" ? [SHARES, SHARES] : [STRIP[0] * scale, STRIP[1]], gap = step > 8 ? 3 : step > 4 ? 1 : 0;
        const top = (tall - step * maps) / 2;
        const tiles = Array.from({ length: maps }, (_, k) => [(whole - wide) / 2, top + k * step, wide, step - gap]);
        return { width: whole, tiles };
    }
    const gap = maps > 20 ? 3 : 5, least = maps > 40 ? 16 : 22;
    const rows = Math.min(maps, Math.max(1, Math.floor(tall / (least + gap))));
    const across = Math.ceil(maps / rows), down = Math.ceil(maps / across);
    const side = Math.min((kind === "input" ? 92 : 58) * scale, tall / down - gap);
    const top = (tall - down * (side + gap)) / 2;
    const tiles = Array.from({ length: maps }, (_, k) => {
        return [Math.floor(k / down) * (side + gap), top + (k % down) * (side + gap), side, side];
    });
    return { width: across * (side + gap) - gap, tiles };
}

function curve([x0, y0, w0, h0], [x1, y1, , h1]) {
    const path = new Path2D(), from = x0 + w0 + 1, to = x1 - 1, middle = (from + to) / 2;
    path.moveTo(from, y0 + h0 / 2);
    path.bezierCurveTo(middle, y0 + h0 / 2, middle, y1 + h1 / 2, to, y1 + h1 / 2);
    return path;
}
