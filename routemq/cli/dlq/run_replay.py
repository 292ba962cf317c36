"""Run a replay of many letters, at its pace, so that it can be stopped at any moment."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from routemq.cli.dlq.frame import CANARIES_DIED, INTERRUPTED, say
from routemq.dead_letters import DeadLetters, FrozenReplay, ReplayResult
from routemq.dead_letters.canary import Canary
from routemq.dead_letters.replaying import ReplayPace
from routemq.text import plural

_MOST_AT_ONCE = 500
_CANARY_POLL_S = 0.5
_LONGEST_WAIT_S = 2.0


def run_replay(store: DeadLetters, frozen: FrozenReplay, pace: ReplayPace) -> FrozenReplay:
    """Replay what is left of a frozen set and return how it ended; Ctrl-C and bad canaries end the process."""
    try:
        with _progress(frozen, pace) as progress:
            return _run(store, frozen, pace, progress)
    except KeyboardInterrupt:
        # The answer to what was asked last may be half read.
        store.client.connection_pool.disconnect()
        _say_how_to_go_on(store, frozen, pace, "Stopped")
        sys.exit(INTERRUPTED)


def _run(store: DeadLetters, frozen: FrozenReplay, pace: ReplayPace, progress: "_ProgressBar") -> FrozenReplay:
    if pace.canary:
        sent = store.replay_canaries(frozen, limit=min(pace.canary, _MOST_AT_ONCE))
        if sent is not None:
            first, canary = sent
            frozen = _added(frozen, first, progress)
            try:
                _wait_for_canaries(store, frozen, canary, pace)
            except KeyboardInterrupt:
                # Who stops it, and lets it go on, decides by what is there to be seen.
                store.client.connection_pool.disconnect()
                store.canaries_judged(frozen)
                raise
    while (result := store.replay_step(frozen, limit=pace.step(_MOST_AT_ONCE), pace=pace)) is not None:
        frozen = _added(frozen, result, progress)
        # Somebody else may end it meanwhile.
        time.sleep(min(result.wait_s, _LONGEST_WAIT_S))
    return frozen


def _added(frozen: FrozenReplay, result: ReplayResult, progress: "_ProgressBar") -> FrozenReplay:
    done = len(result.replayed) + len(result.gone) + len(result.refused)
    progress.advance(done)
    return replace(
        frozen,
        remaining=frozen.remaining - done,
        replayed=frozen.replayed + len(result.replayed),
        gone=frozen.gone + len(result.gone),
        refused=frozen.refused + len(result.refused),
    )


def _wait_for_canaries(store: DeadLetters, frozen: FrozenReplay, canary: Canary, pace: ReplayPace) -> None:
    report = canary.look()
    count = report.count
    if not count:
        return
    deadline = time.monotonic() + pace.canary_wait_s
    sent = plural(count, "canary is", "canaries are")
    say(f"{sent} replayed; waiting up to {pace.canary_wait_s:g} s for what becomes of them.")
    while report.is_undecided and time.monotonic() < deadline:
        time.sleep(_CANARY_POLL_S)
        report = canary.look()
    store.canaries_judged(frozen)
    why = report.problem(canary.queues, trusts_absence=pace.trusts_absence)
    if why is not None:
        _say_how_to_go_on(store, frozen, pace, f"{why}; stopped")
        sys.exit(CANARIES_DIED)
    done = f"{report.done + report.unknown} of {plural(count, 'canary is', 'canaries are')} done"
    if report.unknown:
        done += f" ({report.unknown} of them as far as anyone can tell: they are gone, and did not die)"
    say(f"{done}, {report.died} died again; going on.")


def _going_on(frozen: FrozenReplay, pace: ReplayPace) -> str:
    return " ".join(["routemq dlq replay --resume", frozen.id, *pace.rate_option])


def _say_how_to_go_on(store: DeadLetters, frozen: FrozenReplay, pace: ReplayPace, why: str) -> None:
    now = store.unfinished_replay(frozen.id)
    total, rest = (
        plural(now.total, "letter is", "letters are"),
        plural(now.remaining, "is as it was", "are as they were"),
    )
    say(f"{why}: {now.total - now.remaining:,} of {total} done, {rest}.")
    say(f"Go on with them: {_going_on(frozen, pace)}")


class _ProgressBar:
    """A bar on a terminal; elsewhere nothing."""

    def __init__(self, bar: Progress | None, total: int, done: int) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task("replaying", total=total, completed=done)

    def advance(self, count: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)


@contextmanager
def _progress(frozen: FrozenReplay, pace: ReplayPace) -> Iterator[_ProgressBar]:
    done = frozen.total - frozen.remaining
    console = Console(stderr=True)
    # Said first: who is killed cannot say it any more.
    say(f"Replay {frozen.id}: {plural(frozen.remaining, 'letter')}.")
    say(f"If it is stopped, go on with: {_going_on(frozen, pace)}")
    if not console.is_terminal:
        yield _ProgressBar(None, frozen.total, done)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield _ProgressBar(bar, frozen.total, done)
