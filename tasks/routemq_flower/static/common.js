// What the pages share. Texts from messages reach the page through `make` and `say` alone: never as markup, and printable.

export function byId(id) {
    return document.getElementById(id);
}

/** Write out what would act on the reader rather than be read, such as a mark that turns the direction; see routemq/text.py. */
function printable(text) {
    return String(text).replace(/(?![\n\t])[\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
        const code = char.codePointAt(0);
        const [letter, length] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
        return `\\${letter}${code.toString(16).padStart(length, "0")}`;
    });
}

/** Show a text, and nothing else, in an element. */
export function say(element, text) {
    element.textContent = printable(text);
}

const SAID = ["title", "aria-label"];

/** Make an element: `make("td", {class: "x", onclick: f}, "text", otherElement)`. */
export function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
        if (name.startsWith("on")) {
            element.addEventListener(name.slice(2), value);
        } else if (value === true) {
            element.setAttribute(name, "");
        } else if (value !== null && value !== undefined && value !== false) {
            element.setAttribute(name, SAID.includes(name) ? printable(value) : value);
        }
    }
    element.append(...children.filter((child) => child !== null && child !== undefined)
        .map((child) => child instanceof Node ? child : printable(child)));
    return element;
}

const prefix = (() => {
    const written = (byId("url_prefix").value || "").replace(/^\/+|\/+$/g, "");
    return written ? "/" + written : "";
})();

/** What this browser remembers, or with `ofTab` this window of it; it may be told to remember nothing, and has no room for all. */
export function remembered(name, {ofTab = false} = {}) {
    try {
        return (ofTab ? sessionStorage : localStorage).getItem(`routemq-${name}`);
    } catch (error) {
        return null;
    }
}

export function remember(name, value, {ofTab = false} = {}) {
    try {
        (ofTab ? sessionStorage : localStorage).setItem(`routemq-${name}`, value);
    } catch (error) {
        // Then it is so until the page is left.
    }
}

/** What this window was to remember once. */
export function recalled(name) {
    const value = remembered(name, {ofTab: true});
    if (value !== null) {
        sessionStorage.removeItem(`routemq-${name}`);
    }
    return value;
}

export function address(path) {
    return prefix + path;
}

export class ApiError extends Error {
    constructor(status, message, answer = {}) {
        super(message);
        this.status = status;
        this.answer = answer;
    }
}

/** The token that tells the server that one of its own pages is asking. */
export function token() {
    const found = document.cookie.match(/(?:^|;\s*)_xsrf=([^;]+)/);
    return found ? decodeURIComponent(found[1]) : "";
}

const ANSWER_MS = 30000;
const NO_ANSWER = "Flower does not answer";
const NO_LOGIN = "Your login has ended, or a proxy asks for one: reload this page";

/** Ask Flower. Throws an ApiError with the server's own words; its status is 0 when nobody answered, or somebody else. */
export async function ask(path, body) {
    const headers = {"X-XSRFToken": token(), Accept: "application/json"};
    // A login leads away from here, to a page that is no answer.
    const options = {headers, credentials: "same-origin", cache: "no-store", redirect: "manual"};
    // A connection may live though nobody is behind it: the page would say for ever that all is live, and nothing of a change.
    options.signal = AbortSignal.timeout(ANSWER_MS);
    if (body !== undefined) {
        options.method = "POST";
        options.body = JSON.stringify(body);
        headers["Content-Type"] = "application/json";
    }
    const response = await fetch(address(path), options).catch(() => {
        throw new ApiError(0, body === undefined ? NO_ANSWER : `${NO_ANSWER}. What was asked for may be done all the same`);
    });
    if (response.type === "opaqueredirect") {
        throw new ApiError(0, NO_LOGIN);
    }
    if (!response.ok) {
        const answer = await response.json().catch(() => ({}));
        throw new ApiError(response.status, answer.error || `Flower answered ${response.status}`, answer);
    }
    seeEdition(response.headers.get("RouteMQ-Pages"));
    return response;
}

/** Ask the JSON API; see `ask`. */
export async function api(path, body) {
    const response = await ask(path, body);
    const text = await response.text().catch(() => {
        throw new ApiError(0, NO_ANSWER);
    });
    try {
        return JSON.parse(text);
    } catch (error) {
        throw new ApiError(0, NO_LOGIN);
    }
}

const {edition} = byId("page-script").dataset;

/** A page may be open for days, and know nothing of what Flower can do since it was started anew. */
function seeEdition(now) {
    if (now && now !== edition) {
        keepNotices("edition", {edition: ["warning", "Flower was started anew with other pages, routes or options than this page knows. ",
            make("button", {type: "button", class: "btn btn-sm btn-primary", onclick: () => location.reload()}, "Reload")]});
    }
}

export function number(value) {
    return value.toLocaleString("en-US");
}

export function plural(count, one, many) {
    return `${number(count)} ${count === 1 ? one : many || one + "s"}`;
}

export function bytes(count) {
    if (count === null || count === undefined) {
        return "—";
    }
    if (count < 1024) {
        return `${count} B`;
    }
    return count < 1024 * 1024 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

/** The class without its module, for where room is short. */
export function shortName(exception) {
    return exception.slice(exception.lastIndexOf(".") + 1);
}

let clockAhead = 0;

/** Remember by how much the server's clock is ahead, so that ages are right on a laptop whose clock is not. */
export function setServerTime(seconds) {
    clockAhead = seconds - Date.now() / 1000;
}

export function serverNow() {
    return Date.now() / 1000 + clockAhead;
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export function duration(seconds) {
    for (const [size, unit] of UNITS) {
        if (seconds >= size) {
            return `${Math.floor(seconds / size)} ${unit}`;
        }
    }
    return "0 s";
}

export function age(at) {
    const seconds = serverNow() - at;
    return seconds < 1 ? "now" : `${duration(seconds)} ago`;
}

/** Whether times are shown in this browser's zone; else in UTC, as a terminal shows them. */
const isLocal = remembered("zone") === "local";

/** With its zone, so that the filter reads it as it is written. */
export function moment(at) {
    const date = new Date(at * 1000);
    if (Number.isNaN(date.getTime())) {
        return String(at);
    }
    const ahead = isLocal ? -date.getTimezoneOffset() : 0;
    const shown = new Date(date.getTime() + ahead * 60000).toISOString().replace("T", " ").replace(/\.\d+Z/, "");
    const two = (part) => String(Math.floor(part)).padStart(2, "0");
    return isLocal ? `${shown}${ahead < 0 ? "-" : "+"}${two(Math.abs(ahead) / 60)}:${two(Math.abs(ahead) % 60)}` : `${shown}Z`;
}

const zone = byId("zone");
if (zone) {
    zone.textContent = isLocal ? "Local time" : "UTC";
    zone.addEventListener("click", () => {
        remember("zone", isLocal ? "utc" : "local");
        location.reload();
    });
}

/** An element that shows an age; `updateAges` keeps it true. */
export function ageElement(at, attributes) {
    return make("time", {...attributes, title: moment(at), "data-at": at}, age(at));
}

export function updateAges() {
    for (const element of document.querySelectorAll("time[data-at]")) {
        element.textContent = age(Number(element.dataset.at));
    }
}

/** A part of a page that is folded until somebody opens it, in this browser once and for all. */
export function keepFold(element) {
    element.open = remembered(element.id) === "open";
    // Not the event "toggle", which a page that opens it by itself makes as well.
    element.querySelector("summary").addEventListener("click", () => remember(element.id, element.open ? "closed" : "open"));
}

/** A button that copies a text; browsers have a clipboard for pages only where nobody listens in, and an older way. */
export function copyButton(what, text) {
    const button = make("button", {type: "button", class: "btn btn-sm btn-outline-secondary copy-button", "aria-label": `Copy the ${what}`}, "Copy");
    button.addEventListener("click", async () => {
        const wanted = typeof text === "function" ? text() : text;
        try {
            await navigator.clipboard.writeText(wanted);
            button.textContent = "Copied";
        } catch (error) {
            button.textContent = copyByHand(wanted) ? "Copied" : "Not copied";
            button.focus();
        }
    });
    return button;
}

function copyByHand(text) {
    const field = make("textarea", {class: "visually-hidden", readonly: true});
    field.value = text;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    return isDone;
}

// What seldom changes any more is asked for as seldom.
const SETTLED_MS = 30000;

/**
 * Run `work` now and again and again, but not while nobody looks; shows in the corner whether it works. It may return
 * what it has found: the longer that has been the same, the less often it is run.
 */
export function keepLive(work, everyMs) {
    const dot = byId("live-dot");
    const text = byId("live-text");
    let timer = null;
    let running = false;
    let wanted = false;
    let failures = 0;
    let goodAt = null;
    let found;
    let foundAt = 0;

    function pause() {
        return found === undefined ? everyMs : Math.min(SETTLED_MS, Math.max(everyMs, (Date.now() - foundAt) / 4));
    }

    async function run() {
        clearTimeout(timer);
        if (running) {
            // Asked for while an older answer is on its way, which may know nothing of what was just done.
            wanted = true;
            return;
        }
        if (document.hidden && failures === 0 && dot.classList.contains("status-dot-live")) {
            timer = setTimeout(run, everyMs);
            return;
        }
        running = true;
        isHeld = false;
        try {
            const now = await work();
            if (now !== found) {
                found = now;
                foundAt = Date.now();
            }
            failures = 0;
            dot.className = "status-dot status-dot-live";
            text.textContent = isHeld ? "Live, but for what is selected" : "Live";
            goodAt = serverNow();
            text.title = `Last looked at ${moment(goodAt)}`;
            keepNotices("stale", {});
        } catch (error) {
            if (!(error instanceof ApiError)) {
                console.error(error);
            }
            failures += 1;
            dot.className = "status-dot status-dot-error";
            say(text, `${error.message} · trying again`);
            if (goodAt !== null) {
                keepNotices("stale", {stale: ["warning", `What you see is as of ${moment(goodAt)}. ${error.message.replace(/[.]$/, "")}.`]});
            }
        }
        running = false;
        timer = setTimeout(run, wanted ? 0 : failures ? everyMs * 2 : pause());
        wanted = false;
    }

    document.addEventListener("visibilitychange", () => document.hidden || run());
    run();
    return run;
}

/** Show one line above the page, which stays until it is closed or replaced by another with the same key. */
export function notice(key, kind, ...content) {
    const close = make("button", {type: "button", class: "btn-close", "aria-label": "Close"});
    const element = make(
        "div", {class: `notice notice-${kind}`, "data-key": key}, make("div", {class: "notice-text"}, ...content.filter((part) => part !== null)), close
    );
    close.addEventListener("click", () => element.remove());
    const before = [...byId("notices").children].find((child) => child.dataset.key === key);
    if (before) {
        before.replaceWith(element);
    } else {
        byId("notices").append(element);
    }
    return element;
}

const dismissed = new Set();

/** Show a notice for as long as something is so: called again and again with what is so now, `{key: [kind, ...content]}`. */
export function keepNotices(family, current) {
    for (const child of [...byId("notices").children]) {
        if (child.dataset.key.startsWith(family) && !(child.dataset.key in current)) {
            child.remove();
        }
    }
    // Who has closed it was told of this time, and of no other.
    [...dismissed].filter((key) => key.startsWith(family) && !(key in current)).forEach((key) => dismissed.delete(key));
    for (const [key, [kind, ...content]] of Object.entries(current)) {
        const shown = [...byId("notices").children].find((child) => child.dataset.key === key);
        if (shown) {
            const before = shown.querySelector(".notice-text");
            const hasKeyboard = before.contains(document.activeElement);
            before.replaceWith(make("div", {class: "notice-text"}, ...content));
            if (hasKeyboard) {
                shown.querySelector(".notice-text button")?.focus();
            }
        } else if (!dismissed.has(key)) {
            notice(key, kind, ...content).querySelector(".btn-close").addEventListener("click", () => dismissed.add(key));
        }
    }
}

let isHeld = false;

/** Whether somebody has selected text of an element, perhaps to copy it: then it stays as it is, and the corner says so. */
export function isSelected(element) {
    const selection = getSelection();
    const isSo = selection.type === "Range" && selection.getRangeAt(0).intersectsNode(element);
    isHeld ||= isSo;
    return isSo;
}

/** Keep the keyboard where it is while an element is filled anew. */
function keepKeyboard(element, fill) {
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    fill();
    if (focused && !focused.isConnected) {
        [...element.querySelectorAll("[data-key]")].find((other) => other.dataset.key === focused.dataset.key)?.focus();
    }
}

/** Replace what an element holds, only if it has changed. */
export function refill(element, signature, children) {
    if (element.dataset.signature === signature || isSelected(element)) {
        return;
    }
    element.dataset.signature = signature;
    keepKeyboard(element, () => element.replaceChildren(...children()));
}

/** Fill a table anew but for the cells that are as they were: a button that is being pressed must not be another one when it is let go. */
export function refillRows(body, rows) {
    if (isSelected(body)) {
        return;
    }
    const before = new Map([...body.rows].map((row) => [row.dataset.row, row]));
    keepKeyboard(body, () => {
        const wanted = rows.map((row) => {
            const kept = before.get(row.dataset.row);
            if (kept?.cells.length !== row.cells.length) {
                return row;
            }
            const cells = [...row.cells];
            [...kept.cells].forEach((cell, index) => cell.isEqualNode(cells[index]) || cell.replaceWith(cells[index]));
            return kept;
        });
        placeRows(body, wanted);
    });
}

/** Put rows where they belong without moving those that are there, so that keyboard and pointer keep theirs. */
export function placeRows(body, rows) {
    const wanted = new Set(rows);
    [...body.rows].filter((row) => !wanted.has(row)).forEach((row) => row.remove());
    rows.forEach((row, index) => body.rows[index] === row || body.insertBefore(row, body.rows[index] || null));
}

export function withdraw(key) {
    for (const child of [...byId("notices").children]) {
        if (child.dataset.key === key) {
            child.remove();
        }
    }
}

/** Keep a word for the page that is opened next, with the discard that it may undo, or the page that says what becomes of it. */
export function sayOnNextPage(text, {discard = null, page = null} = {}) {
    remember("said", JSON.stringify([text, discard, page]), {ofTab: true});
}

export function saySaved(undoButton) {
    const saved = recalled("said");
    if (saved) {
        const [text, discard, page] = JSON.parse(saved);
        notice("said", page ? "info" : "success", `${text} `, discard ? undoButton(discard) : null,
            page ? make("a", {href: page}, "See what becomes of it") : null);
    }
}
