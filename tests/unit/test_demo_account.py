"""What `scripts/demo` says became of the messages, when its user joined in."""

from routemq_dev.demo import account_of, in_words
from routemq_dev.progress import RouteProgress


def test_account_of_a_fleet_alone() -> None:
    account = account_of(RouteProgress(received=10, done=8, dead=1, retried=3, queued=1), published=10)
    assert account["lost"] == 0
    assert in_words(account) == "10 published = 8 done + 1 dead + 1 still queued. None lost; 3 runs were tried again."


def test_account_with_messages_of_others_and_replays_loses_none() -> None:
    account = account_of(RouteProgress(received=11, done=11, dead=2, replayed=2), published=10)
    assert account["lost"] == 0
    assert in_words(account).startswith("10 published + 1 by others + 2 replayed = 11 done + 2 dead + 0 still queued.")


def test_account_of_a_demo_that_is_cut_short_calls_nothing_lost_that_the_broker_has() -> None:
    found = RouteProgress(received=7, done=5, dead=1, queued=1)
    account = account_of(found, published=10, cut_short=True)
    assert (account["unread"], account["lost"]) == (3, 0)
    assert in_words(account).startswith(
        "10 published = 5 done + 1 dead + 1 still queued + 3 with the MQTT broker. None"
    )
    assert account_of(found, published=10)["lost"] == 3


def test_account_tells_what_was_lost_before_and_after_ingest() -> None:
    assert account_of(RouteProgress(received=9, done=9), published=10)["lost"] == 1
    lost = account_of(RouteProgress(received=11, done=9), published=10)
    assert in_words(lost) == "10 published + 1 by others = 9 done + 0 dead + 0 still queued + 2 LOST"
