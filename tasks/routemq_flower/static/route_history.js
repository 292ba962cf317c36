// The page of a route: what it did in the last day, minute by minute, or in the last month, hour by hour.

import {address, api, byId, keepLive, keepNotices, make, moment, number, say} from "./common.js";
import {drawChart} from "./chart.js";

const LIVE_MS = 15000;
const page = byId("route-history-page");
const asked = new URLSearchParams(location.search);
const route = asked.get("route") || "";
const NARROW = 768;
const SPANS = {
    day: {step: 60, narrow: 300, table: 3600},
    month: {step: 3600, narrow: 10800, table: 86400},
};
let span = asked.get("span") === "month" ? "month" : "day";
let shown = null;
let tabled = null;
let charts = [];

say(byId("title"), route);
byId("retries").search = new URLSearchParams({route});
document.title = `${byId("title").textContent} · Flower`;

function time(seconds) {
    if (seconds === null) {
        return "—";
    }
    if (seconds < 1) {
        return `${Number((seconds * 1000).toPrecision(3))} ms`;
    }
    return seconds < 120 ? `${Number(seconds.toPrecision(3))} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function count(value) {
    return value === null ? "—" : number(value);
}

/** A moment as far as a step tells it: without its seconds; of a day without its date too. */
function short(at) {
    const text = moment(at);
    return `${span === "day" ? text.slice(11, 16) : text.slice(0, 16)}${text.slice(19)}`;
}

function stepName(step) {
    return {60: "a minute", 3600: "an hour"}[step] || `in ${step < 3600 ? `${step / 60} minutes` : `${step / 3600} hours`}`;
}

function query(step) {
    return `/api/routes/history?${new URLSearchParams({route, span, step})}`;
}

function times(found, kind) {
    return ["p50", "p95"].map((name) => ({name, kind: "line", style: `chart-${name}`, values: found[`${kind}_${name}_s`]}));
}

function draw(found) {
    const sums = found.sums;
    const known = found.received.map((value) => value !== null);
    const unit = stepName(found.step_s);
    const count_ = [0.0, 0.25, 0.5, 0.75, 1.0].map((share) => found.from + Math.round(share * known.length) * found.step_s);
    const axis = innerWidth < NARROW ? [count_[0], count_[2], count_[4]] : count_;
    const words = axis.map((at, index) => index === axis.length - 1 ? "now" : short(at));
    const point = (index) => {
        charts.forEach((chart) => chart.mark(index));
        byId("reading").textContent = index === null ? "" : reading(found, index);
    };
    const common = {known, axis: words, point};
    const all = span === "day" ? "in 24 hours" : "in 31 days";
    const inFlow = found.received.map((value, index) => value === null ? null : value + found.replayed[index]);
    charts = [
        {title: "In and done", unit, format: count, description: `${number(sums.received + sums.replayed)} in, ${number(sums.done)} done ${all}`, series: [
            {name: "in", kind: "line", style: "chart-in", values: inFlow}, {name: "done", kind: "line", style: "chart-done", values: found.done}]},
        {title: "Failed", unit, format: count, description: `${number(sums.retried)} failed runs that were repeated, ${number(sums.dead)} dead ${all}`, series: [
            {name: "failed runs", kind: "bars", style: "chart-retried", values: found.retried}, {name: "dead", kind: "bars", style: "chart-dead", values: found.dead}]},
        {title: "Run time", unit: "", format: time, description: `half within ${time(sums.run_p50_s)}, 95 % within ${time(sums.run_p95_s)} ${all}`, series: times(found, "run")},
        {title: "Waiting", unit: "", format: time, description: `half within ${time(sums.wait_p50_s)}, 95 % within ${time(sums.wait_p95_s)} ${all}`, series: times(found, "wait")},
    ].map((chart) => drawChart({...chart, ...common}));
    byId("charts").replaceChildren(...charts.map((chart) => chart.card));
}

function reading(found, index) {
    const at = short(found.from + index * found.step_s);
    if (found.received[index] === null) {
        return `${at}: nobody looked`;
    }
    const replayed = found.replayed[index] ? ` + ${number(found.replayed[index])} replayed` : "";
    return `${at}: ${number(found.received[index])} in${replayed}, ${number(found.done[index])} done, ${number(found.retried[index])} failed, ` +
        `${number(found.dead[index])} dead; run ${time(found.run_p50_s[index])} · ${time(found.run_p95_s[index])}, ` +
        `waiting ${time(found.wait_p50_s[index])} · ${time(found.wait_p95_s[index])}`;
}

function figures(sums) {
    const beside = (text) => make("small", {class: "muted"}, text);
    byId("sum-in").replaceChildren(number(sums.received), sums.replayed ? beside(`and ${number(sums.replayed)} replayed`) : "");
    byId("sum-done").textContent = number(sums.done);
    byId("sum-retried").textContent = number(sums.retried);
    const letters = `${page.dataset.deadLetters}?${new URLSearchParams({route})}`;
    byId("sum-dead").replaceChildren(sums.dead ? make("a", {class: "bad", href: letters}, number(sums.dead)) : "0");
    byId("sum-run").replaceChildren(time(sums.run_p50_s), beside(`95 %: ${time(sums.run_p95_s)}`));
    byId("sum-wait").replaceChildren(time(sums.wait_p50_s), beside(`95 %: ${time(sums.wait_p95_s)}`));
}

function tableRow(found, index) {
    const cells = ["received", "replayed", "done", "retried", "dead"].map((name) => count(found[name][index]));
    const waits = ["run_p50_s", "run_p95_s", "wait_p50_s", "wait_p95_s"].map((name) => time(found[name][index]));
    return make("tr", {}, make("th", {scope: "row", class: "died-cell"}, moment(found.from + index * found.step_s)),
        ...[...cells, ...waits].map((text) => make("td", {class: "number-column"}, text)));
}

async function loadTable() {
    if (!byId("table-card").open) {
        return;
    }
    const found = await api(query(SPANS[span].table));
    const signature = JSON.stringify(found);
    if (signature !== tabled) {
        tabled = signature;
        byId("numbers").replaceChildren(...found.received.map((_, index) => tableRow(found, index)).reverse());
    }
}

async function load() {
    const wanted = span;
    const found = await api(query(innerWidth < NARROW ? SPANS[span].narrow : SPANS[span].step));
    if (wanted !== span) {
        return;
    }
    const signature = JSON.stringify(found);
    if (signature !== shown) {
        shown = signature;
        figures(found.sums);
        draw(found);
    }
    keepNotices("left out", found.problem ? {"left out": ["warning", `${found.problem}.`]} : {});
    byId("table-title").textContent = `As a table, ${span === "day" ? "by hours" : "by days in UTC"}`;
    await loadTable();
}

function choose(next) {
    span = next;
    for (const button of byId("spans").children) {
        button.classList.toggle("active", button.dataset.span === span);
        button.setAttribute("aria-pressed", String(button.dataset.span === span));
    }
    history.replaceState(null, "", address(`/routes/history?${new URLSearchParams({route, span})}`));
}

for (const button of byId("spans").children) {
    button.addEventListener("click", () => {
        choose(button.dataset.span);
        refresh();
    });
}
byId("table-card").addEventListener("toggle", () => refresh());
choose(span);
const refresh = keepLive(load, LIVE_MS);
