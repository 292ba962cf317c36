// The page "Routes": where messages wait, how fast they come and go, and who works on them.

import {age, api, byId, bytes, duration, keepLive, keepNotices, make, notice, number, plural, refillRows, setServerTime, serverNow} from "./common.js";
import {confirmChange} from "./confirmation.js";

const LIVE_MS = 2000;
const page = byId("routes-page");
const OLD_S = 60;
const mayChange = Boolean(page.dataset.mayChange);

function rate(value) {
    if (value === null) {
        return make("span", {class: "value-missing"}, "—");
    }
    return value && value < 10 ? value.toFixed(1) : number(Math.round(value));
}

function hands(route) {
    const count = route.concurrency;
    if (count === null) {
        return make("span", {class: "value-missing", title: "a worker has not said yet what it serves"}, "…");
    }
    const wanted = route.queue_worker_count;
    const title = route.workers.length ? `${route.workers.join(", ")}; what a worker has, all of its queues share` : "no worker that is known serves this queue";
    const state = route.paused ? "muted" : count === 0 ? "bad" : count < wanted ? "doubtful" : "";
    const workers = route.paused && !route.workers.length ? "paused" : route.workers.length ? plural(route.workers.length, "worker") : "no worker";
    return make("span", {class: state, title}, number(count), make("small", {class: "muted"}, `asks for ${number(wanted)} · ${workers}`));
}

function row(route) {
    const oldest = route.oldest_at === null || !route.depth ? null : Math.max(0, serverNow() - route.oldest_at);
    const controller = route.controller.slice(route.controller.indexOf(":") + 1);
    const dead = route.dead_letters
        ? make("a", {class: "bad", href: `${page.dataset.deadLetters}?${new URLSearchParams({route: route.name})}`}, number(route.dead_letters))
        : "0";
    return make("tr", {"data-row": route.name, "data-route": route.name},
        make("td", {class: "topic-cell"}, make("a", {class: "route-link", href: `${page.dataset.history}?${new URLSearchParams({route: route.name})}`, "data-key": `history of ${route.name}`}, route.name),
            make("small", {class: "muted", title: route.controller},
                route.name === route.template ? controller : `${route.template} · ${controller}`),
            route.batch ? batchNote(route.batch) : null,
            route.paused ? pauseNote(route.paused) : null),
        make("td", {"data-label": "Queue"}, route.queue, route.is_full ? make("small", {class: "bad"}, "not worked on: too many dead letters") : null),
        make("td", {class: "number-column", "data-label": "Waiting"}, number(route.depth),
            route.delayed ? make("small", {}, make("a", {href: `${page.dataset.retries}?${new URLSearchParams({route: route.name})}`, "data-key": `retries of ${route.name}`},
                `+${number(route.delayed)} for later${route.due_at === null ? "" : `, the next ${due(route.due_at)}`}`)) : null),
        make("td", {class: `number-column${oldest !== null && oldest > OLD_S ? " doubtful" : ""}`, "data-label": "Oldest"}, oldest === null ? "—" : duration(oldest)),
        make("td", {class: "number-column", "data-label": "In/s"}, rate(route.rate_in)),
        make("td", {class: "number-column", "data-label": "Out/s"}, rate(route.rate_out)),
        make("td", {class: "number-column", "data-label": "Workers"}, hands(route)),
        make("td", {class: "number-column", "data-label": "Dead"}, dead),
        mayChange ? make("td", {class: "pause-cell"}, pauseButton(route)) : null);
}

function batchNote(batch) {
    const title = batch.gathers
        ? `after ${batch.max_wait_s} s or ${bytes(batch.max_bytes)} with fewer`
        : "a middleware without handle_batch keeps its messages apart";
    const text = batch.gathers ? `in batches of up to ${number(batch.max_messages)}` : "in batches, one by one";
    return make("small", {class: "muted", title}, text);
}

function due(at) {
    const seconds = at - serverNow();
    return seconds <= 0 ? "now" : `in ${duration(Math.ceil(seconds))}`;
}

function pauseNote(pause) {
    const since = pause.at === null ? "" : ` ${age(pause.at)}`;
    const who = pause.who ? ` by ${pause.who}` : "";
    return make("small", {class: "doubtful", title: pause.why || null}, `paused${since}${who}${pause.why ? `: ${pause.why}` : ""}`);
}

function pauseButton(route) {
    const action = route.paused ? "resume" : "pause";
    const label = route.paused ? "Resume" : "Pause";
    return make("button", {type: "button", class: "btn btn-sm btn-outline-secondary", "data-key": `pause or resume ${route.name}`,
        "aria-label": `${label} ${route.name}`, onclick: () => changeRoute(route, action)}, label);
}

async function changeRoute(route, action) {
    const agreed = await confirmChange(action === "pause"
        ? {title: "Pause this route?", text: "What comes for it is taken in and waits. No worker runs it, until it is resumed; what runs now comes to its end.", scope: route.name, go: "Pause"}
        : {title: "Resume this route?", text: "What has waited is run now, the oldest first.", scope: route.name, go: "Resume"});
    if (agreed) {
        await change(`/api/routes/${action}`, {route: route.name});
    }
}

async function change(path, body) {
    try {
        await api(path, body);
    } catch (error) {
        notice("change", "danger", error.message);
    }
    refresh();
}

function workerRow(worker) {
    const step = (action, sign, label) => make("button", {type: "button", class: "btn btn-sm btn-outline-secondary step-button",
        "data-key": `${action} ${worker.name}`, "aria-label": `${label} ${worker.name}`, title: label.trim(),
        onclick: () => change(`/api/workers/${action}`, {worker: worker.name})}, sign);
    const byHand = mayChange && worker.scaling === "hand";
    const note = worker.scaling === "auto" ? make("small", {class: "muted"}, "scales by itself") : null;
    return make("tr", {"data-row": worker.name, "data-worker": worker.name},
        make("td", {class: "topic-cell"}, make("strong", {}, worker.name), worker.problem ? make("small", {class: "bad"}, worker.problem) : make("small", {class: "muted"}, worker.pool)),
        make("td", {"data-label": "Queues"}, worker.queues.join(", ")),
        make("td", {class: "number-column", "data-label": "Running"}, number(worker.running)),
        make("td", {class: "number-column", "data-label": "Memory"}, bytes(worker.memory_bytes)),
        make("td", {class: "number-column hands-cell", "data-label": "Hands"},
            byHand ? step("shrink", "−", "One hand less for ") : null, make("span", {class: "hands-count"}, number(worker.hands)),
            byHand ? step("grow", "+", "One hand more for ") : null, note));
}

async function load() {
    const found = await api("/api/routes");
    setServerTime(found.now);
    const routes = found.routes;
    const sum = (name) => routes.reduce((total, route) => total + (route[name] || 0), 0);
    const queues = new Map(routes.map((route) => [route.queue, route.depth]));
    const isKnown = routes.some((route) => route.rate_in !== null);
    byId("sum-in").textContent = isKnown ? number(Math.round(sum("rate_in") * 10) / 10) : "—";
    byId("sum-out").textContent = isKnown ? number(Math.round(sum("rate_out") * 10) / 10) : "—";
    byId("sum-depth").textContent = number([...queues.values()].reduce((total, depth) => total + depth, 0));
    byId("sum-dead").textContent = number(sum("dead_letters"));
    refillRows(byId("routes"), routes.map(row));
    refillRows(byId("workers"), found.workers.map(workerRow));
    keepNotices("blind", found.blind && found.blind.because !== null ? {blind: ["warning", `Flower has heard nothing of the workers for ` +
        `${duration(serverNow() - found.blind.since)}: what its own pages show of them, and this one of workers that are not RouteMQ’s, is as it was then. ` +
        `It tries again every two seconds (${found.blind.because}).`]} : {});
}

const refresh = keepLive(load, LIVE_MS);
