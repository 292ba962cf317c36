"""`scripts/demo`: the sample application under a simulated fleet, on a state of its own that is gone afterwards."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import click
import redis
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live

from routemq.cli.explain import explains_errors
from routemq.connections import connect_redis
from routemq.queues import Keys
from routemq.settings import Settings, load_settings, variable_of
from routemq.terminal import fit_output
from routemq.text import plural
from routemq_dev.demo_table import DemoTable
from routemq_dev.dev_session import DevOptions, NotStartedError
from routemq_dev.progress import RouteProgress, read_progress, total
from routemq_dev.runner import DevRunner, show_banner

_STANDSTILL_S = 45.0
"""How long nothing may happen after the fleet has stopped, until what is still missing is taken for lost."""
_IMPATIENT_S = 10.0
"""How long queues and retries may take to empty after Ctrl-C."""
_REFRESH_S = 0.5


class Demo:
    """One run, from the first message to the account of all of them."""

    def __init__(self, runner: DevRunner, console: Console, *, live: bool) -> None:
        self._runner, self._console, self._live = runner, console, live
        self._table = DemoTable()
        url = SecretStr(runner.session.env["REDIS_URL"])
        self._client = connect_redis(load_settings().model_copy(update={"redis_url": url}))
        self._started = time.monotonic()
        self._cut_short = False
        self.progress: dict[str, RouteProgress] = {}

    def run(self, duration_s: float | None) -> None:
        """Watch until the time is up or the end is asked for, then stop the work and count."""
        stopping = self._runner.session.stopping
        screen = Live(console=self._console, auto_refresh=False) if self._live else nullcontext()
        with screen as live:

            def look(word: str) -> None:
                self.progress = read_progress(self._client, Keys(), self._runner.session.router)
                if live is not None:
                    live.update(self._table.render(self.progress, footer=self._footer(word)), refresh=True)

            while not stopping.wait(_REFRESH_S):
                look("Ctrl-C ends the demo.")
                if duration_s is not None and time.monotonic() - self._started >= duration_s:
                    break
            self._runner.session.stop_fleet()
            stopped_at = moved_at = time.monotonic()
            while not self._is_settled() and time.monotonic() - moved_at < _STANDSTILL_S:
                impatient = stopping.is_set() and time.monotonic() - stopped_at >= _IMPATIENT_S
                self._cut_short = impatient or self._runner.killed
                if self._cut_short:
                    break
                before = total(self.progress)
                look("The fleet has stopped; waiting for what is queued.")
                if total(self.progress) != before:
                    moved_at = time.monotonic()
                time.sleep(_REFRESH_S)
            self._runner.session.stop_work()
            # Each worker writes its last counts when it ends.
            look("Stopped.")

    def account(self) -> dict[str, int]:
        """Return what became of the messages."""
        return account_of(total(self.progress), published=self._runner.fleet.confirmed, cut_short=self._cut_short)

    def _is_settled(self) -> bool:
        found = total(self.progress)
        return found.queued == 0 and found.done + found.dead >= self._runner.fleet.confirmed + found.replayed

    def _footer(self, word: str) -> str:
        elapsed_s = time.monotonic() - self._started
        flower = self._runner.session.flower_url
        return (
            f"{elapsed_s:.0f} s · published {self._runner.fleet.published:,}"
            f"{f' · Flower {flower}' if flower else ''}\n{word}"
        )


def account_of(found: RouteProgress, *, published: int, cut_short: bool = False) -> dict[str, int]:
    """Return the account of all messages.

    Args:
        published: What the MQTT broker confirmed to the fleet. The user may publish too, as the banner invites to, and
            replay dead letters, each of which has one end more.
        cut_short: Nobody waited until all of it was received: what was not is with the MQTT broker still.
    """
    unread = max(0, published - found.received) if cut_short else 0
    ended = unread + found.done + found.dead + found.queued
    return {
        "published": published,
        "received": found.received,
        "done": found.done,
        "retried": found.retried,
        "dead": found.dead,
        "replayed": found.replayed,
        "queued": found.queued,
        "unread": unread,
        "lost": max(published, found.received) + found.replayed - ended,
    }


def in_words(account: Mapping[str, int]) -> str:
    """Return the account as a sum."""
    by_others, replayed = account["received"] - account["published"], account["replayed"]
    unread = account["unread"]
    sentence = (
        f"{account['published']:,} published"
        f"{f' + {by_others:,} by others' if by_others > 0 else ''}"
        f"{f' + {replayed:,} replayed' if replayed else ''}"
        f" = {account['done']:,} done + {account['dead']:,} dead + {account['queued']:,} still queued"
        f"{f' + {unread:,} with the MQTT broker' if unread else ''}"
    )
    if account["lost"]:
        return f"{sentence} + {account['lost']:,} LOST"
    return f"{sentence}. None lost; {plural(account['retried'], 'run was', 'runs were')} tried again."


def forget_settings() -> None:
    """Let nothing of the user's environment or `.env` reach the demo: an empty variable counts as not set."""
    for name in Settings.model_fields:
        os.environ[variable_of(name)] = ""


@click.command()
@click.option("--for", "duration_s", type=click.FloatRange(0, min_open=True), help="End after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as one JSON object; the log goes to stderr.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True, help="Messages per second."
)
@click.option("--flower/--no-flower", default=True, help="Run Flower.")
@explains_errors
def demo(*, duration_s: float | None, as_json: bool, rate: float, flower: bool) -> None:
    """Show the sample application at work: a fleet publishes, some messages fail, none is lost.

    Exit code 0 when messages were done and none was lost.
    """
    forget_settings()
    fit_output()
    console = Console(stderr=as_json, highlight=False)
    live = not as_json and console.is_terminal
    with tempfile.TemporaryDirectory(prefix="routemq-demo-") as folder:
        os.environ["APP_DATABASE"] = str(Path(folder) / "sample.sqlite3")
        options = DevOptions(project=Path.cwd(), state=Path(folder), flower=flower, rate=rate)
        # Under the table, and in a run for its figures, only what is wrong is shown: the failures are part of the play.
        with DevRunner(options, console, level="CRITICAL") as runner:
            account = _play(runner, console, duration_s=duration_s, live=live)
    if account is None:
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(account))
    else:
        console.print(f"\n{in_words(account)}")
    sys.exit(0 if account["done"] > 0 and account["lost"] == 0 else 1)


def _play(runner: DevRunner, console: Console, *, duration_s: float | None, live: bool) -> dict[str, int] | None:
    runner.log.say("starting …")
    try:
        runner.session.start()
    except NotStartedError:
        for name, line in runner.log.recent:
            runner.log.say(f"{name}: {line}", style="")
        raise
    if runner.session.stopping.is_set():
        return None
    show_banner(console, runner.session, hint="The commands need .venv/bin on the PATH: source .venv/bin/activate")
    show = Demo(runner, console, live=live)
    try:
        show.run(duration_s)
    except redis.RedisError:
        if runner.killed:
            return None
        raise
    return show.account()


if __name__ == "__main__":
    demo(prog_name="scripts/demo")
