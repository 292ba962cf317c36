// The page of one dead letter: what it was, why it died, and what to do with it.

import {
    address, ageElement, api, ask, byId, bytes, copyButton, keepLive, make, moment, notice, number, plural, refill, remember, remembered, say,
    sayOnNextPage, setServerTime, token, updateAges, withdraw,
} from "./common.js";
import {undoButton} from "./bulk.js";
import {binWords, confirmChange} from "./confirmation.js";

const page = byId("dead-letter-page");
const id = page.dataset.letterId;
const path = `/api/dead-letters/letter/${encodeURIComponent(id)}`;
const mayChange = page.dataset.mayChange === "true";
const VIEWS = [["decoded", "Decoded"], ["json", "JSON"], ["text", "Text"], ["hex", "Hex"]];
const MOST_EDITED_BYTES = 1024 * 1024;

let letter = null;
let shownView = null;

function show(found) {
    letter = found;
    say(byId("title"), letter.topic === null ? "(no topic)" : letter.topic || "(empty topic)");
    document.title = `${byId("title").textContent} · Dead letter · Flower`;
    say(byId("reason"), letter.reason);
    byId("reason").classList.add(`reason-${letter.reason}`);
    say(byId("exception"), letter.exception);
    say(byId("message"), letter.message);
    byId("message").classList.toggle("d-none", !letter.message);
    showPayload();
    byId("error-line").append(copyButton("error", `${letter.exception}${letter.message ? `: ${letter.message}` : ""}`));
    showTraceback();
    byId("history").replaceChildren(...letter.history.map((attempt, index) => make("tr", {},
        make("td", {class: "number-column"}, String(letter.attempts - letter.history.length + index + 1)),
        make("td", {class: "died-cell"}, ageElement(attempt.at), make("small", {class: "muted"}, moment(attempt.at))),
        make("td", {class: "error-column"}, attempt.error),
        make("td", {class: "worker-cell"}, attempt.worker || "—"))));
    byId("facts").replaceChildren(...facts().map(([name, ...value]) =>
        make("div", {class: "detail-row"}, make("dt", {}, name), make("dd", {}, ...value.filter((part) => part !== null)))));
    byId("letter").classList.remove("d-none");
    letScroll();
    if (mayChange) {
        byId("actions").classList.remove("d-none");
        byId("replay").disabled = byId("edit").disabled = letter.problem !== null;
        if (letter.problem !== null) {
            notice("problem", "info", `This cannot be replayed: ${letter.problem}. It can be downloaded and discarded.`);
        } else if (letter.needs_force) {
            notice("force", "warning", letter.needs_force);
        }
        if (letter.warning) {
            notice("strange", "warning", `Before you replay it: ${letter.warning}`);
        }
    }
}

/** What can be scrolled must be so by keyboard, too. */
function letScroll() {
    for (const part of [byId("title"), byId("message")].filter((element) => element.scrollHeight > element.clientHeight)) {
        part.tabIndex = 0;
    }
}

/** The user's own frames first, the innermost on top; those of libraries among all of them, which are folded. */
function showTraceback() {
    const raised = letter.raised_by;
    const place = raised[0]?.place;
    say(byId("place"), place ? `in ${place}` : "");
    byId("place").classList.toggle("d-none", !place);
    say(byId("traceback"), letter.traceback);
    byId("traceback-card").classList.toggle("d-none", !letter.traceback);
    byId("traceback-tools").replaceChildren(copyButton("traceback", letter.traceback));
    const parts = raised.filter((part) => part.own.length);
    byId("own-frames").replaceChildren(...parts.flatMap((part) => [
        part.caused_by === null ? null : make("p", {class: "caused-by"}, `Caused by ${part.caused_by}`),
        make("pre", {class: "detail-code traceback", tabindex: "0", "aria-label": "Your frames"}, part.own.join("\n")),
    ]).filter((element) => element !== null));
    const frames = raised.reduce((sum, part) => sum + part.frames, 0);
    byId("all-frames").open = !parts.length;
    byId("all-frames-words").textContent = frames === 1 ? "The only frame" : frames ? `All ${number(frames)} frames, the innermost last` : "As it was kept";
}

function facts() {
    const mqtt = letter.mqtt;
    const rows = [
        ["Route", make("a", {href: `${page.dataset.list}?${new URLSearchParams({route: letter.route})}`}, letter.route)],
        ["Controller", letter.controller || "— no route of this application"],
        ["Queue", letter.queue],
        ["Died", moment(letter.died_at), " · ", ageElement(letter.died_at)],
        ["Failed first", letter.first_at === null ? "in its only run" : moment(letter.first_at)],
        ["Runs", String(letter.attempts)],
        ["Replayed before", letter.generation ? plural(letter.generation, "time") : "never",
            ...letter.replays.map((replay) => make("small", {class: "muted"}, `${moment(replay.at)} by ${replay.by}, after ${replay.error}`))],
        ["Worker", letter.worker || "—"],
        ...(letter.release ? [["Release", letter.release]] : []),
        ["Same error", make("a", {href: `${page.dataset.list}?${new URLSearchParams({error: letter.fingerprint})}`}, letter.fingerprint)],
        ["Task id", letter.has_task ? make("a", {href: address(`/task/${encodeURIComponent(letter.task_id)}`)}, make("code", {}, letter.task_id))
            : make("code", {title: "Flower has heard of no such task since it was started"}, letter.task_id), copyButton("task id", letter.task_id)],
        ["Letter id", make("code", {}, letter.id), copyButton("letter id", letter.id)],
    ];
    if (letter.redacted.length) {
        rows.push(["Not kept", letter.redacted.join(", ")]);
    }
    if (mqtt) {
        rows.push(["Received", mqtt.received_at ? moment(mqtt.received_at) : "—"]);
        rows.push(["MQTT", `QoS ${mqtt.qos}${mqtt.retain ? ", retained" : ""}`]);
        for (const [name, value] of [["Content type", mqtt.content_type], ["Response topic", mqtt.response_topic]]) {
            if (value !== null) {
                rows.push([name, value]);
            }
        }
        for (const [name, value] of mqtt.user_properties) {
            rows.push([`Property ${name}`, value]);
        }
    }
    return rows;
}

function showPayload() {
    const payload = letter.payload;
    byId("payload-size").textContent = letter.problem === null ? bytes(payload.bytes) : `${bytes(payload.bytes)}, the whole message`;
    // A link sends no header, so the token is part of its address.
    byId("copy-payload").replaceChildren(copyButton("payload, as it is shown", () => payload[shownView] || ""));
    byId("download").href = `${address(`${path}/payload`)}?${new URLSearchParams({_xsrf: token()})}`;
    const there = VIEWS.filter(([name]) => payload[name] !== undefined);
    const buttons = there.map(([name, label]) => make("button", {
        type: "button", class: "task-state-filter", "data-view": name, "aria-pressed": "false", onclick: () => view(name),
    }, name === "decoded" ? payload.codec : label));
    byId("payload-views").replaceChildren(...(there.length > 1 ? buttons : []));
    if (there.length) {
        view(there[0][0]);
    } else {
        byId("payload").textContent = "(empty)";
        byId("payload").classList.add("muted");
    }
}

function view(name) {
    const payload = letter.payload;
    say(byId("payload"), payload[name]);
    shownView = name;
    byId("payload").classList.toggle("payload-hex", name === "hex");
    for (const button of byId("payload-views").children) {
        button.classList.toggle("active", button.dataset.view === name);
        button.setAttribute("aria-pressed", button.dataset.view === name ? "true" : "false");
    }
    const isCut = name !== "decoded" && payload.is_cut || (name === "hex" && payload.bytes > 4096);
    byId("payload-cut").classList.toggle("d-none", !isCut);
    byId("payload-cut").textContent = `Only the beginning is shown; the download has all ${bytes(payload.bytes)}.`;
}

async function beginEdit() {
    if (letter.payload.bytes > MOST_EDITED_BYTES) {
        throw new Error("This payload is too large to be edited here: download it, and replay an edited copy with “routemq dlq replay --edit”.");
    }
    if (letter.payload.not_editable) {
        throw new Error(`${letter.payload.not_editable}: it cannot be edited here.`);
    }
    const data = await (await ask(`${path}/payload`)).arrayBuffer();
    let text;
    if (isDecoded()) {
        text = letter.payload.decoded;
    } else try {
        text = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(data);
    } catch (error) {
        throw new Error("This payload is not text: download it, and replay an edited copy with “routemq dlq replay --edit”.");
    }
    // Indented as it is shown, when all of it is shown; blank characters between values mean nothing in JSON.
    const isIndented = !isDecoded() && letter.payload.kind === "json" && !letter.payload.is_cut;
    byId("edited").value = isIndented ? letter.payload.json : text;
    const lines = byId("edited").value.split("\n").length;
    byId("edited").rows = Math.min(24, Math.max(6, lines + 1));
    byId("editor").classList.remove("d-none");
    byId("replay").disabled = byId("edit").disabled = true;
    byId("payload").classList.add("d-none");
    byId("payload-cut").classList.add("d-none");
    byId("payload-views").classList.add("d-none");
    byId("edited").focus();
    await check();
}

let isEdited = false;

function endEdit() {
    isEdited = false;
    byId("editor").classList.add("d-none");
    byId("replay").disabled = byId("edit").disabled = false;
    byId("payload").classList.remove("d-none");
    byId("payload-views").classList.remove("d-none");
    showPayload();
}

async function cancelEdit() {
    const isAgreed = !isEdited || await confirmChange({
        title: "Leave your changes?", text: "What you have typed is lost; the letter stays as it is.", go: "Leave them", isDangerous: true,
    });
    if (isAgreed) {
        endEdit();
        byId("edit").focus();
    }
}

// What a codec says is edited as JSON, and encoded again by the server.
function isDecoded() {
    return letter.payload.decoded !== undefined;
}

function edit(text) {
    return isDecoded() ? {payload_json: text} : {payload: text};
}

let checking = 0;

async function check() {
    const turn = ++checking;
    const verdict = byId("verdict");
    let words = ["muted", "Checking…"];
    try {
        const found = await api(`${path}/check`, edit(byId("edited").value));
        if (found.problem !== null) {
            words = ["bad", `The controller would refuse this: ${found.problem}`];
        } else if (found.unchecked !== null) {
            words = ["muted", `Not checked: ${found.unchecked}`];
        } else {
            words = ["good", `Fits ${letter.controller}.`];
        }
    } catch (error) {
        words = ["bad", error.message];
    }
    if (turn === checking) {
        verdict.className = `editor-verdict ${words[0]}`;
        say(verdict, words[1]);
        byId("send-edited").disabled = words[0] === "bad";
    }
}

async function change(action, body, said) {
    const answer = await api(`${path}/${action}`, body);
    isEdited = false;
    sayOnNextPage(answer.warning ? `${said} But ${answer.warning}` : said, {discard: answer.discard, page: action === "replay" ? ownAddress() : null});
    // Back to the table as it was, with its filter.
    remember("returns", "1", {ofTab: true});
    location.assign(list());
}

async function replay(payload) {
    const needsForce = letter.needs_force && !(payload !== undefined && letter.redacted.length && letter.generation < 3);
    const agreed = await confirmChange({
        title: payload === undefined ? "Replay this letter?" : "Replay this letter with the new payload?",
        text: `It goes to the back of the queue ${letter.queue} and runs again with fresh attempts.`,
        scope: needsForce ? letter.needs_force : "",
        go: needsForce ? "Replay all the same" : "Replay",
    });
    if (agreed) {
        const body = {force: Boolean(needsForce)};
        if (payload !== undefined) {
            Object.assign(body, edit(payload));
        }
        await change("replay", body, `Replayed: ${byId("title").textContent} is on the queue ${letter.queue} again.`);
    }
}

async function discard() {
    const agreed = await confirmChange({
        title: "Discard this letter?",
        text: binWords(1),
        go: "Discard",
        isDangerous: true,
    });
    if (agreed) {
        await change("discard", {}, `Discarded: ${byId("title").textContent}.`);
    }
}

const LIVE_MS = 2000;
const STATES = {
    waiting: ["on its queue", ""], far: ["on its queue, behind many others", ""], taken: ["in a worker’s hands, not started yet", ""],
    running: ["running", ""], retrying: ["failed, and waits for its next run", "doubtful"], aside: ["set aside while its route is paused", "doubtful"],
    done: ["done", "good"], died: ["dead again", "bad"], discarded: ["discarded", ""], lost: ["neither done nor dead nor anywhere else: it was taken off its queue, or a worker with Celery’s own transport, which does not tell, was done with it", "doubtful"],
    gone: ["gone", ""],
};

/** Say live what becomes of a letter that was replayed or discarded; when it is there again, show it. */
function follow() {
    keepLive(async () => {
        const found = await api(`${path}/outcome`);
        setServerTime(found.now);
        if (found.state === "there") {
            location.reload();
            return "there";
        }
        const [words, kind] = STATES[found.state];
        if (found.topic) {
            say(byId("title"), found.topic);
            letScroll();
        }
        byId("outcome-state").textContent = words;
        byId("outcome-state").className = `outcome-state ${kind}`;
        const rows = [
            !found.by && ["What", `${found.words.charAt(0).toUpperCase()}${found.words.slice(1)}.`],
            found.by && ["Replayed by", found.by],
            found.sent_at && ["Replayed", moment(found.sent_at), " · ", ageElement(found.sent_at)],
            found.replay && ["With others", make("a", {href: address(`/dead-letters/replays/${found.replay}`)}, `Replay ${found.replay}`)],
            found.failures && ["Failed since", `${plural(found.failures, "time")}${found.error ? `, last with ${found.error}` : ""}`],
            found.due_at && ["Next run", moment(found.due_at)],
            found.at && [found.state === "done" ? "Done" : "Dead again", moment(found.at), " · ", ageElement(found.at)],
            found.later && ["The letter that it is now", make("a", {href: address(`/dead-letters/${encodeURIComponent(found.later)}`)}, found.later)],
        ];
        refill(byId("outcome-facts"), JSON.stringify({...found, now: null}), () => rows.filter(Boolean).map(([name, ...value]) =>
            make("div", {class: "detail-row"}, make("dt", {}, name), make("dd", {}, ...value))));
        updateAges();
        return JSON.stringify([found.state, found.failures, found.due_at]);
    }, LIVE_MS);
}

function sayError(error) {
    notice("error", "danger", error.message);
}

const query = new URLSearchParams(location.search);
const at = query.get("at");
const filter = Object.fromEntries([...query].filter(([name]) => name !== "at"));

/** The list that one came from, at its page; else the one with the filter of this address. */
function list() {
    const wanted = new URLSearchParams(filter);
    return remembered(`list ${wanted}`, {ofTab: true}) || `${page.dataset.list}${wanted.size ? `?${wanted}` : ""}`;
}

if (document.referrer.startsWith(location.origin + page.dataset.list + "?") || document.referrer === location.origin + page.dataset.list) {
    remember(`list ${new URLSearchParams(filter)}`, document.referrer, {ofTab: true});
}
byId("back").href = list();
byId("back").addEventListener("click", () => remember("returns", "1", {ofTab: true}));

/** The address of this page by which its neighbours are found also when the letter is gone. */
function ownAddress() {
    return `${location.pathname}?${new URLSearchParams({...filter, at: at ?? letter.died_at})}`;
}

/** Lead to the letters before and after this one in the list, also when this one is gone. */
async function showNeighbours() {
    const asked = new URLSearchParams({...filter, ...(at === null ? {} : {at})});
    const found = await api(`${path}/neighbours?${asked}`);
    for (const side of ["newer", "older"]) {
        const next = found[side];
        byId(side).classList.toggle("d-none", !next);
        if (next) {
            byId(side).href = `${address(`/dead-letters/${encodeURIComponent(next.id)}`)}?${new URLSearchParams({...filter, at: next.died_at})}`;
        }
    }
}

const KEYS = {ArrowLeft: "newer", ArrowRight: "older"};
addEventListener("keydown", (event) => {
    const side = KEYS[event.key];
    const isPlain = !event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.defaultPrevented;
    // Where the arrows have a meaning of their own they keep it.
    if (side && isPlain && !event.target.closest("input, textarea, select, pre, .modal, [contenteditable]") && byId(side).href) {
        event.preventDefault();
        byId(side).click();
    }
});
if (mayChange) {
    byId("replay").addEventListener("click", () => replay().catch(sayError));
    byId("edit").addEventListener("click", () => beginEdit().catch(sayError));
    byId("discard").addEventListener("click", () => discard().catch(sayError));
    byId("cancel-edit").addEventListener("click", () => cancelEdit().catch(sayError));
    byId("editor").addEventListener("submit", (event) => {
        event.preventDefault();
        replay(byId("edited").value).catch(sayError);
    });
    let timer = null;
    addEventListener("beforeunload", (event) => isEdited && event.preventDefault());
    byId("edited").addEventListener("input", () => {
        isEdited = true;
        byId("send-edited").disabled = true;
        clearTimeout(timer);
        timer = setTimeout(check, 250);
    });
}

async function open() {
    const found = await api(path);
    withdraw("error");
    show(found);
}

/** Show the letter, or what became of it; where nobody can tell now, again and again. */
function begin() {
    // What there is beside it is looked for by itself: of a filter that cannot be used there is nothing.
    showNeighbours().catch(() => {});
    open().catch(sayNotShown);
}

function sayNotShown(error) {
    const {discard} = error.answer || {};
    byId("title").textContent = error.status === 404 ? "Not there any more" : "…";
    if (error.status === 404) {
        withdraw("error");
        byId("outcome").classList.remove("d-none");
        follow();
    }
    if (error.status !== 404 || discard) {
        notice("error", error.status === 404 ? "info" : "danger", `${error.message} `, discard && mayChange ? undoButton(discard, (end) => end.state === "done" && location.reload()) : null);
    }
    if (error.status === 0 || error.status >= 500) {
        setTimeout(begin, LIVE_MS);
    }
}

begin();
