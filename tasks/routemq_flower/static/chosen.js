// The letters that a person has ticked. They stay chosen, on whatever page and under whatever filter, until that person
// or the change that they were chosen for says otherwise; a reload of the page keeps them too.

import {api, remember, remembered} from "./common.js";

const KEY = `chosen ${location.pathname}`;

function saved() {
    try {
        return JSON.parse(remembered(KEY, {ofTab: true})) || [];
    } catch (error) {
        return [];
    }
}

export class Chosen {
    constructor() {
        this.topics = new Map(saved());
        this.gone = new Set();
    }

    get size() {
        return this.topics.size;
    }

    has(id) {
        return this.topics.has(id);
    }

    /** The ids of those that are still there, as far as is known. */
    get ids() {
        return [...this.topics.keys()].filter((id) => !this.gone.has(id));
    }

    choose(letters, isChosen) {
        for (const {id, topic} of letters) {
            if (isChosen) {
                this.topics.set(id, (topic || "").slice(0, 80));
            } else {
                this.topics.delete(id);
                this.gone.delete(id);
            }
        }
        this.save();
    }

    clear() {
        this.topics.clear();
        this.gone.clear();
        this.save();
    }

    /** Take out what is handed over to a change; returns a function that takes back what the change has left there. */
    handOver(ids) {
        const topics = ids.map((id) => ({id, topic: this.topics.get(id)}));
        this.choose(topics, false);
        return async () => {
            // Where nobody can tell now, `look` says later which are gone.
            const gone = await api("/api/dead-letters/gone", {ids}).then((found) => found.gone, () => []);
            this.choose(topics.filter(({id}) => !gone.includes(id)), true);
        };
    }

    /** Ask which of them are there no more. */
    async look() {
        const asked = this.size ? (await api("/api/dead-letters/gone", {ids: [...this.topics.keys()]})).gone : [];
        this.gone = new Set(asked.filter((id) => this.has(id)));
    }

    /** A few words for the question whether they are meant. */
    inWords(ids) {
        const named = ids.slice(0, 5).map((id) => this.topics.get(id) || "(no topic)");
        const more = ids.length - named.length;
        return `Those that you chose: ${named.join(" · ")}${more ? ` and ${more} more` : ""}`;
    }

    save() {
        remember(KEY, JSON.stringify([...this.topics]), {ofTab: true});
    }
}
