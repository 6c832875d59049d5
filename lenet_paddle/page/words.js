// The page's texts in Chinese. The English texts, in index.html and in say("..."), are the keys.

import { EXPLAINER_ZH } from "./words-explain.js";

export const ZH = {
    ...EXPLAINER_ZH,
    "Draw a digit": "写一个数字",
    "Draw or drop a picture": "画一幅，或拖入一张图",
    "A small network reads it while you draw, and shows how.": "你一边写，小小的神经网络一边认，并展示它是怎么认的。",
    "Light or dark": "浅色或深色",
    "Your drawing": "你的画",
    "Drawing area": "绘图区",
    "Draw here, or drop a picture": "在这里写，或拖入一张图片",
    "Pen": "笔",
    "Pen width": "笔的粗细",
    "Undo": "撤销",
    "Clear": "清空",
    "Picture…": "图片…",
    "White on black": "黑底白字",
    "Keyboard: arrows move the pen (two at once: diagonally; with Shift: in small steps), Space puts it down or lifts it, Backspace undoes, Delete clears.":
        "键盘：方向键移动笔（两键同按走斜线，按住 Shift 走小步），空格落笔或抬笔，退格键撤销，Delete 清空。",
    "Whole numbers": "整串数字",
    "The numbers found": "认出的数字",
    "Write numbers, in one line or several.": "写一串数字，可以写好几行。",
    "Row {0}: {1}.": "第 {0} 行：{1}。",
    "Digits: {0}. Least sure: {1}, {2}.": "共 {0} 个数字，最没把握的是 {1}：{2}。",
    "Perhaps no digits: {0}.": "其中 {0} 个也许不是数字。",
    "Answer": "答案",
    "Inside the network": "网络内部",
    "Each convolution looks for patterns of its own. Where one finds its pattern, its map lights up.":
        "每个卷积核寻找自己的图案，找到的地方，它的特征图就会亮起来。",
    "The picture as the network sees it": "网络看到的图片",
    "What it sees": "它看到的",
    "{0}, in colour": "{0}，彩色",
    "Convolution {0}": "第 {0} 个卷积",
    "{0} maps of {1}": "{0} 张 {1} 的特征图",
    "the first {0} of {1} maps of {2}": "{1} 张 {2} 的特征图中的前 {0} 张",
    "{0} feature maps of convolution {1}": "第 {1} 个卷积的 {0} 张特征图",
    "Waiting for your first stroke.": "等你落笔。",
    "Nothing is written.": "没有写字。",
    "Quite sure.": "很有把握。",
    "Or is it {0}?": "也可能是 {0}？",
    "Hard to tell: {0} or {1}?": "说不准：{0} 还是 {1}？",
    "Unclear: perhaps {0}, perhaps no digit.": "看不清：可能是 {0}，也可能不是数字。",
    "Unclear. Perhaps {0}, {1}.": "看不清。可能是 {0}，{1}。",
    "{0}, {1}. Next: {2}, {3}.": "{0}，{1}。其次：{2}，{3}。",
    "Pen down": "落笔",
    "Pen up": "抬笔",
    "Cleared": "已清空",
    "Trained on {0} with lenet_paddle.": "由 lenet_paddle 在 {0} 上训练。",
    "a set of pictures": "一组图片",
    "What you draw stays in this browser.": "你画的内容不会离开这个浏览器。",
    "What you draw goes to the server of this page, which keeps nothing.": "你画的内容只发给本页的服务器，不会保存。",
    "answered in {0} ms": "{0} 毫秒作答",
    "Loading the network…": "正在载入网络…",
    "The server does not answer. Is it still running?": "服务器没有应答，它还在运行吗？",
    "The network could not be loaded: {0}": "网络载入失败：{0}",
    "The browser cannot read this file as a picture.": "浏览器无法把这个文件当图片读取。",
};

export function preferredLanguage() {
    return (navigator.language || "").toLowerCase().startsWith("zh") ? "zh" : "en";
}

// Return a text in the page's language, with `{0}` and so on filled in.
export function say(text, ...values) {
    const said = document.documentElement.lang.startsWith("zh") ? ZH[text] ?? text : text;
    return said.replace(/\{(\d)\}/g, (whole, number) => values[number] ?? whole);
}

// Translate every text in index.html.
export function translatePage(language) {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    for (const element of document.querySelectorAll("[data-say]")) {
        element.dataset.say ||= element.textContent;
        element.textContent = say(element.dataset.say);
    }
    for (const element of document.querySelectorAll("[data-say-label]")) {
        element.setAttribute("aria-label", say(element.dataset.sayLabel));
    }
}
