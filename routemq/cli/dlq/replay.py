"""`dlq replay`."""

import dataclasses
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from routemq.cli.dlq.edit import edited_payload
from routemq.cli.dlq.frame import actor, nothing_matches, open_store, say
from routemq.cli.dlq.options import Rate, as_options, filter_options, wanted
from routemq.cli.dlq.rendering import age
from routemq.cli.dlq.run_replay import run_replay
from routemq.cli.dlq.searching import Found, matching, search
from routemq.cli.explain import explains_errors
from routemq.dead_letters import DeadLetter, DeadLetters, FrozenReplay, LetterFilter, ReplayOptions, ReplayResult
from routemq.dead_letters.replaying import CANARY_WAIT_S, ReplayPace
from routemq.dead_letters.strange_routes import StrangeRoutes, one_of_each_route
from routemq.dead_letters.times import moment
from routemq.discovery import load_router
from routemq.errors import DeadLetterNotFoundError, RouteMQError, UnknownQueueError
from routemq.settings import load_settings
from routemq.text import plural, printable

SHOWN = 5
"""Letters of a preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks for, besides which letters."""

    options: ReplayOptions
    pace: ReplayPace
    yes: bool

    @property
    def as_options(self) -> str:
        """How all of it but `yes` is typed, with a space before it."""
        queue = self.options.to_queue
        parts = ["" if queue is None else f"--to-queue {shlex.quote(queue)}", "--force" if self.options.force else ""]
        return "".join(f" {part}" for part in (*self.pace.as_options, *parts) if part)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID…]")
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--yes", is_flag=True, help="Do it: without it a filter that matches several letters only shows them.")
@click.option("--rate", type=Rate(), help="At most so many: 200/s, 30/min.")
@click.option("--canary", type=click.IntRange(1), metavar="N", help="First N, and stop if a fifth of them die again.")
@click.option("--canary-wait", type=click.IntRange(1), default=CANARY_WAIT_S, show_default=True,
              help="Seconds to wait for them.")  # fmt: skip
@click.option("--to-queue", help="Put them on this queue instead of their own.")
@click.option("--edit", is_flag=True, help="Edit the payload of one letter in $EDITOR first.")
@click.option("--force", is_flag=True, help="Also what was replayed three times, and a queue that no route uses.")
@click.option("--resume", metavar="REPLAY", help="Go on with a replay that was stopped; `list` shows those there are.")
@explains_errors
def replay(
    *, ids: Sequence[str], everything: bool, yes: bool, rate: float | None, canary: int | None, canary_wait: int,
    to_queue: str | None, edit: bool, force: bool, resume: str | None, **filters: Any,
) -> None:  # fmt: skip
    """Put dead letters back on their queues: by id, by filter, or all.

    The set is frozen when the replay starts, so what dies again is not caught in a loop. The oldest go first. Each
    letter is replayed once, whoever else replays it at the same time. A replay that is stopped, even by SIGKILL, goes
    on with --resume.
    """
    store = open_store()
    chosen = wanted(filters, now=store.now())
    _check_usage(ids, chosen, everything=everything, edit=edit, resume=resume)
    if to_queue is not None and not force:
        _check_queue(to_queue)
    request = Request(
        options=ReplayOptions(to_queue=to_queue, force=force),
        pace=ReplayPace(
            rate=rate,
            canary=canary or 0,
            canary_wait_s=canary_wait,
            trusts_absence=load_settings().transport == "stock",
        ),
        yes=yes,
    )
    if resume == "list":
        _list_replays(store)
    elif resume is not None:
        begun = store.unfinished_replay(resume)
        # From here on it is this person's.
        begun = dataclasses.replace(begun, operation=dataclasses.replace(begun.operation, actor=actor()))
        _finish(run_replay(store, begun, _going_on(store, begun, request.pace)))
    elif edit:
        payload = edited_payload(store.get(ids[0]), load_settings())
        if payload is None:
            say("Nothing was changed, nothing was replayed.")
            return
        _replay_ids(store, ids, request, edits={ids[0]: payload})
    elif ids:
        _replay_ids(store, ids, request)
    else:
        _replay_filter(store, chosen, request)


def _going_on(store: DeadLetters, begun: FrozenReplay, asked: ReplayPace) -> ReplayPace:
    """Return how a replay goes on: as it was begun, but for what is asked for now."""
    if asked.canary:
        store.frozen.ask_anew(begun.id)
    return dataclasses.replace(asked, canary=asked.canary or begun.pace.canary, rate=asked.rate or begun.pace.rate)


def _check_usage(ids: Sequence[str], chosen: LetterFilter, *, everything: bool, edit: bool, resume: str | None) -> None:
    ways = [bool(ids), not chosen.is_empty, everything, resume is not None]
    if sum(ways) != 1:
        raise click.UsageError("Say which letters: ids, or filters, or --all, or --resume; one of these.")
    if edit and len(ids) != 1:
        raise click.UsageError("--edit takes exactly one id.")


def _check_queue(name: str) -> None:
    queues = load_router(load_settings().routers).queues
    if name not in queues:
        raise UnknownQueueError(unknown=[name], known=sorted(queues))


def _replay_ids(
    store: DeadLetters, ids: Sequence[str], request: Request, *, edits: dict[str, bytes] | None = None
) -> None:
    known = (store.get(letter_id).letter for letter_id in ids if store.is_there(letter_id))
    _warn_of_strange_routes(known, to_queue=request.options.to_queue)
    if request.pace.is_unhurried and edits is None:
        there = [letter_id for letter_id in ids if store.is_there(letter_id)]
        for letter_id in set(ids) - set(there):
            say(str(DeadLetterNotFoundError(letter_id=letter_id)))
        if there:
            frozen = store.freeze(there, actor=actor(), options=request.options, pace=request.pace)
            _finish(run_replay(store, frozen, request.pace), complete=len(there) == len(set(ids)))
        sys.exit(1)
    result = store.replay(
        ids, actor=actor(), edits=edits, to_queue=request.options.to_queue, force=request.options.force
    )
    _report(result)


def _report(result: ReplayResult) -> None:
    if result.replayed:
        count = len(result.replayed)
        queues = ", ".join(sorted(result.queues))
        click.echo(
            f"Replayed {plural(count, 'letter')} to the {'queue' if len(result.queues) == 1 else 'queues'} {queues}."
        )
    for letter_id in result.gone:
        say(str(DeadLetterNotFoundError(letter_id=letter_id)))
    for refusal in result.refused.values():
        say(str(refusal))
    sys.exit(1 if result.gone or result.refused else 0)


def _replay_filter(store: DeadLetters, chosen: LetterFilter, request: Request) -> None:
    if not request.yes:
        found = search(store, chosen, shown=SHOWN)
        if not found.count:
            nothing_matches(store, chosen)
        if found.count > 1:
            preview(store, found, "replayed")
            examples = one_of_each_route(store, chosen) if chosen.is_indexed else found.first
            _warn_of_strange_routes(examples, to_queue=request.options.to_queue)
            told = request.as_options
            say(f"Nothing was done. Do it: routemq dlq replay {as_options(chosen) or '--all'}{told} --yes")
            if not request.pace.is_unhurried:
                say("(--canary 10 tries ten of them first, --rate 200/s takes it slowly)")
            return
    seen: dict[str, DeadLetter] = {}
    if chosen.is_indexed:
        seen = {letter.route: letter for letter in one_of_each_route(store, chosen)}

    def matching_ids() -> Iterator[str]:
        for letter in matching(store, chosen):
            seen.setdefault(letter.route, letter)
            yield letter.id

    frozen = (
        store.freeze(chosen, actor=actor(), options=request.options, pace=request.pace)
        if chosen.is_indexed
        else store.freeze(matching_ids(), actor=actor(), options=request.options, pace=request.pace, detail=str(chosen))
    )
    if not frozen.total:
        store.give_up(frozen)
        nothing_matches(store, chosen)
    _warn_of_strange_routes(seen.values(), to_queue=request.options.to_queue)
    _finish(run_replay(store, frozen, request.pace))


def preview(store: DeadLetters, found: Found, what: str) -> None:
    """Show what a command would do to the letters of a filter."""
    now = store.now()
    click.echo(f"{plural(found.count, 'letter')} would be {what}, the oldest first:")
    for letter in found.first:
        topic = printable(letter.topic or letter.route or letter.id)
        click.echo(f"  {age(now - letter.died_at):>6}  {letter.reason:<10}  {topic}  {printable(letter.error)[:60]}")
    if found.count > len(found.first):
        click.echo(f"  … and {found.count - len(found.first):,} more")


def _warn_of_strange_routes(letters: Iterable[DeadLetter], *, to_queue: str | None) -> None:
    settings = load_settings()
    try:
        router = load_router(settings.routers)
    except RouteMQError:
        # There is no application here.
        return
    known = StrangeRoutes(router=router, wait_s=settings.unknown_route_wait_s)
    if warning := known.warning(letters, to_queue=to_queue):
        say(f"Warning: {warning}")


def _list_replays(store: DeadLetters) -> None:
    replays = store.unfinished_replays()
    if not replays:
        say("No replay is unfinished.")
    for found in replays:
        click.echo(
            f"{found.id}  {moment(found.started_at)}  {printable(found.operation.actor)}  "
            f"{found.total - found.remaining:,} of {found.total:,} done  {printable(found.operation.detail)}"
        )


def _finish(ended: FrozenReplay, *, complete: bool = True) -> None:
    click.echo(f"Replayed {ended.replayed:,} of {plural(ended.total, 'letter')}.")
    if ended.gone:
        say(f"{plural(ended.gone, 'was', 'were')} not there any more: replayed or discarded by someone else.")
    if ended.refused:
        stay = plural(ended.refused, "stays where it is", "stay where they are")
        say(f"{stay}; `routemq dlq replay ID` says why of each.")
    sys.exit(0 if complete and not ended.refused else 1)
