"""Every queue name and every Redis key, in one place, however long: nobody has to look for one anywhere else."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from routemq.errors import EmptyQueueNameError, UnknownQueueError

FALLBACK_QUEUE = "routemq"
"""The queue of a route whose topic has no literal level."""

_TAKEN = re.compile(r"unacked(_index|_mutex)?|routemq:.*|_kombu\..*", re.DOTALL)
"""What is a Redis key of another kind already."""

_UNSAFE = re.compile(r"[\s,*\x00-\x1f\x7f]")


_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What kombu puts behind a queue's name for the steps of a message's priority; routes have none."""


def lists_of(queue: str) -> tuple[str, ...]:
    """Return the names of the lists that a queue is made of."""
    return tuple(queue + suffix for suffix in _PRIORITIES)


def default_queue(literal_levels: Iterable[str]) -> str:
    """Return `sensors.data` for the literal levels of `sensors/{device_id}/data`.

    Commas, white space and control characters, which a worker's `-Q` list cannot carry, become `_`.
    """
    return ".".join(_UNSAFE.sub("_", level) for level in literal_levels if level) or FALLBACK_QUEUE


def queue_problem(name: str) -> str | None:
    """Return why a queue cannot have this name, or None when it can."""
    if not name:
        return "a queue name cannot be empty"
    if _UNSAFE.search(name):
        return f"the queue name {name!r} holds a comma, an asterisk, white space or a control character"
    if _TAKEN.fullmatch(name):
        return f"the queue name {name!r} is that of another Redis key"
    return None


def expand_queues(requested: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the queues that `-Q` names stand for: each name itself and everything under it.

    `sensors` stands for `sensors`, `sensors.data`, `sensors.raw.data`; not for `sensors2`.

    Raises:
        EmptyQueueNameError: A name is empty, which a command would take for every queue.
        UnknownQueueError: A name stands for nothing; the error lists the queues there are.
    """
    wanted = [name.strip() for name in requested]
    if not all(wanted):
        raise EmptyQueueNameError(known=sorted(known))
    chosen: dict[str, None] = {}
    unknown: list[str] = []
    for name in wanted:
        matches = [queue for queue in sorted(known) if queue == name or queue.startswith(name + ".")]
        chosen.update(dict.fromkeys(matches))
        if not matches:
            unknown.append(name)
    if unknown:
        raise UnknownQueueError(unknown=unknown, known=sorted(known))
    return list(chosen)


SEPARATOR = "\x06\x16"
"""Kombu's, between a queue's name and a priority."""


def prioritised(queue: str, priority: int) -> str:
    """Return the name of kombu's list for what is in a queue with a priority."""
    return f"{queue}{SEPARATOR}{priority}" if priority else queue


@dataclass(frozen=True, slots=True)
class Keys:
    """Every Redis key, under one prefix: what it is called, what type it has, what is in it.

    A method without its argument, as in `counters("")`, gives what such keys begin with.

    Attributes:
        prefix: Put before every key, kombu's included (its `global_keyprefix`); empty by default.
        unacked_name: kombu's option `unacked_key`; likewise the next two.
    """

    prefix: str = ""
    unacked_name: str = "unacked"
    unacked_index_name: str = "unacked_index"
    separator: str = SEPARATOR

    def queue(self, queue: str) -> str:
        """List of waiting messages; LPUSH adds at the back, the front is at its right end (kombu's layout)."""
        return f"{self.prefix}{queue}"

    def delayed(self, queue: str) -> str:
        """Sorted set: what waits for its time before it goes to this list; score: when it is due, Unix seconds."""
        return f"{self.prefix}routemq:delayed:{queue}"

    @property
    def unacked(self) -> str:
        """Kombu's hash: delivery tag → `[message, exchange, routing key]` of what a worker holds."""
        return f"{self.prefix}{self.unacked_name}"

    @property
    def unacked_index(self) -> str:
        """Kombu's sorted set: delivery tag → time of delivery or of the last renewal, Unix seconds."""
        return f"{self.prefix}{self.unacked_index_name}"

    @property
    def started(self) -> str:
        """Sorted set: delivery tag of what has started → when that was marked, Unix seconds."""
        return f"{self.prefix}routemq:started"

    @property
    def held(self) -> list[str]:
        """All three of what workers hold."""
        return [self.unacked, self.unacked_index, self.started]

    def lease(self, group: str) -> str:
        """String: which ingest process holds the non-shared routes of a group; expires by itself."""
        return f"{self.prefix}routemq:lease:{group}"

    def ingest_group(self, group: str) -> str:
        """Hash: the ingest processes of a group → what each wishes of it, and until when it counts."""
        return f"{self.prefix}routemq:group:{group}"

    def plain_holder(self, group: str) -> str:
        """String: which ingest process is subscribed to the shared routes without `$share`; expires by itself."""
        return f"{self.prefix}routemq:plain:{group}"

    def client_ids(self, group: str) -> str:
        """Hash: number at the end of an MQTT client id (`MQTT_CLIENT_ID=auto`) → which ingest process has it."""
        return f"{self.prefix}routemq:client-ids:{group}"

    def subscriptions(self, client_id: str) -> str:
        """Set: the topic filters in an ingest process's MQTT session, so that a removed route's is left behind."""
        return f"{self.prefix}routemq:subscriptions:{client_id}"

    @property
    def processes(self) -> str:
        """Hash: `<kind>:<name>` of an ingest process or a worker → its latest report, as JSON."""
        return f"{self.prefix}routemq:processes"

    def last_batch(self, client_id: str) -> str:
        """String: the last batch that an ingest process queued, so that one sent twice is queued once; expires."""
        return f"{self.prefix}routemq:last-batch:{client_id}"

    @property
    def doctor_drops(self) -> str:
        """Hash: MQTT broker → how many messages of the doctor's own it has dropped, and counted."""
        return f"{self.prefix}routemq:doctor:drops"

    @property
    def alerts(self) -> str:
        """Hash: condition that was told and is not over → `[since, text]`, as JSON."""
        return f"{self.prefix}routemq:alerts"

    @property
    def alerts_lock(self) -> str:
        """String: which process looks for conditions right now; expires by itself."""
        return f"{self.prefix}routemq:alerts-lock"

    @property
    def paused_routes(self) -> str:
        """Hash: route that is taken in and not run → since when, and who wants it, as JSON."""
        return f"{self.prefix}routemq:paused"

    @property
    def counted_routes(self) -> str:
        """Set of the routes that have counters."""
        return f"{self.prefix}routemq:counted-routes"

    def counters(self, route: str) -> str:
        """Hash of a route's totals: received, done, retried, dead, replayed."""
        return f"{self.prefix}routemq:counters:{route}"

    def history(self, grain: str, number: int, route: str) -> str:
        """String: what a route did in each minute of an hour, or each hour of a day, of this number; expires."""
        return f"{self.prefix}routemq:history:{grain}:{number}:{route}"

    def history_looked(self, day: int) -> str:
        """String: a bit for each minute of a day in which somebody looked at the totals for the history; expires."""
        return f"{self.prefix}routemq:history:looked:{day}"

    @property
    def history_routes(self) -> str:
        """Sorted set: routes of which a history is kept, by when something was written of each; expires."""
        return f"{self.prefix}routemq:history:routes"

    @property
    def history_looks(self) -> str:
        """Hash: when the totals were looked at for the history, and what those of each route were."""
        return f"{self.prefix}routemq:history:looks"

    @property
    def letters(self) -> list[str]:
        """The keys of every script that changes dead letters, in the order of `letters.lua`."""
        return [
            *(
                self.dead_entries,
                self.dead_raw,
                self.dead_by_time(""),
                self._dead("by-reason:"),
                self._dead("by-error:"),
            ),
            *(self.dead_counters(""), self.dead_routes, self.dead_tracebacks, self._dead("traceback-uses")),
            *(self.dead_full_routes, self.dead_audit, self.counters(""), self.counted_routes),
        ]

    @property
    def dead_routes(self) -> str:
        """Set of the routes that have, or had, dead letters."""
        return self._dead("routes")

    @property
    def dead_entries(self) -> str:
        """Hash: dead letter id → its description as JSON."""
        return self._dead("entries")

    @property
    def dead_raw(self) -> str:
        """Hash: dead letter id → the message byte for byte, as it lay on its queue."""
        return self._dead("raw")

    @property
    def dead_tracebacks(self) -> str:
        """Hash: digest → traceback, kept once for all letters that share it; `traceback-uses` counts them."""
        return self._dead("tracebacks")

    def dead_by_time(self, route: str) -> str:
        """Sorted set: dead letter id by time of death, Unix seconds."""
        return self._dead(f"by-time:{route}")

    def dead_by_reason(self, route: str, reason: str) -> str:
        """Sorted set: dead letter ids of one reason by time of death."""
        return self._dead(f"by-reason:{reason}:{route}")

    def dead_by_error(self, route: str, fingerprint: str) -> str:
        """Sorted set: dead letter ids of one error fingerprint by time of death."""
        return self._dead(f"by-error:{fingerprint}:{route}")

    def dead_counters(self, route: str) -> str:
        """Hash of a route: buried, replayed, discarded; what is there by `reason:…`, `error:…`, `queue:…`; limit."""
        return self._dead(f"counters:{route}")

    @property
    def dead_full_routes(self) -> str:
        """Hash: route that has as many dead letters as it may → its queue; such a route is not consumed."""
        return self._dead("full-routes")

    @property
    def dead_audit(self) -> str:
        """Capped stream: every change that a person made to the dead letters."""
        return self._dead("audit")

    @property
    def dead_bins(self) -> str:
        """Sorted set: discards that have letters in the bin, by the time of their last step."""
        return self._dead("bins")

    def dead_bin(self, operation: str) -> str:
        """Hash: who discarded letters, when, how many; `letter:<id>` → all of each; expires."""
        return self._dead(f"bin:{operation}")

    @property
    def dead_bin_room(self) -> str:
        """Hash: letters and bytes in the bin, of all discards and of each."""
        return self._dead("bin-room")

    @property
    def dead_frozen_all(self) -> str:
        """Sorted set: unfinished replays of many letters by the time they began."""
        return self._dead("replays")

    def dead_frozen(self, replay_id: str) -> str:
        """Hash: who began a replay of many letters, how, and how far it is; expires a week later."""
        return self._dead(f"replay:{replay_id}")

    def dead_frozen_ids(self, replay_id: str) -> str:
        """List: the letters that a replay has not come to, the next one first; expires."""
        return self._dead(f"replay-ids:{replay_id}")

    def dead_frozen_sent(self, replay_id: str) -> str:
        """Set: letters of a replay of whose messages it is not known what became of them; expires."""
        return self._dead(f"replay-sent:{replay_id}")

    def dead_frozen_died(self, replay_id: str) -> str:
        """Set: the letters that messages of a replay became that died again; expires."""
        return self._dead(f"replay-died:{replay_id}")

    def dead_import(self, file_digest: str) -> str:
        """String: lines of a file that were imported when the import was broken off; expires."""
        return self._dead(f"import:{file_digest}")

    @property
    def dead_canaries(self) -> str:
        """Hash: `<task id>.<generation>` of a replayed message of which nothing is known → who replayed it; expires.

        Who replays writes it, before it replays; `acknowledge.lua` and `bury.lua` move it to what is known.
        """
        return self._dead("canaries")

    @property
    def dead_outcomes(self) -> str:
        """Hash: `<task id>.<generation>` of a replayed message → `done` or `died`, when, who replayed it; expires."""
        return self._dead("outcomes")

    @property
    def dead_archive_problem(self) -> str:
        """String: why letters that are due could not be archived; expires by itself."""
        return self._dead("archive-problem")

    @property
    def dead_retention_lock(self) -> str:
        """String: which process archives dead letters right now; expires."""
        return self._dead("retention-lock")

    def _dead(self, name: str) -> str:
        return f"{self.prefix}routemq:dlq:{name}"
