// The page "Dead letters": overview, filter, live table.

import {
    address, ageElement, api, byId, bytes, isSelected, keepFold, keepLive, keepNotices, make, moment, notice, number, placeRows, plural, recalled, refill, remember, remembered,
    saySaved, say, serverNow, setServerTime, shortName, token, updateAges, withdraw,
} from "./common.js";
import {drawBars} from "./bars.js";
import {changeAll, changeChosen, describe, resume, undoButton} from "./bulk.js";
import {Chosen} from "./chosen.js";

const FILTERS = ["route", "queue", "reason", "error", "topic", "device", "since", "until", "contains"];
const LABELS = {error: "error", contains: "payload contains", since: "since", until: "until"};
const SPANS = {"1h": 3600, "24h": 86400, "7d": 7 * 86400};
const PAGE_LENGTH = 50;
const LIVE_MS = 2000;
// A search for words reads the letters themselves.
const SEARCH_AGAIN_MS = 10000;

const page = byId("dead-letters-page");
const form = byId("filter");
const body = byId("letters").tBodies[0];
const mayChange = page.dataset.mayChange === "true";

const state = {
    filter: {},
    after: [],
    next: null,
    span: "",
    chosen: new Chosen(),
    rows: new Map(),
    isIndexed: true,
    matching: null,
    newestSeen: null,
    asksForAll: false,
    hasReturned: false,
    // Rows stay where they are while some are chosen or under the pointer, but for what one has done oneself.
    mustShow: false,
    hasLoaded: false,
    listedAt: 0,
    turn: 0,
};

function readFilter() {
    const query = new URLSearchParams(location.search);
    // All that the address says, also what is empty or misspelled: the server refuses it, and shows nothing that was not asked for.
    state.filter = Object.fromEntries([...query].filter(([name]) => name !== "after" && name !== "span"));
    const after = query.get("after");
    state.after = after ? (history.state?.after ?? [after]) : [];
    showSpan(query.get("span") || "");
    // What the address asks for is shown, whatever is folded otherwise.
    byId("filter-fold").open ||= Object.keys(state.filter).length > 0;
    byId("chart-fold").open ||= state.span !== "";
    for (const name of FILTERS) {
        const field = form.elements[name];
        if (field) {
            const value = query.get(name) || "";
            if (field.tagName === "SELECT" && value && ![...field.options].some((option) => option.value === value)) {
                field.append(make("option", {value}, value));
            }
            field.value = value;
        }
    }
}

/** Ask the server before anything else is shown, so that a slip leaves the last result where it is. */
async function setFilter(changes) {
    const filter = Object.fromEntries(Object.entries({...state.filter, ...changes}).filter(([, value]) => value));
    showFieldError(null);
    try {
        await api(`/api/dead-letters?${new URLSearchParams({...filter, limit: 1})}`);
    } catch (error) {
        if (error.status === 400 && form.elements[error.answer.field]) {
            showFieldError(error.answer.field, error.message);
            return;
        }
        // Whatever else is wrong, the page says by itself.
    }
    goTo(filter, []);
    restart();
}

/** Put what is shown into the address, so that Back and a reload return to it. */
function goTo(filter, after, replaces = false) {
    const query = new URLSearchParams({...filter, ...(state.span ? {span: state.span} : {}), ...(after.length ? {after: after.at(-1)} : {})});
    history[replaces ? "replaceState" : "pushState"]({after}, "", query.size ? `?${query}` : location.pathname);
}

function showFieldError(name, message) {
    for (const field of form.querySelectorAll("[aria-invalid]")) {
        field.removeAttribute("aria-invalid");
        field.removeAttribute("aria-describedby");
    }
    say(byId("filter-error"), name ? message : "");
    if (name) {
        const field = form.elements[name];
        byId("filter-fold").open = true;
        field.setAttribute("aria-invalid", "true");
        field.setAttribute("aria-describedby", "filter-error");
        field.focus();
    }
}

/** What the table is filtered by, in words, each with a way to be rid of it. */
function showChips(errors) {
    const chips = Object.entries(state.filter).map(([name, value]) => {
        const known = name === "error" && errors.find((group) => group.name === value);
        const words = `${LABELS[name] || name}: ${known ? `${shortName(known.exception)}${known.message ? `: ${known.message}` : ""}` : value}`;
        return make("button", {type: "button", class: "chip", "data-key": name, title: words, "aria-label": `Remove ${words}`,
            onclick: () => setFilter({[name]: ""})}, make("span", {class: "chip-words"}, words), make("span", {"aria-hidden": "true"}, "×"));
    });
    refill(byId("chips"), JSON.stringify([state.filter, chips.map((chip) => chip.title)]), () => chips);
}

function restart() {
    readFilter();
    showFieldError(null);
    state.rows.clear();
    state.hasLoaded = false;
    state.asksForAll = false;
    state.turn += 1;
    body.replaceChildren();
    byId("nothing").classList.add("d-none");
    byId("suggestions").classList.add("d-none");
    byId("matching").textContent = "Loading…";
    for (const place of ["chosen-buttons", "all-buttons"]) {
        byId(place).replaceChildren();
    }
    refresh();
}

function listPath() {
    const query = new URLSearchParams({...state.filter, limit: PAGE_LENGTH});
    if (state.after.length) {
        query.set("after", state.after[state.after.length - 1]);
    }
    return `/api/dead-letters?${query}`;
}

function overviewPath() {
    const query = new URLSearchParams(state.filter);
    if (!byId("chart-fold").open) {
        query.set("bars", "none");
    } else if (state.span) {
        query.set("from", serverNow() - SPANS[state.span]);
    }
    return `/api/dead-letters/overview?${query}`;
}

async function load() {
    const turn = state.turn;
    const isFirstPage = state.after.length === 0;
    const isDue = state.isIndexed || Date.now() - state.listedAt > SEARCH_AGAIN_MS;
    const wantsList = !state.hasLoaded || (isFirstPage && isDue);
    const [overview, list] = await Promise.all([
        api(overviewPath()), wantsList ? api(listPath()) : null, mayChange ? state.chosen.look() : null,
    ]).catch((error) => {
        if (turn === state.turn && !state.hasLoaded) {
            say(byId("matching"), error.message);
            const field = form.elements[error.answer?.field];
            if (field && !field.hasAttribute("aria-invalid")) {
                showFieldError(error.answer.field, error.message);
            }
        }
        throw error;
    });
    if (turn !== state.turn) {
        return;
    }
    setServerTime(overview.now);
    showOverview(overview);
    if (list) {
        state.listedAt = Date.now();
        const isFrozen = state.hasLoaded && !state.mustShow && (state.chosen.size > 0 || body.matches(":hover") || isSelected(body));
        const fresh = isFrozen ? list.letters.filter((letter) => !state.rows.has(letter.id)).length : 0;
        if (isFrozen) {
            byId("show-new").classList.toggle("d-none", fresh === 0);
            byId("show-new").textContent = `${fresh === list.letters.length ? `${fresh} or more` : fresh} new`;
        } else {
            state.mustShow = false;
            showList(list);
        }
    } else if (!isFirstPage) {
        const newest = Math.max(0, ...overview.routes.map((route) => route.newest_at));
        byId("show-new").classList.toggle("d-none", newest <= (state.newestSeen || newest));
        byId("show-new").textContent = "New letters have died: show them";
    }
    showBulk();
    updateAges();
}

function showOverview(overview) {
    state.matching = overview.matching;
    byId("total").textContent = number(overview.total);
    byId("recent").textContent = number(overview.last_10_minutes);
    byId("error-count").textContent = number(overview.error_count);
    const newest = Math.max(0, ...overview.routes.map((route) => route.newest_at));
    byId("newest").replaceChildren(newest ? ageElement(newest) : "—");
    if (state.after.length === 0) {
        state.newestSeen = newest;
    }
    showChips(overview.errors);
    document.title = `${overview.total ? `(${number(overview.total)}) ` : ""}Dead letters · Flower`;
    if (overview.bars) {
        drawBars(overview.bars, (from, until) => setFilter({since: from.toFixed(3), until: until.toFixed(3)}));
    }
    for (const [element, found, kind] of [["by-route", overview.routes, "route"], ["by-error", overview.errors, "error"]]) {
        refill(byId(element), JSON.stringify([found, state.filter.route, state.filter.error]), () => groups(found, kind));
    }
    keepNotices("full-", Object.fromEntries(Object.entries(overview.full_routes).map(([route, queue]) => [`full-${route}`, ["danger",
        make("strong", {}, route), " has as many dead letters as DLQ_MAX_ENTRIES allows. Its queue ", make("strong", {}, queue),
        " is not worked on until some are replayed or discarded."]])));
    keepNotices("archive", overview.archive_problem ? {archive: ["danger", "Letters that are due cannot be archived, they stay: ",
        make("code", {}, overview.archive_problem)]} : {});
    const overdue = overview.overdue;
    keepNotices("overdue", overdue ? {overdue: ["warning", `${plural(overdue.count, "letter")} ${overdue.count === 1 ? "is" : "are"} ` +
        `older than DLQ_RETENTION_DAYS=${overdue.days}; without DLQ_ARCHIVE_DIR none is removed. At a terminal, `,
        make("code", {}, overdue.mend), " writes them to a file and removes them."]} : {});
    keepNotices("unfinished-", Object.fromEntries(overview.unfinished.map((replay) => [`unfinished-${replay.id}`, ["warning",
        `A replay that ${replay.actor} began `, ageElement(replay.started_at), ` (${replay.detail}) is not complete: ` +
        `${number(replay.remaining)} of ${number(replay.total)} letters are left. `, mayChange ? continueButton(replay) : ""]])));
    const followed = (progress) => [...byId("notices").children].some((child) => child.dataset.key === `operation-${progress.id}`);
    keepNotices("running-", Object.fromEntries(overview.running.filter((progress) => !followed(progress)).map((progress) =>
        [`running-${progress.id}`, ["info", describe(progress)]])));
}

function showNow() {
    state.mustShow = true;
    refresh();
}

function continueButton(replay) {
    return make("button", {type: "button", class: "btn btn-sm btn-primary", onclick: () => {
        withdraw(`unfinished-${replay.id}`);
        resume(replay.id, showNow).catch(sayError);
    }}, "Continue");
}

function groups(found, kind) {
    if (!found.length) {
        return [make("p", {class: "overview-none muted"}, "None.")];
    }
    const most = Math.max(...found.map((group) => group.count));
    return found.map((group) => {
        const isChosen = kind === "route" ? state.filter.route === group.name : state.filter.error === group.name;
        const share = make("span", {class: "overview-share", "aria-hidden": "true"});
        share.style.width = `${(100 * group.count) / most}%`;
        const label = kind === "route"
            ? make("span", {class: "overview-name"}, group.name)
            : make("span", {class: "overview-name"}, make("strong", {class: group.is_rest ? null : saidByReason(group)}, `${group.is_rest ? "Other errors, such as " : ""}${shortName(group.exception)}`), " ",
                make("span", {class: "overview-message"}, shortMessage(group)),
                make("span", {class: "overview-where muted"}, 
                    `${group.routes.length === 1 ? group.routes[0] : `${number(group.routes.length)} routes`}${group.first_release ? ` · since release ${group.first_release}` : ""}`));
        return make("button", {
            type: "button",
            "data-key": `${group.name} ${group.is_rest ? group.routes[0] : ""}`,
            class: `overview-row${isChosen ? " active" : ""}`,
            "aria-pressed": isChosen ? "true" : "false",
            title: kind === "error" ? `${group.exception}: ${group.message}` : group.name,
            onclick: () => setFilter(kind === "route"
                ? {route: isChosen ? "" : group.name}
                : {error: isChosen ? "" : group.name, ...(group.is_rest && !isChosen ? {route: group.routes[0]} : {})}),
        }, share, label, make("span", {class: "overview-count"}, number(group.count)),
        ageElement(group.newest_at, {class: "overview-age muted"}));
    });
}

function showList(list) {
    const isUpdate = state.hasLoaded;
    state.next = list.next;
    state.isIndexed = list.is_indexed;
    state.hasLoaded = true;
    const rows = new Map();
    for (const letter of list.letters) {
        const row = state.rows.get(letter.id) || letterRow(letter);
        if (isUpdate && !state.rows.has(letter.id)) {
            row.classList.add("is-new");
        }
        rows.set(letter.id, row);
    }
    state.rows = rows;
    placeRows(body, [...rows.values()]);
    const isFiltered = Object.keys(state.filter).length > 0;
    byId("nothing").classList.toggle("d-none", rows.size > 0);
    byId("suggestions").classList.toggle("d-none", !list.unknown);
    byId("suggestions").replaceChildren(...(list.unknown ? suggestions(list.unknown) : []));
    byId("nothing").textContent = list.next ? `None of the ${number(list.scanned)} newest letters matches; look further with “Older”.`
        : isFiltered ? "No dead letter matches." : "No dead letters. All is well.";
    byId("letters").classList.toggle("d-none", rows.size === 0);
    byId("next-page").disabled = !list.next;
    byId("first-page").disabled = byId("previous-page").disabled = state.after.length === 0;
    byId("page-note").textContent = state.after.length ? `Page ${state.after.length + 1}` : "";
    byId("show-new").classList.add("d-none");
    if (!isUpdate) {
        returnToPlace();
    }
}

/** Where one was on this page of the list, when one comes back to it: the rows are there only now. */
function returnToPlace() {
    const [letter, top] = JSON.parse(remembered(placeKey(), {ofTab: true}) || "[]");
    const returns = recalled("returns");
    const isBack = returns || performance.getEntriesByType("navigation")[0]?.type === "back_forward";
    if (isBack && letter && !state.hasReturned) {
        state.rows.get(letter)?.querySelector("a").focus({preventScroll: true});
        scrollTo(0, top);
    }
    state.hasReturned = true;
}

function placeKey() {
    return `place ${location.pathname}${location.search}`;
}

/** What somebody may have meant who asks for a name that is not known. */
function suggestions({criterion, close, known, others}) {
    const names = close.length ? close : known;
    const buttons = names.map((name) => make("button", {type: "button", class: "btn btn-sm btn-link", onclick: () => setFilter({[criterion]: name})}, name));
    return [close.length ? `No ${criterion} has that name; did you mean` : `No ${criterion} has that name. There are`, ...buttons,
        others && !close.length ? `and ${number(others)} more` : ""];
}

function letterRow(letter) {
    // With the filter, so that its page leads to the next letter of this list.
    const link = `${address(`/dead-letters/${encodeURIComponent(letter.id)}`)}?${new URLSearchParams({...state.filter, at: letter.died_at})}`;
    const box = mayChange ? make("td", {class: "choose-column"}, make("input", {
        type: "checkbox",
        class: "form-check-input",
        "aria-label": `Choose ${letter.topic || letter.id}`,
        onchange: (event) => {
            state.chosen.choose([letter], event.target.checked);
            showBulk();
        },
    })) : null;
    return make("tr", {"data-id": letter.id, "data-topic": letter.topic || ""},
        box,
        make("td", {class: "died-cell"}, ageElement(letter.died_at), make("small", {class: "muted"}, moment(letter.died_at))),
        make("td", {class: "topic-cell"}, make("a", {href: link}, letter.topic === null ? "(no topic)" : letter.topic || "(empty)"),
            letter.topic === letter.route ? null : make("small", {class: "muted"}, letter.route)),
        make("td", {class: "reason-cell"}, make("span", {class: `badge reason-badge reason-${letter.reason}`}, letter.reason),
            letter.generation ? make("small", {class: "muted"}, ` replayed ${letter.generation}×`) : null),
        make("td", {class: "error-column"}, make("strong", {title: letter.exception, class: saidByReason(letter)}, shortName(letter.exception)), make("small", {class: "error-text"}, shortMessage(letter))),
        make("td", {class: "number-column"}, number(letter.attempts)),
        make("td", {class: "number-column"}, bytes(letter.payload_bytes)));
}

/** What the reason says already is left out, so that a phone shows what differs. */
function shortMessage({reason, message}) {
    return reason === "invalid" ? message.replace(/^payload: /, "") : message;
}

function saidByReason({reason, message}) {
    return reason === "invalid" && message ? "said-by-reason" : null;
}

function matchingWords() {
    const isFiltered = Object.keys(state.filter).length > 0;
    const shown = state.rows.size;
    if (state.matching !== null) {
        return isFiltered ? `${number(state.matching)} ${state.matching === 1 ? "matches" : "match"}` : plural(state.matching, "dead letter");
    }
    if (!state.next && !state.after.length) {
        return `${number(shown)} ${shown === 1 ? "matches" : "match"}`;
    }
    return "Newest matches first";
}

function showBulk() {
    byId("matching").textContent = matchingWords();
    // A link sends no header, so the token is part of its address.
    byId("export").href = `${address("/api/dead-letters/export")}?${new URLSearchParams({...state.filter, _xsrf: token()})}`;
    byId("export").classList.toggle("d-none", state.matching === 0 || (!state.rows.size && !state.next));
    if (!mayChange) {
        return;
    }
    const chosen = state.chosen;
    const isNothing = !chosen.size && (state.matching === 0 || (!state.rows.size && !state.next));
    // Without a filter, who wants every letter there is says so first.
    const mustAsk = !Object.keys(state.filter).length && !state.asksForAll;
    byId("ask-for-all").classList.toggle("d-none", chosen.size > 0 || isNothing || !mustAsk);
    if (chosen.size) {
        showButtons("chosen", number(chosen.ids.length), !chosen.ids.length);
    } else if (mustAsk) {
        byId("bulk-bar").classList.remove("has-chosen");
        byId("chosen-buttons").replaceChildren();
        byId("all-buttons").replaceChildren();
    } else {
        showButtons("all", state.matching !== null ? `all ${number(state.matching)}` : "all matching", isNothing);
    }
    const words = [`${number(chosen.size)} chosen`];
    const elsewhere = chosen.ids.filter((id) => !state.rows.has(id)).length;
    if (elsewhere) {
        words.push(`${number(elsewhere)} not on this page`);
    }
    if (chosen.gone.size) {
        words.push(`${number(chosen.gone.size)} ${chosen.gone.size === 1 ? "is" : "are"} gone, replayed or discarded meanwhile`);
    }
    byId("chosen-words").textContent = words.join(" · ");
    byId("chosen-words").classList.toggle("doubtful", chosen.gone.size > 0);
    for (const [id, row] of state.rows) {
        row.querySelector("input[type=checkbox]").checked = chosen.has(id);
        row.classList.toggle("is-gone", chosen.gone.has(id));
    }
    const here = [...state.rows.keys()].filter((id) => chosen.has(id)).length;
    byId("choose-all").checked = here > 0 && here === state.rows.size;
    byId("choose-all").indeterminate = here > 0 && here < state.rows.size;
}

const CHANGES = {
    chosen: (action) => changeChosen(action, {chosen: state.chosen, whenBegun: showBulk, whenDone: showNow}),
    all: (action) => changeAll(action, {filter: {...state.filter}, whenCounted: showBulk, whenDone: showNow}),
};

/** Show the buttons for the chosen letters or for all. Each pair is made for its scope and has its own place: none ever turns into the other. */
function showButtons(scope, label, isNothing) {
    byId("bulk-bar").classList.toggle("has-chosen", scope === "chosen");
    const place = byId(`${scope}-buttons`);
    if (!place.children.length) {
        byId("chosen-buttons").replaceChildren();
        byId("all-buttons").replaceChildren();
        place.replaceChildren(...["replay", "discard"].map((action) => make("button", {
            type: "button",
            id: `bulk-${action}`,
            class: `btn btn-sm ${action === "replay" ? "btn-primary" : "btn-outline-danger"}`,
            onclick: () => CHANGES[scope](action).then(showBulk, sayError),
        })));
    }
    const [replay, discard] = place.children;
    replay.textContent = `Replay ${label}`;
    discard.textContent = `Discard ${label}`;
    replay.disabled = discard.disabled = isNothing;
}

/** A bare word is a part of the topic, and says so by its sign; who takes the sign away means the whole topic. */
function wantedTopic(typed) {
    const isWord = typed && !/[/+#{~]/.test(typed);
    return isWord && ![typed, `~${typed}`].includes(state.filter.topic) ? `~${typed}` : typed;
}

function sayError(error) {
    if (!error.status && error.status !== 0) {
        console.error(error);
    }
    notice("error", "danger", error.message);
    showBulk();
}

form.addEventListener("submit", (event) => {
    event.preventDefault();
    const filter = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
    setFilter({...filter, topic: wantedTopic(filter.topic)});
});
for (const field of form.querySelectorAll("select")) {
    field.addEventListener("change", () => form.requestSubmit());
}
byId("clear-filter").addEventListener("click", () => setFilter(Object.fromEntries([...Object.keys(state.filter), ...FILTERS].map((name) => [name, ""]))));
byId("next-page").addEventListener("click", () => turnTo([...state.after, state.next]));
byId("first-page").addEventListener("click", () => turnTo([]));
byId("previous-page").addEventListener("click", () => turnTo(state.after.slice(0, -1)));
byId("show-new").addEventListener("click", () => turnTo([]));
addEventListener("popstate", restart);

function turnTo(after) {
    state.after = after;
    goTo(state.filter, after);
    state.hasLoaded = false;
    state.rows.clear();
    state.turn += 1;
    refresh();
}

function showSpan(span) {
    state.span = span in SPANS ? span : "";
    for (const button of document.querySelectorAll("[data-span]")) {
        button.classList.toggle("active", button.dataset.span === state.span);
        button.setAttribute("aria-pressed", button.dataset.span === state.span ? "true" : "false");
    }
}

for (const button of document.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
        showSpan(button.dataset.span);
        goTo(state.filter, state.after, true);
        refresh();
    });
}

if (mayChange) {
    byId("choose-all").addEventListener("change", (event) => {
        const letters = [...state.rows].map(([id, row]) => ({id, topic: row.dataset.topic}));
        state.chosen.choose(letters, event.target.checked);
        showBulk();
    });
    byId("ask-for-all").addEventListener("click", () => {
        state.asksForAll = true;
        showBulk();
        byId("bulk-replay").focus();
    });
    byId("choose-none").addEventListener("click", () => {
        state.chosen.clear();
        showBulk();
    });
}

body.addEventListener("click", (event) => {
    const row = event.target.closest("a") && event.target.closest("tr");
    if (row) {
        remember(placeKey(), JSON.stringify([row.dataset.id, scrollY]), {ofTab: true});
    }
});

keepFold(byId("filter-fold"));
keepFold(byId("chart-fold"));
readFilter();
const refresh = keepLive(load, LIVE_MS);
byId("chart-fold").addEventListener("toggle", refresh);
saySaved((discard) => undoButton(discard, showNow));
