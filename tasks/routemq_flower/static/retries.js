// The page "Retries": what failed and is run again later, and what is set aside with a paused route.

import {address, ageElement, api, byId, duration, keepLive, keepNotices, make, moment, number, plural, refillRows, serverNow, setServerTime, updateAges} from "./common.js";

const LIVE_MS = 3000;
const LIMIT = 200;
const page = byId("retries-page");
const asked = new URLSearchParams(location.search);
let kind = asked.get("kind") === "aside" ? "aside" : "later";

function when(message) {
    const at = message.due_at ?? message.aside_since;
    if (at === null) {
        return "—";
    }
    return message.due_at === null ? ageElement(at) : make("time", {title: moment(at), "data-due": at}, due(at));
}

function due(at) {
    const seconds = at - serverNow();
    return seconds <= 0 ? "now" : `in ${duration(Math.ceil(seconds))}`;
}

function row(message, index) {
    const at = message.due_at ?? message.aside_since;
    if (!message.id) {
        return make("tr", {"data-row": `unread ${index}`}, make("td", {class: "died-cell"}, when(message)), make("td", {class: "topic-cell"}, "not readable",
            make("small", {class: "muted"}, `on queue ${message.queue}`)), make("td"), make("td"));
    }
    const runs = message.attempts ? `${number(message.attempts)}${message.max_attempts === null ? "" : ` of ${number(message.max_attempts)}`}` : "none";
    const failed = message.failed_at === null ? null : make("small", {class: "muted"}, ageElement(message.failed_at), message.worker ? ` on ${message.worker}` : "");
    return make("tr", {"data-row": message.id, "data-id": message.id},
        make("td", {class: "died-cell"}, when(message), at === null ? null : make("small", {class: "muted"}, moment(at))),
        // One of the application's own Celery tasks has no history.
        make("td", {class: "topic-cell"}, message.max_attempts === null ? message.route
            : make("a", {href: `${page.dataset.history}?${new URLSearchParams({route: message.route})}`}, message.route),
            make("small", {class: "muted"}, message.about), make("small", {class: "muted"}, message.id)),
        make("td", {class: "number-column", "data-label": "Failed runs"}, runs),
        make("td", {class: "error-column"}, message.error ? make("span", {class: "error-text", title: message.error}, message.error)
            : make("span", {class: "muted"}, message.attempts ? "" : "it has not failed: given back, or sent for later"), failed));
}

function note(found) {
    const route = byId("route").value;
    const count = found[kind];
    if (found.messages.length >= LIMIT) {
        return `the first ${number(LIMIT)}`;
    }
    if (!found.is_whole) {
        return `${plural(found.messages.length, "message")} among the first ${number(found.looked_at)} of ${number(count)} on all queues`;
    }
    return route ? `${number(found.messages.length)} of ${number(count)} on all queues` : "";
}

async function load() {
    const wanted = `${kind} ${byId("route").value}`;
    const query = {kind, limit: LIMIT, ...(byId("route").value ? {route: byId("route").value} : {})};
    const found = await api(`/api/routes/retries?${new URLSearchParams(query)}`);
    if (wanted !== `${kind} ${byId("route").value}`) {
        return;
    }
    setServerTime(found.now);
    byId("later").textContent = number(found.later);
    byId("aside").textContent = number(found.aside);
    byId("note").textContent = note(found);
    refillRows(byId("messages"), found.messages.map(row));
    byId("when").textContent = kind === "later" ? "Due" : "Set aside";
    byId("nothing").classList.toggle("d-none", found.messages.length > 0);
    const where = found.problems.length ? " where it can be read" : "";
    byId("nothing").textContent = kind === "later" ? `Nothing waits for another run${where}.` : `Nothing is set aside${where}.`;
    keepNotices("unread", Object.fromEntries(found.problems.map((problem) => [`unread ${problem}`, ["warning", `Not all is shown: ${problem}`]])));
    for (const element of document.querySelectorAll("time[data-due]")) {
        element.textContent = due(Number(element.dataset.due));
    }
    updateAges();
}

function choose(next) {
    kind = next;
    for (const button of byId("kinds").children) {
        button.classList.toggle("active", button.dataset.kind === kind);
        button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    }
    const route = byId("route").value;
    history.replaceState(null, "", address(`/routes/retries?${new URLSearchParams({kind, ...(route ? {route} : {})})}`));
}

const route = asked.get("route");
if (route) {
    if (![...byId("route").options].some((option) => option.value === route)) {
        byId("route").append(make("option", {value: route}, route));
    }
    byId("route").value = route;
}
for (const button of byId("kinds").children) {
    button.addEventListener("click", () => {
        choose(button.dataset.kind);
        refresh();
    });
}
byId("route").addEventListener("change", () => {
    choose(kind);
    refresh();
});
choose(kind);
const refresh = keepLive(load, LIVE_MS);
