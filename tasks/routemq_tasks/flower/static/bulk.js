// Replay or discard many letters: ask, begin, show how far it is.

import {api, byId, confirmChange, make, notice, number, plural} from "./common.js";

const VERBS = {
    replay: {will: "Replay", doing: "Replaying", done: "Replayed"},
    discard: {will: "Discard", doing: "Discarding", done: "Discarded"},
};

const TEXTS = {
    replay: "They go back to their queues, the oldest first, and run again with fresh attempts. What dies from now on is not caught.",
    discard: "They are taken away for good. To keep a copy, use “routemq dlq export” first.",
};

const FORCE = "Also those that died again after three replays, or whose redacted values were not kept";

function inWords(filter) {
    const parts = Object.entries(filter).map(([name, value]) => `${name} ${value}`);
    return parts.length ? parts.join(" · ") : "All dead letters of all routes: there is no filter.";
}

/** Ask about the chosen letters, or else all of a filter, then do it and follow it to its end. */
export async function changeMany(action, {ids, filter, isIndexed, whenCounted, whenDone}) {
    const verb = VERBS[action];
    let wanted;
    let count;
    if (ids.length) {
        wanted = {ids};
        count = ids.length;
    } else {
        byId("matching").textContent = isIndexed ? "Counting…" : "Counting: this reads every letter…";
        const counted = await api("/api/dead-letters/count?" + new URLSearchParams(filter));
        whenCounted();
        count = counted.count;
        wanted = {filter: {...filter, until: String(counted.until)}};
        if (!count) {
            notice("bulk", "info", "No dead letter matches any more.");
            return;
        }
    }
    const agreed = await confirmChange({
        title: `${verb.will} ${plural(count, "dead letter")}?`,
        text: count === 1 ? TEXTS[action].replace("They go back to their queues, the oldest first, and run", "It goes back to its queue and runs")
            .replace("They are", "It is") : TEXTS[action],
        scope: ids.length ? "Those that you chose on this page." : inWords(filter),
        go: `${verb.will} ${number(count)}`,
        isDangerous: action === "discard",
        forceText: action === "replay" ? FORCE : "",
    });
    if (agreed) {
        await follow(await api(`/api/dead-letters/${action}`, {...wanted, force: agreed.force}), whenDone);
    }
}

export async function resume(id, whenDone) {
    await follow(await api("/api/dead-letters/replay", {resume: id}), whenDone);
}

async function follow(begun, whenDone) {
    const key = `operation-${begun.id}`;
    let progress = begun;
    while (progress.state === "running") {
        show(key, progress);
        await new Promise((resolve) => setTimeout(resolve, 400));
        progress = await api(`/api/dead-letters/operations/${begun.id}`);
    }
    show(key, progress);
    whenDone();
}

/** Say how far a change is that is under way. */
export function describe(progress) {
    const verb = VERBS[progress.action];
    return progress.total === null ? `${verb.doing}: choosing the letters… `
        : `${verb.doing}: ${number(progress.done + progress.gone + progress.refused)} of ${number(progress.total)} `;
}

function show(key, progress) {
    const verb = VERBS[progress.action];
    const past = progress.done + progress.gone + progress.refused;
    if (progress.state === "running") {
        const bar = make("progress", {max: progress.total || 1});
        bar.value = progress.total ? past : 0;
        notice(key, "info", describe(progress), bar);
        return;
    }
    const words = [`${verb.done} ${number(progress.done)}.`];
    if (progress.gone) {
        words.push(`${number(progress.gone)} had gone: someone else was first.`);
    }
    if (progress.refused) {
        words.push(`${number(progress.refused)} ${progress.refused === 1 ? "stays" : "stay"} here` +
            (progress.refusals.length ? `: ${progress.refusals[0]}.` : "."));
    }
    if (progress.needs_force) {
        words.push(`To replay ${progress.needs_force === 1 ? "it" : "them"} all the same, choose “${FORCE}” when you are asked.`);
    }
    if (progress.error) {
        words.push(`Then it stopped: ${progress.error}`);
    }
    notice(key, progress.error ? "danger" : progress.refused ? "warning" : "success", words.join(" "));
}
