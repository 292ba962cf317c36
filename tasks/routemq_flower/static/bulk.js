// Replay or discard many letters: ask, begin, show how far it is.

import {ApiError, address, api, byId, make, moment, notice, number, plural, say, withdraw} from "./common.js";
import {binWords, confirmChange} from "./confirmation.js";

const VERBS = {
    replay: {will: "Replay", doing: "Replaying", done: "Replayed"},
    discard: {will: "Discard", doing: "Discarding", done: "Discarded"},
    undo: {will: "Bring back", doing: "Bringing back", done: "Brought back"},
};

function replayText(count) {
    return `${count === 1 ? "It goes back to its queue and runs" : "They go back to their queues, the oldest first, and run"} ` +
        "again with fresh attempts. What dies from now on is not caught.";
}

const FORCE = "Also those that died again after three replays, or whose redacted values were not kept";

function inWords(filter) {
    const parts = Object.entries(filter).map(([name, value]) => `${name} ${value}`);
    return parts.length ? parts.join(" · ") : "All dead letters of all routes: there is no filter.";
}

/** Count in parts, as the server reads letters where no index knows which match; null when the person has stopped it. */
async function countAll(filter) {
    const found = {count: 0, since: null, until: null, warning: null};
    let looked = 0;
    let isStopped = false;
    let answer = {next: ""};
    const words = make("span", {});
    const bar = make("progress", {});
    while (answer.next !== null && !isStopped) {
        const query = new URLSearchParams({...filter, ...(answer.next ? {after: answer.next, ...times(found)} : {})});
        answer = await api(`/api/dead-letters/count?${query}`);
        found.count += answer.count;
        found.since = found.since ?? answer.since;
        found.until = found.until ?? answer.until;
        found.warning = found.warning ?? answer.warning;
        looked += answer.scanned;
        if (answer.next !== null) {
            words.textContent = `Counting: ${number(looked)} of ${number(answer.of)} letters looked at, ${number(found.count)} match. ` +
                "A route, a reason, a time, or one of the errors above makes them fewer. ";
            bar.max = answer.of || 1;
            bar.value = looked;
            if (!words.isConnected) {
                notice("counting", "info", words, bar, stopButton(() => {
                    isStopped = true;
                }));
            }
        }
    }
    withdraw("counting");
    return isStopped ? null : found;
}

function stopButton(onclick) {
    const button = make("button", {type: "button", class: "btn btn-sm btn-outline-secondary", onclick: () => {
        button.disabled = true;
        onclick();
    }}, "Stop");
    return button;
}

/** The moments that were counted: an age such as 2h means another one later on. */
function times({since, until}) {
    return {...(since === null ? {} : {since: String(since)}), until: String(until)};
}

/** Ask about the chosen letters, then change these and follow it to its end. */
export async function changeChosen(action, {chosen, whenBegun, whenDone}) {
    const ids = chosen.ids;
    const agreed = await confirmed(action, ids.length, chosen.inWords(ids));
    if (!agreed) {
        return;
    }
    const begun = await api(`/api/dead-letters/${action}`, {ids, ...agreed});
    const takeBack = chosen.handOver(ids);
    whenBegun();
    let end = null;
    try {
        end = await follow(begun, whenDone, ids.length);
    } finally {
        if (!end || end.refused || end.state !== "done") {
            await takeBack();
        }
    }
}

/** Count all letters of a filter, ask, then change them and follow it to its end. */
export async function changeAll(action, {filter, whenCounted, whenDone}) {
    byId("matching").textContent = "Counting…";
    const counted = await countAll(filter);
    whenCounted();
    if (!counted) {
        return;
    }
    if (!counted.count) {
        const {letters} = await api(`/api/dead-letters?${new URLSearchParams({...filter, limit: 1})}`);
        notice("bulk", "info", letters.length ? `What matches died after ${moment(counted.until)}, which is now, by a clock that was ahead: choose these letters themselves.`
            : "No dead letter matches any more.");
        return;
    }
    const agreed = await confirmed(action, counted.count, inWords(filter), counted.warning);
    if (agreed) {
        const wanted = {filter: {...filter, ...times(counted)}};
        await follow(await api(`/api/dead-letters/${action}`, {...wanted, ...agreed}), whenDone, counted.count);
    }
}

/** From so many letters on, some go first and the others wait for what becomes of them. */
const CANARY_FROM = 20;
const CANARIES = 10;

/** The fields of a replay: canary, rate and queue. */
function replayOptions(count) {
    const field = (label, attributes) => make("label", {}, label, make("input", {class: "form-control form-control-sm", type: "number", ...attributes}));
    const queues = [...byId("filter").elements.queue.options].map((option) => option.value).filter(Boolean);
    return make("div", {class: "replay-options"},
        field("First, as canaries", {id: "replay-canary", min: 0, max: 500, placeholder: "none",
            value: count >= CANARY_FROM ? CANARIES : null, title: "The others follow when these are done, and stay here when a fifth of them die again"}),
        field("At most, a second", {id: "replay-rate", min: 0.1, step: "any", placeholder: "all at once"}),
        make("label", {}, "To queue", make("select", {class: "form-select form-select-sm", id: "replay-queue"},
            make("option", {value: ""}, "their own"), ...queues.map((name) => make("option", {value: name}, name)))));
}

function readOptions(more) {
    // What is no number reads as an empty field, which would mean: no canary, all at once.
    for (const field of more.querySelectorAll("input")) {
        if (!field.validity.valid) {
            throw new ApiError(400, `Nothing was replayed. ${field.labels[0].textContent}: ${field.validationMessage}`);
        }
    }
    const [canary, rate, queue] = [...more.querySelectorAll("input, select")].map((element) => element.value);
    return {...(Number(canary) ? {canary: Number(canary)} : {}), ...(rate ? {rate: Number(rate)} : {}), ...(queue ? {to_queue: queue} : {})};
}

async function confirmed(action, count, scope, warning = null) {
    const verb = VERBS[action];
    const more = action === "replay" ? replayOptions(count) : null;
    const agreed = await confirmChange({
        title: `${verb.will} ${plural(count, "dead letter")}?`,
        text: action === "replay" ? replayText(count) : binWords(count),
        scope: warning && action === "replay" ? `${scope} — But ${warning}` : scope,
        go: `${verb.will} ${number(count)}`,
        isDangerous: action === "discard",
        count,
        forceText: action === "replay" ? FORCE : "",
        more,
    });
    return agreed && more ? {...agreed, ...readOptions(more)} : agreed;
}

/** Bring back what a discard has taken away. */
export async function undo(discard, whenDone) {
    return follow(await api("/api/dead-letters/undo", {discard}), whenDone);
}

/** A button that does; it is there until all is back. */
export function undoButton(discard, whenDone) {
    const button = make("button", {type: "button", class: "btn btn-sm btn-outline-secondary", "data-key": `undo ${discard}`, onclick: async () => {
        button.disabled = true;
        const end = await undo(discard, whenDone).catch((error) => {
            notice("error", "danger", error.message);
        });
        button.disabled = false;
        if (end?.state === "done") {
            button.remove();
        }
    }}, "Undo");
    return button;
}

export async function resume(id, whenDone) {
    await follow(await api("/api/dead-letters/replay", {resume: id}), whenDone);
}

/** @param agreed to how many letters the person has said yes, if somebody was asked. */
async function follow(begun, whenDone, agreed = 0) {
    const key = `operation-${begun.id}`;
    let progress = begun;
    const words = make("span", {});
    const bar = make("progress", {});
    const stop = stopButton(() => api(`/api/dead-letters/operations/${begun.id}/stop`, {}).catch(() => {
        // Said by the next question for its progress, if nobody answers.
        stop.disabled = false;
    }));
    notice(key, "info", words, bar, stop);
    while (progress.state === "running") {
        say(words, describe(progress));
        if (progress.total === null) {
            bar.removeAttribute("value");
        } else {
            bar.max = progress.total || 1;
            bar.value = progress.done + progress.gone + progress.refused;
        }
        await new Promise((resolve) => setTimeout(resolve, 400));
        try {
            progress = await api(`/api/dead-letters/operations/${begun.id}`);
        } catch (error) {
            // A Flower that was started anew knows of none; one that does not answer now goes on with it.
            if (error.status && error.status < 500) {
                withdraw(key);
                throw error;
            }
        }
    }
    showEnd(key, progress, whenDone, agreed);
    whenDone(progress);
    return progress;
}

/** Say how far a change is that is under way. */
export function describe(progress) {
    const verb = VERBS[progress.action];
    if (progress.total === null) {
        const done = progress.done ? `${number(progress.done)} so far; ` : "choosing the letters; ";
        return `${verb.doing}: ${done}${number(progress.looked_at)} looked at `;
    }
    return `${verb.doing}: ${number(progress.done + progress.gone + progress.refused)} of ${number(progress.total)}${progress.note ? `, ${progress.note}` : ""} `;
}

function showEnd(key, progress, whenDone, agreed) {
    const verb = VERBS[progress.action];
    const words = [`${verb.done} ${number(progress.done)}.`];
    if (progress.binned && progress.binned < progress.done) {
        words.push(`Only ${number(progress.binned)} of them can be brought back: the bin has no room for more.`);
    } else if (progress.action === "discard" && progress.done && !progress.binned) {
        words.push("There is no bin, so they are gone for good.");
    }
    // Some go between the question and the change, which finds only what is there: whoever agreed to more is told.
    const asked = progress.state === "done" ? agreed || progress.total || 0 : 0;
    const gone = Math.max(progress.gone, asked - progress.done - progress.refused);
    if (gone) {
        words.push(`${number(gone)} ${progress.action === "undo" ? "had left the bin" : "had gone"}: someone else was first.`);
    }
    if (progress.refused) {
        words.push(`${number(progress.refused)} ${progress.refused === 1 ? "stays" : "stay"} here` +
            (progress.refusals.length ? `: ${progress.refusals[0]}.` : "."));
    }
    if (progress.needs_force) {
        words.push(`To replay ${progress.needs_force === 1 ? "it" : "them"} all the same, choose “${FORCE}” when you are asked.`);
    }
    if (progress.warning) {
        words.push(`But ${progress.warning}`);
    }
    if (progress.error) {
        words.push(`Then it stopped: ${progress.error}`);
    }
    if (progress.state === "stopped") {
        words.push("The others are as they were.");
    }
    notice(key, progress.state === "failed" ? "danger" : gone || progress.refused || progress.warning || progress.state === "stopped" ? "warning" : progress.action === "replay" ? "info" : "success", words.join(" "),
        gone ? make("a", {href: address("/dead-letter-changes")}, " See who, and when") : null,
        progress.binned ? undoButton(progress.id, whenDone) : null,
        progress.frozen_id && progress.done ? make("a", {href: address(`/dead-letters/replays/${progress.frozen_id}`)}, " See what becomes of them") : null);
}
