// Asks before something is changed. Enter alone never changes anything: the keyboard begins at Cancel.

import {byId, number, say} from "./common.js";

/** From so many letters on, the person types how many. */
const TYPED_FROM = 100;

/** Whether what is discarded can be brought back; as this Flower is configured. */
export function binWords(count) {
    const {binHours, binLetters} = byId("confirmation").dataset;
    const they = count === 1 ? "It goes" : "They go";
    if (binHours === "0") {
        return `${they} for good: there is no bin.`;
    }
    const beyond = count > Number(binLetters) ? ` The bin holds ${number(Number(binLetters))}; the others go for good.` : "";
    return `${they} into the bin, from which ${count === 1 ? "it" : "they"} can be brought back for a while.${beyond}`;
}

/** What was typed, without marks, and in these digits: a keyboard may write those of another script. */
function plain(typed) {
    return typed.replace(/[^\p{L}\p{N}]/gu, "").replace(/\p{Nd}/gu, (digit) => {
        // Unicode has the digits of each script in a row, from its zero on.
        let zero = digit.codePointAt(0);
        while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) {
            zero -= 1;
        }
        return (digit.codePointAt(0) - zero) % 10;
    });
}

let isAsking = false;

/**
 * @param more an element between the text and the buttons, which the caller reads afterwards.
 * @param count how many letters it is about, if it is about letters.
 * @returns a promise of null, or of {force} when the person agreed. One question at a time: a second one is answered by null.
 */
export function confirmChange({title, text, scope, go, isDangerous, forceText, count, more}) {
    if (isAsking) {
        return Promise.resolve(null);
    }
    isAsking = true;
    const element = byId("confirmation");
    const modal = bootstrap.Modal.getOrCreateInstance(element);
    const [button, cancel, force, typed] = ["go", "cancel", "force", "typed"].map((name) => byId(`confirmation-${name}`));
    const mustType = count >= TYPED_FROM;
    const before = document.activeElement;
    say(byId("confirmation-title"), title);
    say(byId("confirmation-text"), text);
    say(byId("confirmation-scope"), scope || "");
    byId("confirmation-scope").classList.toggle("d-none", !scope);
    byId("confirmation-more").replaceChildren(...(more ? [more] : []));
    byId("confirmation-force-row").classList.toggle("d-none", !forceText);
    byId("confirmation-force-text").textContent = forceText || "";
    force.checked = false;
    byId("confirmation-typed-row").classList.toggle("d-none", !mustType);
    byId("confirmation-typed-text").textContent = mustType ? `Type ${number(count)} to confirm` : "";
    typed.value = "";
    button.textContent = go;
    button.disabled = mustType;
    button.className = `btn ${isDangerous ? "btn-danger" : "btn-primary"}`;
    typed.oninput = () => {
        button.disabled = mustType && plain(typed.value) !== String(count);
    };
    return new Promise((resolve) => {
        let answer = null;
        const agree = (event) => {
            // The second half of a double click was meant for what was here before the question.
            if (event.detail > 1) {
                return;
            }
            answer = {force: force.checked};
            modal.hide();
        };
        button.addEventListener("click", agree);
        element.addEventListener("shown.bs.modal", () => (mustType ? typed : cancel).focus(), {once: true});
        element.addEventListener("hidden.bs.modal", () => {
            button.removeEventListener("click", agree);
            // The table may have been filled anew meanwhile, and its buttons with it.
            const again = before.isConnected ? before : before.id ? byId(before.id)
                : [...document.querySelectorAll("[data-key]")].find((other) => other.dataset.key === before.dataset.key);
            again?.focus();
            isAsking = false;
            resolve(answer);
        }, {once: true});
        modal.show();
    });
}
