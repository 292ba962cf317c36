// Columns of numbers over time, as lines or as bars; where a number is null there is none, which is no zero.

import {make} from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1440;
const HEIGHT = 100;

function shape(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) {
        element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
}

/** The path of a line that is broken where nothing is known; what stands alone is a dot of it. */
function line(values, step, height) {
    let path = "";
    values.forEach((value, index) => {
        if (value === null) {
            return;
        }
        const point = `${((index + 0.5) * step).toFixed(2)} ${height(value).toFixed(2)}`;
        const isFirst = index === 0 || values[index - 1] === null;
        path += isFirst ? `M${point}h0.01` : `L${point}`;
    });
    return path;
}

function bars(values, step, height) {
    return values.map((value, index) => value
        ? `M${(index * step).toFixed(2)} ${HEIGHT}V${Math.min(HEIGHT - 2, height(value)).toFixed(2)}h${Math.max(step, 1.5).toFixed(2)}V${HEIGHT}z` : "").join("");
}

/** Where nobody looked, as the path of rectangles. */
function gaps(known, step) {
    let path = "";
    let begin = null;
    [...known, true].forEach((isKnown, index) => {
        if (!isKnown && begin === null) {
            begin = index;
        } else if (isKnown && begin !== null) {
            path += `M${begin * step} 0H${index * step}V${HEIGHT}H${begin * step}z`;
            begin = null;
        }
    });
    return path;
}

/**
 * Draw one: `series` are `{name, kind, style, values}`, `kind` "line" or "bars"; of several bars the last stands in front.
 * `known` says of each step whether anybody looked. `point` is called with the step under the pointer, or null.
 */
export function drawChart({title, unit, description, series, known, format, axis, point}) {
    const step = WIDTH / known.length;
    const most = Math.max(...series.flatMap((one) => one.values.map((value) => value || 0)));
    const height = (value) => HEIGHT - (most ? value / most : 0) * (HEIGHT - 4) - 1;
    const names = {"aria-label": `${title}: ${description}`, role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "chart"};
    const pointer = shape("path", {class: "chart-pointer", d: ""});
    const svg = shape("svg", names,
        shape("path", {class: "chart-gap", d: gaps(known, step)}),
        shape("path", {class: "chart-grid", d: `M0 ${height(most / 2)}H${WIDTH}M0 ${height(most)}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}`}),
        ...series.map((one) => shape("path", one.kind === "bars"
            ? {class: `chart-bars ${one.style}`, d: bars(one.values, step, height)}
            : {class: `chart-line ${one.style}`, d: line(one.values, step, height)})),
        pointer);
    svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        point(Math.max(0, Math.min(known.length - 1, Math.floor((event.clientX - box.left) / box.width * known.length))));
    });
    svg.addEventListener("pointerleave", () => point(null));
    const legend = series.map((one) => make("span", {class: "chart-key"}, make("span", {class: `chart-swatch ${one.style}`, "aria-hidden": "true"}), one.name));
    const card = make("figure", {class: "detail-card chart-card"},
        make("figcaption", {class: "chart-header"}, make("h2", {class: "card-heading"}, title, make("span", {class: "muted"}, ` ${unit}`)), make("span", {class: "chart-legend"}, ...legend)),
        make("div", {class: "chart-frame"}, svg, make("span", {class: "chart-most", "aria-hidden": "true"}, most ? format(most) : "")),
        make("div", {class: "bars-axis muted", "aria-hidden": "true"}, ...axis.map((text) => make("span", {}, text))));
    const mark = (index) => pointer.setAttribute("d", index === null ? "" : `M${(index + 0.5) * step} 0V${HEIGHT}`);
    return {card, mark};
}
