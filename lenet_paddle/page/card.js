// The card that explains one cell: the maps, and how its value comes about, with the numbers.

import { css, largest, paintValues } from "./colours.js";
import { MAKERS } from "./formulas.js";
import { make } from "./parts.js";
import { say } from "./words.js";

const SIDE = 208; // CSS pixels of an enlarged map

export class Card {
    // root: where it is shown; choose({row, column}): called when the reader points into a map.
    constructor(root, classes, choose) {
        Object.assign(this, { root, classes, choose });
        this.before = this.#addMap("before", ({ row, column }, { kernel, stride, padding, shape }) => {
            const at = (place, axis) => {
                const first = kernel ? (place + padding[axis] - (kernel[axis] - 1) / 2) / stride[axis] : place;
                return Math.min(shape[axis + 1] - 1, Math.max(0, Math.round(first)));
            };
            return { row: at(row, 0), column: at(column, 1) };
        });
        this.sum = make("div", "sum");
        this.after = this.#addMap("after", (place) => place);
        root.replaceChildren(this.before.figure, this.sum, this.after.figure);
    }

    // data: of describeCell; outputs: of every stage; shown: how many cells of the map are played.
    show(data, outputs, palette, shown = Infinity) {
        this.data = data;
        const { kind, cell, layer } = data, key = JSON.stringify([kind, layer.kernel, data.blocks?.length, data.parts?.length]);
        if (key !== this.key) {
            this.key = key;
            this.root.dataset.kind = kind;
            this.sum.replaceChildren();
            this.update = MAKERS[kind](this.sum, data, this);
        }
        this.update(data, palette);
        const hasMaps = layer.shape[1] * layer.shape[2] > 1 && kind !== "softmax";
        this.after.figure.hidden = !hasMaps;
        const from = layer.before, hasBefore = Boolean(from) && hasMaps;
        this.before.figure.hidden = !hasBefore;
        if (hasMaps) this.#paintMap(this.after, outputs[cell.stage], layer.shape, cell.map, kind === "input",
            [cell.row, cell.column, cell.row, cell.column], palette, shown);
        if (!hasBefore) return;
        const map = data.blocks ? strongestOf(data.blocks).map : cell.map, isInput = cell.stage === 1;
        const y = layer.kernel ? cell.row * layer.stride[0] - layer.padding[0] : cell.row;
        const x = layer.kernel ? cell.column * layer.stride[1] - layer.padding[1] : cell.column;
        const [tall, wide] = layer.kernel ?? [1, 1];
        this.#paintMap(this.before, outputs[cell.stage - 1], from, map, isInput, [y, x, y + tall - 1, x + wide - 1], palette);
    }

    #addMap(name, toCell) {
        const figure = make("figure", `map ${name}`), canvas = make("canvas"), caption = make("figcaption");
        figure.append(canvas, caption);
        const point = ({ offsetX, offsetY }, isFixed) => {
            const { layer, cell } = this.data, shape = name === "before" ? layer.before : layer.shape;
            const place = (at, count) => Math.min(count - 1, Math.max(0, Math.floor((at / canvas.clientWidth) * count)));
            const found = toCell({ row: place(offsetY, shape[1]), column: place(offsetX, shape[2]) }, layer);
            this.choose({ ...cell, ...found }, isFixed);
        };
        canvas.addEventListener("pointermove", (event) => point(event, false));
        canvas.addEventListener("click", (event) => point(event, true));
        return { figure, canvas, caption, atlas: new OffscreenCanvas(1, 1) };
    }

    #paintMap({ canvas, caption, atlas }, values, [, height, width], map, isInput, frame, palette, shown = Infinity) {
        const side = SIDE * devicePixelRatio, size = height * width;
        if (canvas.width !== side) canvas.width = canvas.height = side;
        const own = values.subarray(map * size, (map + 1) * size);
        paintValues(atlas, own, width, isInput ? 1 : largest(values), isInput ? palette.greys : palette.scale);
        const context = canvas.getContext("2d"), tall = side / height, wide = side / width;
        context.imageSmoothingEnabled = false;
        context.drawImage(atlas, 0, 0, side, side);
        if (shown < size) {
            const rows = Math.floor(shown / width), rest = shown % width;
            context.fillStyle = css(palette.zero);
            context.fillRect(rest * wide, rows * tall, side, tall);
            context.fillRect(0, (rows + 1) * tall, side, side);
        }
        const [top, left, bottom, right] = frame;
        context.strokeStyle = css(palette.mark);
        context.lineWidth = 2.5 * devicePixelRatio;
        context.strokeRect(left * wide, top * tall, (right - left + 1) * wide, (bottom - top + 1) * tall);
        caption.textContent = isInput ? say("Input, {0} × {1}", height, width)
            : say("map {0}, {1} × {2}", map + 1, height, width);
    }
}

function strongestOf(blocks) {
    return blocks.reduce((a, b) => (Math.abs(b.sum) > Math.abs(a.sum) ? b : a));
}
