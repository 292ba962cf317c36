// Deaths over time as bars; a click on one narrows the table to it.

import {byId, moment, number} from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 80;

function short(at, span) {
    const text = moment(at);
    if (span <= 2 * 3600) {
        return text.slice(11);
    }
    return `${span <= 2 * 86400 ? text.slice(5, 16) : text.slice(0, 16)}${text.slice(19)}`;
}

export function drawBars(bars, choose) {
    const svg = byId("bars");
    const span = bars.until - bars.from;
    const step = span / bars.counts.length;
    const most = Math.max(1, ...bars.counts);
    const width = WIDTH / bars.counts.length;
    const shapes = bars.counts.map((count, index) => {
        const group = document.createElementNS(SVG, "g");
        const height = count ? Math.max(3, (count / most) * (HEIGHT - 4)) : 1;
        const start = bars.from + step * index;
        for (const [name, top, tall] of [["bar-space", 0, HEIGHT], [count ? "bar" : "bar bar-none", HEIGHT - height, height]]) {
            const shape = document.createElementNS(SVG, "rect");
            shape.setAttribute("class", name);
            shape.setAttribute("x", (index * width + 0.5).toFixed(2));
            shape.setAttribute("width", (width - 1).toFixed(2));
            shape.setAttribute("y", top.toFixed(2));
            shape.setAttribute("height", tall.toFixed(2));
            group.append(shape);
        }
        group.addEventListener("mouseenter", () => {
            byId("bars-hover").textContent = `${number(count)} from ${short(start, span)} to ${short(start + step, span)}`;
        });
        if (count) {
            const words = `${number(count)} from ${short(start, span)} to ${short(start + step, span)}`;
            for (const [name, value] of [["tabindex", "0"], ["role", "button"], ["aria-label", `Show only ${words}`]]) {
                group.setAttribute(name, value);
            }
            group.addEventListener("click", () => choose(start, start + step));
            group.addEventListener("keydown", (event) => event.key === "Enter" && choose(start, start + step));
            group.addEventListener("focus", () => {
                byId("bars-hover").textContent = words;
            });
        }
        return group;
    });
    // A bar that has the keyboard keeps it.
    const focused = [...svg.children].indexOf(document.activeElement);
    svg.replaceChildren(...shapes);
    shapes[focused]?.focus();
    svg.onmouseleave = () => {
        byId("bars-hover").textContent = "";
    };
    byId("bars-from").textContent = short(bars.from, span);
    byId("bars-until").textContent = short(bars.until, span);
    byId("bars-note").textContent = bars.is_exact ? "" : "of the chosen route, reason and times; the other filters are left out";
}
