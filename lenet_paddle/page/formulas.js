// How a value comes about, written out: a builder for each kind of layer.

import { css, largest } from "./colours.js";
import { POINTWISE } from "./network.js";
import { format, formatSmall, Grid, make } from "./parts.js";
import { say } from "./words.js";

const NAMES = { relu: "max(0, x)", tanh: "tanh x", sigmoid: "1 / (1 + e⁻ˣ)" };

// By kind of layer: build what stands between the maps; return a function that fills it in.
export const MAKERS = {
    input: makeInput, conv: makeConvolution, max: makePooling, average: makePooling,
    relu: makeCurve, tanh: makeCurve, sigmoid: makeCurve, norm: makeNorm, linear: makeLinear, softmax: makeShares,
};

function addLine(root, name = "formula") {
    const line = make("p", name);
    root.append(line);
    return line;
}

function makeInput(root) {
    const line = addLine(root), note = addLine(root, "note");
    return ({ pixel, value }) => {
        line.textContent = `(${pixel} − 127.5) / 127.5 = ${format(value)}`;
        note.textContent = say("A pixel of 0 (black) to 255 (white) becomes −1 to 1. So 0, with which a convolution pads, is grey.");
    };
}

function makeConvolution(root, { blocks, layer: { kernel } }) {
    const list = make("div", "blocks");
    const parts = blocks.map(() => {
        const block = make("div", "block"), row = make("div", "pair"), [title, result] = [make("b"), make("span", "result")];
        const [window, weights] = ["window", "kernel"].map((kind) => new Grid(...kernel, kind));
        row.append(window.element, make("i", "", "×"), weights.element);
        block.append(title, row, result);
        list.append(block);
        row.addEventListener("pointerover", ({ target }) => markProduct(target, window, weights, result));
        row.addEventListener("pointerleave", () => markProduct(null, window, weights, result));
        return { title, window, weights, result };
    });
    root.append(list);
    const line = addLine(root), note = addLine(root, "note");
    return (data, { scale, greys }) => {
        const isInput = data.cell.stage === 1, most = largest(data.blocks.flatMap(({ weights }) => weights));
        const brightest = isInput ? 1 : largest(data.blocks.flatMap(({ values }) => values));
        data.blocks.forEach((block, k) => {
            const { title, window, weights, result } = parts[k];
            title.textContent = isInput && data.layer.before[0] === 1 ? say("window × kernel") : say("map {0}: window × kernel", block.map + 1);
            window.show(block.values, brightest, isInput ? greys : scale, { isOutside: block.isOutside });
            weights.show(block.weights, most, scale);
            result.textContent = result.dataset.sum = `= ${format(block.sum)}`;
        });
        const sums = data.blocks.map(({ sum }) => format(sum));
        if (data.others) sums.push(say("{0} (the other {1} maps)", format(data.rest), data.others));
        line.textContent = `${joinTerms(sums)} ${signed(data.bias)} ${say("(bias)")} = ${format(data.value)}`;
        const padded = data.blocks[0].isOutside.some(Boolean);
        note.textContent = padded ? say("Hatched cells lie outside the map: the padding, 0.") : "";
    };
}

function joinTerms(terms) {
    return terms.map((term, k) => (k && !term.startsWith("−") ? `+ ${term}` : term.replace(/^−/, k ? "− " : "−"))).join(" ");
}

function signed(value) {
    return `${value < 0 ? "−" : "+"} ${format(Math.abs(value))}`;
}

// Point at a number: mark its partner and show their product.
function markProduct(target, window, weights, result) {
    const k = Math.max(window.cells.indexOf(target), weights.cells.indexOf(target));
    for (const { cells } of [window, weights]) cells.forEach((cell, i) => cell.classList.toggle("marked", i === k));
    const [a, b] = [window, weights].map(({ cells }) => cells[k]?.textContent);
    result.textContent = k < 0 ? result.dataset.sum : `${a} × ${b} …`;
}

function makePooling(root, { layer: { kernel } }) {
    const grid = new Grid(...kernel, "window");
    root.append(grid.element);
    const line = addLine(root);
    return ({ kind, values, winner, value }, { scale }) => {
        grid.show(values, largest(values), scale, { marked: winner });
        const terms = values.map((each) => format(each, 2)), count = values.length;
        if (kind === "max") {
            const [row, column] = [Math.floor(winner / kernel[1]) + 1, (winner % kernel[1]) + 1];
            line.textContent = say("The largest of the {0} wins: {1}, in row {2}, column {3} of the window.", count, format(value), row, column);
        } else if (count <= 9) {
            line.textContent = `(${joinTerms(terms)}) / ${count} = ${format(value)}`;
        } else {
            line.textContent = say("The mean of {0} values: {1}", count, format(value));
        }
    };
}

function makeCurve(root, { kind }) {
    const canvas = make("canvas", "curve"), line = addLine(root);
    root.prepend(canvas);
    [canvas.width, canvas.height] = [440, 260];
    return ({ before, value }, palette) => {
        paintCurve(canvas, POINTWISE[kind][0], before, value, palette);
        line.textContent = say("before {0}, after {1}", format(before), format(value));
        line.textContent += `   ·   ${NAMES[kind]}`;
    };
}

function paintCurve(canvas, curve, x, y, palette) {
    const context = canvas.getContext("2d"), { width, height } = canvas;
    const reach = Math.max(2, Math.abs(x) * 1.25), least = Math.min(curve(-reach), 0), most = Math.max(curve(reach), 1);
    const atX = (value) => ((value + reach) / (2 * reach)) * width;
    const atY = (value) => height - 24 - ((value - least) / (most - least)) * (height - 48);
    const line = (colour, thick, points) => {
        [context.strokeStyle, context.lineWidth] = [css(colour), thick];
        context.beginPath();
        for (const [a, b] of points) context.lineTo(atX(a), atY(b));
        context.stroke();
    };
    context.clearRect(0, 0, width, height);
    line(palette.line, 2, [[-reach, 0], [reach, 0]]);
    line(palette.line, 2, [[0, least], [0, most]]);
    line(palette.plus, 5, Array.from({ length: 101 }, (_, k) => [(k / 50 - 1) * reach, curve((k / 50 - 1) * reach)]));
    context.setLineDash([8, 8]);
    line(palette.mark, 2.5, [[x, 0], [x, y], [0, y]]);
    context.setLineDash([]);
    context.fillStyle = css(palette.mark);
    context.beginPath();
    context.arc(atX(x), atY(y), 10, 0, 7);
    context.fill();
}

function makeNorm(root) {
    const line = addLine(root), note = addLine(root, "note");
    return ({ before, scale, shift, value }) => {
        line.textContent = `${format(before)} × ${format(scale)} ${signed(shift)} = ${format(value)}`;
        note.textContent = say("Batch normalisation: the same factor and summand for the whole map, from the mean and the spread of the training images.");
    };
}

function makeLinear(root, { parts }) {
    const list = make("ul", "parts");
    const rows = parts.map(() => {
        const row = make("li"), [name, sum, bar] = ["name", "product", "bar"].map((kind) => make("span", kind));
        bar.append(make("i"));
        row.append(name, sum, bar);
        list.append(row);
        return { name, sum, bar: bar.firstChild };
    });
    root.append(list);
    const line = addLine(root), note = addLine(root, "note");
    return (data, { plus, minus }) => {
        const most = largest(data.parts.map(({ product }) => product));
        data.parts.forEach(({ k, x, w, product, map, row, column }, i) => {
            rows[i].name.textContent = data.isFlat ? say("map {0}, row {1}, column {2}", map + 1, row + 1, column + 1) : say("unit {0}", k + 1);
            rows[i].sum.textContent = `${format(x, 3)} × ${format(w, 3)} = ${format(product, 3)}`;
            showBar(rows[i].bar, product / (most || 1), product < 0 ? minus : plus);
        });
        const total = data.parts.reduce((sum, { product }) => sum + product, 0);
        line.textContent = `${format(total)} ${signed(data.rest)} ${say("(the other {0} inputs)", data.others)} ${signed(data.bias)} ${say("(bias)")} = ${format(data.value)}`;
        const [maps, height, width] = data.layer.before;
        note.textContent = !data.isFlat ? ""
            : say("Flattened: {0} maps × {1} × {2} = {3} inputs, each with a weight of its own.", maps, height, width, maps * height * width);
    };
}

// A bar from the middle: to the right above 0, to the left below.
function showBar(bar, share, colour) {
    bar.style.width = `${50 * Math.abs(share)}%`;
    bar.style.marginLeft = `${share < 0 ? 50 - 50 * Math.abs(share) : 50}%`;
    bar.style.backgroundColor = css(colour);
}

function makeShares(root, _, { classes }) {
    const table = make("table"), head = make("tr"), body = make("tbody");
    const titles = Array.from({ length: 4 }, () => make("th"));
    head.append(...titles);
    table.append(make("thead"), body);
    table.firstChild.append(head);
    root.append(table);
    const line = addLine(root), note = addLine(root, "note");
    return ({ rows, most, total, cell, value, temperature }) => {
        ["class", "logit", "e^(logit − largest)", "share"].forEach((text, k) => { titles[k].textContent = say(text); });
        const ranked = rows.map((_row, k) => k).sort((a, b) => rows[b].share - rows[a].share).slice(0, 12);
        body.replaceChildren(...ranked.map((k) => {
            const row = make("tr", k === cell.map ? "own" : ""), { logit, power, share } = rows[k];
            const texts = [classes[k], format(logit), formatSmall(power), formatSmall(share)];
            row.append(...texts.map((text) => make("td", "", text)));
            row.dataset.k = k;
            return row;
        }));
        line.textContent = `${formatSmall(rows[cell.map].power)} / ${format(total)} = ${formatSmall(value)}`;
        const scaled = say("The logits are divided by the temperature {0}, by which the probabilities were calibrated.", temperature);
        note.textContent = temperature === 1 ? "" : `${scaled} `;
        note.textContent += say("e to the power of each logit, less the largest ({0}) so that no power is too large; divided by the sum of all.", format(most));
    };
}
