// The explained cell in words: the card's title, and a sentence that screen readers read, too.

import { format, formatSmall } from "./parts.js";
import { say } from "./words.js";

export function titleCell(columns, { stage, map, row, column }, classes) {
    const { shape, kind } = columns.stages[stage], name = columns.title(stage);
    if (kind === "softmax") return `${name} · ${classes[map]}`;
    if (shape[1] * shape[2] === 1) {
        const isLogit = stage === columns.stages.length - 2;
        return isLogit ? say("{0} · logit of {1}", name, classes[map]) : say("{0} · unit {1} of {2}", name, map + 1, shape[0]);
    }
    const place = say("row {0}, column {1}", row + 1, column + 1);
    return kind === "input" && shape[0] === 1 ? `${name} · ${place}` : say("{0} · map {1} of {2} · {3}", name, map + 1, shape[0], place);
}

// field: what the cell sees of the input, [top, left, bottom, right], of input [C, S, S].
export function speakCell(data, columns, classes, [top, left, bottom, right], [, height, width]) {
    const inside = (from, to, size) => Math.min(size, to + 1) - Math.max(0, from);
    const seen = [inside(top, bottom, height), inside(left, right, width)];
    const isAll = seen[0] >= height && seen[1] >= width;
    const field = data.kind === "input" ? "" : isAll ? say("It sees the whole input.")
        : say("It sees {0} × {1} pixels of the input, framed in the drawing.", ...seen);
    return `${explain(data, classes)} ${field}`.trim();
}

function explain(data, classes) {
    const { kind, value, before } = data, number = format(value);
    if (kind === "input") return say("The pixel has the value {0}.", number);
    if (kind === "conv") {
        const total = data.blocks.reduce((sum, block) => sum + block.sum, data.rest);
        const count = data.blocks.length + data.others, rest = [format(total), format(data.bias), number];
        if (count === 1) return say("Window times kernel, summed up: {0}. With the bias {1} it is {2}.", ...rest);
        return say("Window times kernel, summed over {0} maps: {1}. With the bias {2} it is {3}.", count, ...rest);
    }
    if (kind === "max") return say("The largest value of the window stays: {0}. The others are dropped.", number);
    if (kind === "average") return say("The mean of the window: {0}.", number);
    if (kind === "relu") {
        return before > 0 ? say("{0} is above 0 and passes unchanged.", format(before)) : say("{0} is not above 0 and becomes 0.", format(before));
    }
    if (kind === "linear") return say("{0} inputs, each times its weight, and the bias {1}: {2}.", data.parts.length + data.others, format(data.bias), number);
    if (kind === "softmax") return say("{0} gets the share {1} of all.", classes[data.cell.map], formatSmall(value));
    return say("{0} becomes {1}.", format(before), number);
}
