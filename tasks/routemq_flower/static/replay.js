// The page of one replay: who, what and how, and what has become of the messages.

import {
    address, ageElement, api, byId, keepLive, keepNotices, make, moment, notice, number, plural, refill, setServerTime, shortName, updateAges,
} from "./common.js";
import {resume} from "./bulk.js";

const page = byId("replay-page");
const id = page.dataset.replayId;
const mayChange = page.dataset.mayChange === "true";
const LIVE_MS = 2000;

function facts(replay) {
    return [
        ["Who", replay.who],
        ["Began", moment(replay.started_at), " · ", ageElement(replay.started_at)],
        ["Letters", replay.detail],
        ["How many", number(replay.total)],
        ["Canary", replay.canary ? plural(replay.canary, "letter") : "none"],
        ["Rate", replay.rate === null ? "as fast as it goes" : `${replay.rate} a second`],
        ["Queue", replay.to_queue || "their own"],
        ["State", state(replay)],
        ...(replay.gone ? [["Had gone", `${number(replay.gone)}, someone else was first`]] : []),
        ...(replay.refused ? [["Stayed", `${number(replay.refused)}; the page of each says why`]] : []),
    ];
}

function state(replay) {
    if (replay.ended_at !== null) {
        return `complete since ${moment(replay.ended_at)}`;
    }
    const left = `${number(replay.remaining)} of ${plural(replay.total, "letter")} left`;
    return replay.is_running ? `running, ${left}${replay.note ? `; ${replay.note}` : ""}` : `not complete, ${left}`;
}

function letterRow(letter) {
    return make("tr", {},
        make("td", {class: "topic-cell"}, make("a", {href: address(`/dead-letters/${encodeURIComponent(letter.id)}`)},
            letter.topic || "(no topic)"), make("small", {class: "muted"}, letter.route)),
        make("td", {class: "error-column"}, make("strong", {}, shortName(letter.exception)), make("small", {class: "error-text"}, letter.message)));
}

async function load() {
    const replay = await api(`/api/dead-letters/replays/${id}`);
    setServerTime(replay.now);
    for (const name of ["replayed", "done", "waiting", "retrying", "died"]) {
        byId(name).textContent = number(replay[name]);
    }
    const isPart = replay.replayed > replay.watched;
    byId("watched-note").classList.toggle("d-none", !isPart);
    byId("watched-note").textContent = `What becomes of them is known of ${number(replay.watched)}: a replay is watched as far as its first ` +
        `${number(replay.most_watched)}.`;
    const signature = JSON.stringify({...replay, now: null});
    refill(byId("facts"), signature, () => facts(replay).map(([name, ...value]) =>
        make("div", {class: "detail-row"}, make("dt", {}, name), make("dd", {}, ...value))));
    byId("letters-card").classList.toggle("d-none", !replay.letters.length);
    refill(byId("letters"), JSON.stringify(replay.letters), () => replay.letters.map(letterRow));
    byId("letters-note").textContent = replay.died > replay.letters.length ? `${number(replay.letters.length)} of ${number(replay.died)} are shown or still there` : "";
    const isLeft = replay.ended_at === null && !replay.is_running;
    keepNotices("left", isLeft ? {left: ["warning", `${replay.note ? `It stopped: ${replay.note}. ` : "It was broken off. "}` +
        `${plural(replay.remaining, "letter")} ${replay.remaining === 1 ? "is" : "are"} as before. `, mayChange ? make("button", {
        type: "button", class: "btn btn-sm btn-primary", onclick: () => resume(id, refresh).catch((error) => notice("error", "danger", error.message)),
    }, "Continue") : ""]} : {});
    updateAges();
    return signature;
}

const refresh = keepLive(load, LIVE_MS);
