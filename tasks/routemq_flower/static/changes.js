// The page "Changes": who did what to letters, routes and workers; discards that can be undone, replays that have a page.

import {address, ageElement, api, byId, keepLive, make, moment, number, refill, setServerTime, updateAges} from "./common.js";
import {undoButton} from "./bulk.js";

const mayChange = byId("changes-page").dataset.mayChange === "true";
const LIVE_MS = 5000;

function row(change) {
    const page = change.has_page ? `/dead-letters/replays/${change.operation}` : change.letter && `/dead-letters/${encodeURIComponent(change.letter)}`;
    const what = page ? make("a", {href: address(page)}, change.action) : change.action;
    return make("tr", {"data-operation": change.operation},
        make("td", {class: "died-cell"}, ageElement(change.at), make("small", {class: "muted"}, moment(change.at))),
        make("td", {}, what),
        make("td", {class: "number-column"}, number(change.count)),
        make("td", {class: "error-column"}, change.detail),
        make("td", {class: "worker-cell"}, change.who),
        make("td", {}, change.undo_until === null ? null : mayChange ? undoButton(change.operation, refresh) : null,
            change.undo_until === null ? null : make("small", {class: "muted"}, `in the bin until ${moment(change.undo_until)}`)));
}

async function load() {
    const found = await api("/api/dead-letters/audit?limit=200");
    setServerTime(found.now);
    // Until when something is in the bin is told a little differently each time.
    const signature = JSON.stringify(found.changes, (name, value) => name === "undo_until" && value !== null ? moment(value) : value);
    refill(byId("changes"), signature, () => found.changes.map(row));
    byId("nothing").classList.toggle("d-none", found.changes.length > 0);
    updateAges();
}

const refresh = keepLive(load, LIVE_MS);
