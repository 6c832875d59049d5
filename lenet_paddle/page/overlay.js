// What is shown on the drawing itself: the field that a cell sees, and the ink that counts.

import { css, colourOf, largest } from "./colours.js";
import { make } from "./parts.js";

const INK = 40; // of 255: values above it are ink in what the network saw

export class SheetOverlay {
    // isExact: the network sees the whole sheet, not the ink on it, centred.
    constructor(frame, drawing, isExact) {
        Object.assign(this, { drawing, isExact, seen: null, place: null });
        this.canvas = make("canvas", "overlay");
        this.canvas.setAttribute("aria-hidden", "true");
        frame.append(this.canvas);
    }

    // seen: the plane that the network saw, or null to show nothing. field: [top, left, bottom, right]
    // of the padded input of `side`; ink: how much each pixel counts, or null.
    paint(seen, field, ink, side, palette) {
        const { canvas } = this, size = Math.round(canvas.clientWidth * devicePixelRatio);
        if (canvas.width !== size) canvas.width = canvas.height = size;
        const context = canvas.getContext("2d");
        context.clearRect(0, 0, size, size);
        if (seen !== this.seen) {
            this.seen = seen;
            this.place = seen && !this.drawing.bitmap ? this.#locate(seen, side) : null;
        }
        if (!this.place) return;
        const [scale, left, top] = this.place.map((value) => value * size);
        if (ink) {
            const most = largest(ink);
            context.fillStyle = css(palette.zero, 0.8); // the stroke itself shines through
            context.fillRect(0, 0, size, size);
            ink.forEach((value, k) => {
                context.fillStyle = css(colourOf(palette.scale, value < 0 ? -1 : 1), Math.abs(value) / (most || 1));
                context.fillRect(left + (k % side) * scale, top + Math.floor(k / side) * scale, scale + 0.5, scale + 0.5);
            });
        }
        const [y0, x0, y1, x1] = field;
        context.strokeStyle = css(palette.mark);
        context.lineWidth = 2.5 * devicePixelRatio;
        context.strokeRect(left + x0 * scale, top + y0 * scale, (x1 - x0 + 1) * scale, (y1 - y0 + 1) * scale);
    }

    // Return the sheet's [side of a pixel of the input, left and top of the input], as fractions of
    // its side: the box around the ink on the sheet is that in what the network saw.
    #locate({ width, height, data }, side) {
        const pad = (side - width) / 2;
        if (this.isExact) return [1 / width, -pad / width, -pad / width];
        const picture = this.drawing.picture(), dark = this.drawing.inverted ? 255 : 0;
        const isInk = (k) => Math.abs(picture.data[4 * k] - dark) < 128;
        const drawn = box(picture.width, picture.height, isInk), seen = box(width, height, (k) => data[k] > INK);
        if (!drawn || !seen) return null;
        const scale = Math.max(drawn[2] - drawn[0], drawn[3] - drawn[1]) / Math.max(seen[2] - seen[0], seen[3] - seen[1]) / picture.width;
        const middle = (of, k) => (of[k] + of[k + 2]) / 2;
        const start = (k) => middle(drawn, k) / picture.width - (middle(seen, k) + pad) * scale;
        return [scale, start(0), start(1)];
    }
}

// Return [left, top, right, bottom], right and bottom not included, of what is ink; null without.
function box(width, height, isInk) {
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let y = 0, k = 0; y < height; y++) {
        for (let x = 0; x < width; x++, k++) {
            if (!isInk(k)) continue;
            [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
            [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
        }
    }
    return right ? [left, top, right, bottom] : null;
}
