// The page: connects the drawing, the backend that answers, and the view of the answers.

import { ask } from "./ask.js";
import { Drawing } from "./drawing.js";
import { NumbersView } from "./numbers.js";
import { View } from "./view.js";
import { preferredLanguage, say, translatePage } from "./words.js";

const find = (id) => document.getElementById(id);
const SPEAK_AFTER = 700; // ms without a change, before a screen reader reads the answer

const drawing = new Drawing(find("sheet"));
const numbers = new NumbersView(() => Boolean(backend));
let model, view, backend, milliseconds = null, problem = null;

// Ask for the newest drawing; changes during a request are asked for after it.
let isAsking = false, isStale = false, speakLater = 0;

async function refresh() {
    find("hint").classList.toggle("gone", !drawing.isEmpty);
    find("undo").disabled = !drawing.items.length;
    find("clear").disabled = drawing.isEmpty;
    if (!backend) return;
    isStale = true;
    if (isAsking) return;
    isAsking = document.documentElement.dataset.busy = true;
    while (isStale) {
        isStale = false;
        await answer();
    }
    isAsking = document.documentElement.dataset.busy = false;
}

async function answer() {
    clearTimeout(speakLater);
    if (drawing.isEmpty) {
        report(null);
        drawing.showBoxes([]);
        numbers.show(null);
        return view.show(null);
    }
    const started = performance.now(), { isPage } = drawing;
    try {
        const result = await backend[isPage ? "readPage" : "read"](drawing.picture());
        if (drawing.isEmpty || drawing.isPage !== isPage) return;
        milliseconds = performance.now() - started;
        const shown = isPage ? numbers : view;
        shown.show(result);
        drawing.showBoxes(isPage ? result : []);
        report(null);
        speakLater = setTimeout(() => announce(shown.spoken()), SPEAK_AFTER);
    } catch (error) {
        report(() => say(error.message));
    }
    describe();
}

function announce(text) {
    find("live").textContent = text;
}

// Show a problem (a function that returns its text), or remove the last one.
function report(words) {
    problem = words;
    find("problem").hidden = !words;
    find("problem").textContent = words?.() ?? "";
}

function describe() {
    if (!model) return;
    const data = model.dataset_title ?? say("a set of pictures");
    find("about").textContent = [
        say("Trained on {0} with lenet_paddle.", data),
        model.backend === "browser" ? say("What you draw stays in this browser.")
            : say("What you draw goes to the server of this page, which keeps nothing."),
    ].join(" ");
    if (milliseconds !== null) {
        find("speed").textContent = say("answered in {0} ms", Math.round(milliseconds));
    }
}

function useLanguage(language) {
    translatePage(language);
    const other = find("language");
    [other.textContent, other.lang] = language === "zh" ? ["English", "en"] : ["中文", "zh"];
    document.title = `${find("title").textContent} · lenet_paddle`;
    view?.show(view.answer);
    numbers.show(numbers.digits);
    report(problem);
    describe();
}

// Restore the settings of the last visit, if the browser stores them.
function remember(key, value) {
    try {
        if (value !== undefined) localStorage.setItem(key, value);
        return value ?? localStorage.getItem(key);
    } catch {
        return value ?? null;
    }
}

function useTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    drawing.paint();
    view?.paint();
}

async function takeFile(file) {
    if (!file) return;
    try {
        await drawing.show(file);
    } catch {
        report(() => say("The browser cannot read this file as a picture."));
    }
}

function listen() {
    drawing.addEventListener("change", refresh);
    drawing.addEventListener("pen", () => announce(say(drawing.pen.down ? "Pen down" : "Pen up")));
    find("undo").onclick = () => drawing.undo();
    find("clear").onclick = () => {
        drawing.clear();
        announce(say("Cleared"));
    };
    find("width").oninput = ({ target }) => {
        drawing.width = target.value / 100;
        find("dot").setAttribute("r", target.value);
        drawing.paint();
    };
    find("many").onclick = ({ target }) => {
        const isPage = drawing.isPage = !drawing.isPage;
        target.setAttribute("aria-pressed", isPage);
        for (const each of document.querySelectorAll(".best, #bars, .inside")) each.hidden = isPage;
        find("numbers").hidden = !isPage;
        find("width").value = isPage ? 3 : 6; // several digits need a finer pen
        find("width").oninput({ target: find("width") });
        drawing.showBoxes([]);
        refresh();
    };
    find("swap").onclick = ({ target }) => {
        drawing.inverted = !drawing.inverted;
        target.setAttribute("aria-pressed", drawing.inverted);
        find("sheet").classList.toggle("swapped", drawing.inverted);
        drawing.paint();
        refresh();
    };
    find("language").onclick = () => {
        useLanguage(remember("language", find("language").lang));
    };
    const night = matchMedia("(prefers-color-scheme: dark)");
    night.onchange = () => useTheme();
    find("theme").onclick = () => {
        const now = document.documentElement.dataset.theme ?? (night.matches ? "dark" : "light");
        useTheme(remember("theme", now === "dark" ? "light" : "dark"));
    };
    addEventListener("keydown", (event) => {
        if ((event.ctrlKey || event.metaKey) && event.key === "z") drawing.undo();
    });
    listenForFiles();
}

function listenForFiles() {
    find("choose").onclick = () => find("file").click();
    find("file").onchange = ({ target }) => {
        takeFile(target.files[0]);
        target.value = ""; // so that the same file can be chosen again
    };
    addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));
    const over = (isOver) => (event) => {
        event.preventDefault();
        find("frame").classList.toggle("over", isOver);
    };
    addEventListener("dragover", over(true));
    addEventListener("dragleave", over(false));
    addEventListener("drop", (event) => {
        over(false)(event);
        takeFile(event.dataTransfer.files[0]);
    });
}

// Fetch the model's description and prepare its backend.
async function start() {
    find("unserved").remove();
    listen();
    useTheme(remember("theme"));
    useLanguage(remember("language") ?? preferredLanguage());
    refresh();
    try {
        model = await ask("model.json");
        showModel();
        const { connect } = await import(`./backend-${model.backend ?? "server"}.js`);
        backend = await connect(model);
        view.isReady = true;
        numbers.show(null);
        if (model.explainer?.length) view.explainer = await (await import("./explain.js")).connect(model, drawing);
    } catch (error) {
        report(() => say("The network could not be loaded: {0}", say(error.message)));
    }
    document.documentElement.dataset.ready = String(Boolean(backend));
    refresh();
}

function showModel() {
    view = new View(model);
    find("many").hidden = model.preprocess !== "digit";
    if (model.preprocess !== "digit") {
        find("title").dataset.say = "Draw or drop a picture";
        find("swap").hidden = false;
        find("sheet").classList.add("exact");
        if (model.is_light_on_dark) find("swap").click();
    }
    useLanguage(document.documentElement.lang === "en" ? "en" : "zh");
}

start();
