// Show the numbers found on a sheet: a line for each row, and what the boxes on the sheet say.

import { say } from "./words.js";
import { formatShare } from "./view.js";

const find = (id) => document.getElementById(id);

// Rows of numbers, from digits of {row, number, place} in reading order.
export function rowsOf(digits) {
    const rows = new Map();
    for (const { row, number, place } of digits) {
        if (place === 1) rows.set(row, [...(rows.get(row) ?? []), number]);
    }
    return [...rows.values()].map((numbers) => numbers.join(" "));
}

export class NumbersView {
    constructor(isReady) {
        this.isReady = isReady; // a function: whether there is a backend
        this.digits = null;
    }

    // Show digits, or null for an empty sheet.
    show(digits) {
        this.digits = digits;
        const [list, about] = find("numbers").children;
        list.replaceChildren(...rowsOf(digits ?? []).map((text) => {
            const line = document.createElement("li");
            line.textContent = text;
            return line;
        }));
        about.textContent = this.#comment();
    }

    // Return a sentence for each row, for screen readers.
    spoken() {
        const rows = rowsOf(this.digits);
        if (!rows.length) return say("Nothing is written.");
        return rows.map((text, row) => say("Row {0}: {1}.", row + 1, text)).join(" ");
    }

    #comment() {
        if (!this.isReady()) return say("Loading the network…");
        if (!this.digits) return say("Write numbers, in one line or several.");
        if (!this.digits.length) return say("Nothing is written.");
        const least = this.digits.reduce((a, b) => (b.probability < a.probability ? b : a));
        const share = formatShare(least.probability);
        const said = say("Digits: {0}. Least sure: {1}, {2}.", this.digits.length, least.class, share);
        const unclear = this.digits.filter((digit) => digit.is_digit === false).length;
        return unclear ? `${said} ${say("Perhaps no digits: {0}.", unclear)}` : said;
    }
}
