"""`dlq bin` and `dlq undo`."""

import sys
from dataclasses import asdict

import click
import orjson

from routemq.cli.dlq.frame import actor, open_store, say
from routemq.cli.explain import explains_errors
from routemq.dead_letters import DeadLetters, Operation
from routemq.dead_letters.audit import write_audit
from routemq.dead_letters.times import moment
from routemq.text import plural, printable


@click.command("bin", short_help="What was discarded and can be brought back.")
@click.option("--empty", is_flag=True, help="Let all of it go for good; needs --yes.")
@click.option("--yes", is_flag=True, help="Do it, with --empty.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@explains_errors
def bin_(empty: bool, yes: bool, as_json: bool) -> None:
    """Show the discards of the last DLQ_BIN_HOURS whose letters `undo` brings back."""
    store = open_store()
    there = store.bin.all()
    if not as_json and not there:
        say("The bin is empty.")
        return
    for found in there:
        if as_json:
            click.echo(orjson.dumps(asdict(found)))
            continue
        click.echo(
            f"{found.operation.id}  {moment(found.at)}  {printable(found.operation.actor)}  "
            f"{plural(found.letters, 'letter')} until {moment(found.until)}  {printable(found.operation.detail)}"
        )
    if empty and yes:
        count = store.bin.empty()
        write_audit(store.client, store.keys, "empty", who=actor(), detail="the bin", count=count)
        say(f"{plural(count, 'letter')} went for good.")
    elif empty:
        say("Nothing was done. Do it: routemq dlq bin --empty --yes")


@click.command(short_help="Bring back what was discarded.")
@click.argument("discard", required=False)
@explains_errors
def undo(discard: str | None) -> None:
    """Bring back what a discard has taken away, by its id as `dlq bin` shows it; by default what you discarded last."""
    store, who = open_store(), actor()
    if discard is None:
        discard = next((found.operation.id for found in store.bin.all() if found.operation.actor == who), None)
        if discard is None:
            say("Nothing that you discarded is in the bin; `routemq dlq bin` shows what others did.")
            sys.exit(1)
    count = sum(store.undo(discard, actor=who))
    click.echo(f"Brought {plural(count, 'letter')} back.")


def tell_of_bin(store: DeadLetters, operation: Operation, count: int) -> None:
    """Say how what was just discarded is brought back."""
    found = store.bin.find(operation.id)
    if found is None:
        return
    what = "It is" if count == 1 else "They are" if found.letters == count else f"Only {found.letters:,} of them are"
    say(f"{what} in the bin until {moment(found.until)}; bring back: routemq dlq undo {operation.id}")
