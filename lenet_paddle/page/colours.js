// Colours of values: below 0 red, 0 the ground, above 0 blue, in the current theme. A value of
// half the largest has more than half of the colour (`POWER`), so that weak ones are seen.

const STEPS = 255; // on each side of 0
const POWER = 0.7;
const GREYS = makeScale([0, 0, 0], [128, 128, 128], [255, 255, 255], 1); // the input: -1 black, 1 white

// Return the theme's colours: of values by their swatches in the legend, of text and lines.
export function readPalette(legend) {
    const colours = {};
    for (const swatch of legend.querySelectorAll("[data-colour]")) {
        const text = getComputedStyle(swatch).backgroundColor;
        colours[swatch.dataset.colour] = text.match(/[\d.]+/g).slice(0, 3).map(Number);
    }
    const { minus, zero, plus } = colours;
    return { ...colours, scale: makeScale(minus, zero, plus), greys: GREYS };
}

export function css([red, green, blue], opacity = 1) {
    return `rgb(${red} ${green} ${blue} / ${opacity})`;
}

// Return the colour of a value from -1 to 1 as [red, green, blue].
export function colourOf(scale, value) {
    const packed = scale[place(value)];
    return [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255];
}

// Return whether text on a colour must be dark.
export function isLight([red, green, blue]) {
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

// Paint values, `width` of them a row, on a canvas of that size; `most` has the full colour.
export function paintValues(canvas, values, width, most, scale) {
    const height = values.length / width;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), factor = 1 / (most || 1);
    for (let k = 0; k < values.length; k++) pixels[k] = scale[place(values[k] * factor)];
    context.putImageData(image, 0, 0);
}

export function largest(values) {
    let most = 0;
    for (const value of values) most = Math.max(most, Math.abs(value));
    return most;
}

function place(value) {
    return Math.round(Math.max(-1, Math.min(1, value)) * STEPS) + STEPS;
}

function makeScale(minus, zero, plus, power = POWER) {
    return Uint32Array.from({ length: 2 * STEPS + 1 }, (_, k) => {
        const place = (k - STEPS) / STEPS, end = place < 0 ? minus : plus, share = Math.abs(place) ** power;
        const mixed = zero.map((from, c) => Math.round(from + (end[c] - from) * share));
        return ((255 << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0]) >>> 0;
    });
}
