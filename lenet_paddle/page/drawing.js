// The sheet: drawing by pointer or keys, dropped pictures, and the picture for the network.
//
// One list holds everything that happened: strokes ({points, width}, as fractions of the sheet's
// side), pictures ({bitmap}) and clearings ({}). The sheet shows the strokes at its end, or the
// picture there, so undo removes the last item.

const SIDE = 400; // pixels on a side of the picture of a drawing, for preprocessing
const PAGE = 800; // the same for whole numbers
const LARGEST = 1200; // pixels on a side of a photo
const SEVERAL = 32; // greys between the lightest and the darkest of a sheet with ink
const FAR = 0.1; // points farther apart are joined by a straight line; fraction of the sheet
const STEP = 1 / 25; // of an arrow key; fraction of the sheet
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Drawing extends EventTarget {
    constructor(canvas) {
        super();
        this.canvas = canvas;
        this.width = 0.06; // of the pen
        this.inverted = false; // white on black, for networks trained on such pictures
        this.isPage = false; // for whole numbers
        this.boxes = []; // digits found: {box: [left, top, right, bottom] in pixels of the picture, class}
        this.items = [];
        this.pointer = null;
        this.pen = { x: 0.5, y: 0.5, down: false };
        this.held = new Set();
        this.output = new OffscreenCanvas(SIDE, SIDE);
        this.context = this.output.getContext("2d", { willReadFrequently: true });
        this.#listen();
    }

    get strokes() {
        return this.items.slice(this.items.findLastIndex((item) => !item.points) + 1);
    }

    get bitmap() {
        return this.items.at(-1)?.bitmap ?? null;
    }

    get isEmpty() {
        return !this.items.at(-1)?.points && !this.bitmap;
    }

    undo() {
        this.#lift();
        this.items.pop();
        this.#changed();
    }

    clear() {
        this.#lift();
        if (!this.isEmpty) this.items.push({});
        this.#changed();
    }

    // Show a picture file. Rejects if the browser cannot read it.
    async show(file) {
        const whole = await createImageBitmap(file, { colorSpaceConversion: "none" });
        const scale = LARGEST / Math.max(whole.width, whole.height);
        const bitmap = scale >= 1 ? whole : await createImageBitmap(whole, {
            resizeWidth: Math.max(1, Math.round(whole.width * scale)),
            resizeHeight: Math.max(1, Math.round(whole.height * scale)),
            resizeQuality: "high",
        });
        this.#lift();
        this.items.push({ bitmap });
        this.#changed();
    }

    get side() {
        return this.isPage ? PAGE : SIDE;
    }

    // Return the picture for the network as ImageData: the strokes, black on white or inverted, or
    // the picture file.
    picture() {
        const { bitmap, context, output } = this;
        const width = output.width = bitmap?.width ?? this.side;
        const height = output.height = bitmap?.height ?? this.side;
        let ground = this.inverted ? "black" : "white";
        if (bitmap) {
            context.drawImage(bitmap, 0, 0);
            ground = contrastingGround(context.getImageData(0, 0, width, height));
            context.globalCompositeOperation = "destination-over"; // setting the width resets it
        }
        context.fillStyle = ground;
        context.fillRect(0, 0, width, height);
        if (!bitmap) this.#trace(context, this.side, this.inverted ? "white" : "black");
        return context.getImageData(0, 0, width, height);
    }

    // Show the boxes and answers of digits, or none.
    showBoxes(digits) {
        this.boxes = digits;
        this.paint();
    }

    // Paint the sheet in the colours of its style.
    paint() {
        const { canvas, bitmap } = this;
        const side = Math.round(canvas.clientWidth * devicePixelRatio);
        if (canvas.width !== side) canvas.width = canvas.height = side;
        const context = canvas.getContext("2d");
        context.clearRect(0, 0, side, side);
        if (bitmap) {
            const scale = side / Math.max(bitmap.width, bitmap.height);
            const width = bitmap.width * scale, height = bitmap.height * scale;
            context.imageSmoothingEnabled = scale < 4; // show the pixels of a small picture
            context.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
        }
        const colour = getComputedStyle(canvas).color;
        this.#trace(context, side, colour);
        this.#paintBoxes(context, side);
        if (canvas.matches(":focus-visible")) this.#paintPen(context, side, colour);
    }

    #trace(context, side, colour) {
        context.strokeStyle = colour;
        context.lineCap = context.lineJoin = "round";
        for (const { points, width } of this.strokes) {
            context.lineWidth = width * side;
            context.beginPath();
            const [first, ...rest] = points.map(([x, y]) => [x * side, y * side]);
            context.moveTo(...first);
            let [x, y] = first;
            for (const [nextX, nextY] of rest) {
                const isFar = Math.hypot(nextX - x, nextY - y) > FAR * side;
                if (isFar) context.lineTo(x, y);
                const end = isFar ? [nextX, nextY] : [(x + nextX) / 2, (y + nextY) / 2];
                context.quadraticCurveTo(x, y, ...end); // through the midpoints of short segments
                [x, y] = [nextX, nextY];
            }
            context.lineTo(x + 0.01, y); // a line of length 0 would not be drawn
            context.stroke();
        }
    }

    // Paint the digits' boxes and answers, in the colour of the page's accent.
    #paintBoxes(context, side) {
        const { width, height } = this.bitmap ?? { width: this.side, height: this.side };
        const scale = side / Math.max(width, height);
        const [x, y] = [(side - width * scale) / 2, (side - height * scale) / 2];
        const size = side / 22;
        context.strokeStyle = context.fillStyle = getComputedStyle(this.canvas).caretColor;
        context.lineWidth = side / 250;
        context.font = `600 ${size}px sans-serif`;
        for (const { box: [left, top, right, bottom], class: text, is_digit: isDigit } of this.boxes) {
            context.setLineDash(isDigit === false ? [size / 4, size / 4] : []);
            context.strokeRect(x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale);
            context.fillText(text, x + left * scale, Math.max(size, y + top * scale - size / 5));
        }
        context.setLineDash([]);
    }

    #paintPen(context, side, colour) {
        const radius = Math.max(this.width * side, 12) / 2;
        context.beginPath();
        context.arc(this.pen.x * side, this.pen.y * side, radius + 3, 0, 2 * Math.PI);
        context.lineWidth = side / 150;
        context.strokeStyle = colour;
        context.setLineDash(this.pen.down ? [] : [side / 60, side / 60]);
        context.stroke();
        context.setLineDash([]);
    }

    #listen() {
        const { canvas } = this;
        canvas.addEventListener("pointerdown", (event) => this.#begin(event));
        canvas.addEventListener("pointermove", (event) => this.#draw(event));
        for (const name of ["pointerup", "pointercancel"]) {
            canvas.addEventListener(name, (event) => this.#end(event));
        }
        canvas.addEventListener("keydown", (event) => this.#press(event));
        canvas.addEventListener("keyup", (event) => this.held.delete(event.key));
        canvas.addEventListener("focus", () => this.paint());
        canvas.addEventListener("blur", () => this.#lift());
        new ResizeObserver(() => this.paint()).observe(canvas);
    }

    #place({ clientX, clientY }) {
        const box = this.canvas.getBoundingClientRect();
        return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    }

    #begin(event) {
        if (this.pointer !== null || event.button !== 0) return; // ignore a second finger
        this.#lift();
        this.pointer = event.pointerId;
        this.canvas.setPointerCapture(event.pointerId);
        this.#start(this.#place(event));
    }

    #draw(event) {
        if (event.pointerId !== this.pointer) return;
        const passed = event.getCoalescedEvents?.() ?? [];
        for (const each of passed.length ? passed : [event]) this.#extend(this.#place(each));
        this.#changed();
    }

    #end(event) {
        if (event.pointerId !== this.pointer) return;
        this.pointer = null;
        this.#changed();
    }

    #start(point) {
        this.items.push({ points: [point], width: this.width });
        this.#changed();
    }

    #extend(point) {
        this.items.at(-1).points.push(point);
    }

    #press(event) {
        const { key } = event;
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (ARROWS[key]) this.#move(key, event.shiftKey ? STEP / 4 : STEP);
        else if (key === " " || key === "Enter") this.#toggle();
        else if (key === "Backspace") this.undo();
        else if (key === "Delete") this.clear();
        else if (key === "Escape") this.#lift();
        else return;
        event.preventDefault();
        this.paint();
    }

    #move(key, step) {
        this.held.add(key);
        const inside = (value) => Math.min(Math.max(value, 0), 1);
        for (const [dx, dy] of [...this.held].map((name) => ARROWS[name])) {
            this.pen.x = inside(this.pen.x + dx * step);
            this.pen.y = inside(this.pen.y + dy * step);
        }
        if (!this.pen.down) return;
        this.#extend([this.pen.x, this.pen.y]);
        this.#changed();
    }

    #toggle() {
        if (this.pen.down) return this.#lift();
        this.pen.down = true;
        this.#start([this.pen.x, this.pen.y]);
        this.dispatchEvent(new Event("pen"));
    }

    // Stop drawing, by pointer and by keys.
    #lift() {
        this.pointer = null;
        this.held.clear();
        if (this.pen.down) {
            this.pen.down = false;
            this.dispatchEvent(new Event("pen"));
        }
        this.paint();
    }

    #changed() {
        this.paint();
        this.dispatchEvent(new Event("change"));
    }
}

// Choose the ground of a transparent picture, as data/preprocess.py does: what is opaque is ink, or
// a sheet, which the ground goes on.
export function contrastingGround({ data }) {
    let light = 0, dark = 0, most = 0, low = 255, high = 0;
    for (let k = 3; k < data.length; k += 4) most = Math.max(most, data[k]);
    for (let k = 0; k < data.length; k += 4) {
        if (data[k + 3] <= most >> 1) continue;
        const grey = data[k] * 19595 + data[k + 1] * 38470 + data[k + 2] * 7471 + 0x8000 >> 16;
        [low, high] = [Math.min(low, grey), Math.max(high, grey)];
        if (grey > 127) light++;
        else dark++;
    }
    if (!(light + dark)) return "white";
    const isSheet = light + dark > data.length / 8 && high - low > SEVERAL;
    return light > dark !== isSheet ? "black" : "white";
}
