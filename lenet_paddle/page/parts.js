// Parts of the explainer's cards: elements, numbers as text, grids of numbers.

import { colourOf, css, isLight } from "./colours.js";

export function make(tag, name = "", text = "") {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text;
    return element;
}

// Return a number in `digits` decimals, with a true minus sign.
export function format(value, digits = 4) {
    const text = value.toFixed(digits);
    return Number(text) < 0 ? `−${text.slice(1)}` : text.replace("-", "");
}

// A number from 0 to 1 in four decimals, or below that as a power of ten.
export function formatSmall(value) {
    if (value >= 1e-4 || !value) return format(value);
    const [digits, power] = value.toExponential(1).split("e-");
    return `${digits} × 10⁻${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}

// A grid of numbers, each on the colour of its value.
export class Grid {
    constructor(rows, columns, kind) {
        this.element = make("div", `numbers ${kind}`);
        this.element.style.setProperty("--columns", columns);
        this.element.classList.toggle("small", columns > 4);
        this.cells = Array.from({ length: rows * columns }, () => make("span"));
        this.element.append(...this.cells);
    }

    // isOutside, marked: which cells lie in the padding, and which one is marked.
    show(values, most, scale, { isOutside = [], marked = -1, digits = 2 } = {}) {
        this.cells.forEach((cell, k) => {
            const colour = colourOf(scale, values[k] / (most || 1)), text = format(values[k], digits);
            if (cell.textContent !== text) cell.textContent = text;
            cell.style.backgroundColor = css(colour);
            cell.style.color = isLight(colour) ? "#14161b" : "#ffffff";
            cell.classList.toggle("outside", Boolean(isOutside[k]));
            cell.classList.toggle("marked", k === marked);
        });
    }
}
