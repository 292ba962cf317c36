"""The pages inside Flower, in a real browser, with a real worker."""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from playwright.sync_api import expect

from routemq.dead_letters import DeadLetters, LetterFilter
from routemq.envelope import TaskMessage
from tests.browser import Visit, row_of
from tests.flower import CROWDED, LASTING, READINGS, WAITING, Place, request, serving, settings
from tests.processes import running, wait_until
from tests.servers import REPOSITORY, Redis

SCRIPT = "<script>alert(1)</script>"


def test_a_letter_appears_is_mended_and_runs(place: Place, visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.goto(f"{place.url}/dead-letters?route=readings%2F%7Bdevice_id%7D")
    expect(page.locator("#live-text")).to_have_text("Live")
    expect(page.locator("#nothing")).to_have_text("No dead letter matches.")
    page.evaluate("window.isSamePage = true")

    command = ["celery", "-A", "routemq", "worker", "-Q", "readings", "--pool=threads", "--without-mingle"]
    # Flower hears nothing of this one.
    command += ["--without-heartbeat", "--without-gossip"]
    with running(command, cwd=REPOSITORY, env=settings(place.store, place.key_prefix)) as worker:
        worker.wait_for_output("ready.")
        place.put("readings/d1", b'{"temperature": "mild"}')

        # It appears by itself.
        expect(row_of(page, "readings/d1")).to_be_visible()
        assert page.evaluate("window.isSamePage") is True
        expect(row_of(page, "readings/d1")).to_contain_text("InvalidMessageError")
        expect(page.locator("#matching")).to_have_text("1 matches")

        row_of(page, "readings/d1").get_by_role("link").click()
        expect(page.locator("#title")).to_have_text("readings/d1")
        expect(page.locator("#payload")).to_have_text('{\n  "temperature": "mild"\n}', use_inner_text=True)
        expect(page.locator("#message")).to_contain_text("temperature")
        expect(page.locator("#history tr")).to_have_count(1)

        # What the controller would refuse cannot be sent.
        page.click("#edit")
        expect(page.locator("#verdict")).to_contain_text("would refuse")
        expect(page.locator("#send-edited")).to_be_disabled()
        page.fill("#edited", '{"temperature": 22.5}')
        expect(page.locator("#verdict")).to_contain_text("Fits tests.applications.flower:keep")
        page.click("#send-edited")
        page.click("#confirmation-go")

        # Back at the list as it was, where it is gone; its controller has run.
        expect(page.locator("#notices")).to_contain_text("Replayed: readings/d1")
        assert page.url.endswith("/dead-letters?route=readings%2F%7Bdevice_id%7D")
        wait_until(lambda: place.kept() == ["readings/d1 22.5"], message="the controller has run")
        expect(page.locator("#nothing")).to_have_text("No dead letter matches.")
        expect(row_of(page, "readings/d1")).to_have_count(0)

        # The other page knows the worker, and the messages that went through.
        page.click("text=Routes")
        hands = page.locator(f'[data-route="{READINGS}"] [data-label="Workers"]')
        expect(hands).to_have_text("2asks for 2 · 1 worker")
        expect(page.locator(f'[data-route="{WAITING}"] [data-label="Workers"]')).to_have_text("0asks for 1 · no worker")


def test_what_a_message_contains_stays_text(place: Place, visit: Callable[..., Visit]) -> None:
    hostile = place.bury(
        f"hostile/{SCRIPT}", SCRIPT.encode(), error=ValueError(f"{SCRIPT}<img src=x onerror=alert(1)>")
    )
    large = place.bury("large/d1", json.dumps({"blob": "x" * 200_000}).encode())
    binary = place.bury("binary/d1", bytes(range(256)))
    broken = place.bury_malformed(b'{"half": ')
    page = visit().page
    page.goto(f"{place.url}/dead-letters")
    expect(row_of(page, f"hostile/{SCRIPT}")).to_contain_text(SCRIPT)
    assert page.locator("script", has_text="alert(1)").count() == 0
    assert page.locator("#dead-letters-page img").count() == 0

    page.goto(f"{place.url}/dead-letters/{hostile}")
    expect(page.locator("#payload")).to_have_text(SCRIPT)
    expect(page.locator("#title")).to_have_text(f"hostile/{SCRIPT}")
    assert page.locator("script", has_text="alert(1)").count() == 0

    # Neither does it turn the direction of what one reads, nor hide.
    turned = place.bury("turned/\u202ed1", b"\xe2\x80\xaea\nb", error=ValueError("a\u2028b\x00"))
    page.goto(f"{place.url}/dead-letters?topic=~turned")
    expect(row_of(page, "turned/\\u202ed1")).to_contain_text("a\\u2028b\\x00")
    expect(page.get_by_role("checkbox", name="Choose turned/\\u202ed1", exact=True)).to_be_visible()
    page.goto(f"{place.url}/dead-letters/{turned}")
    expect(page.locator("#title")).to_have_text("turned/\\u202ed1")
    expect(page.locator("#payload")).to_have_text("\\u202ea\nb", use_inner_text=True)
    expect(page.locator("#message")).to_have_text("a\\u2028b\\x00")

    page.goto(f"{place.url}/dead-letters/{large}")
    expect(page.locator("#payload-cut")).to_contain_text("195.3 KiB")
    assert len(page.locator("#payload").inner_text()) < 40_000
    with page.expect_download() as download:
        page.click("#download")
    assert Path(download.value.path()).stat().st_size == len('{"blob": ""}') + 200_000

    page.goto(f"{place.url}/dead-letters/{binary}")
    expect(page.locator("#payload")).to_contain_text("00000040  40 41 42")
    page.click("#edit")
    expect(page.locator("#notices")).to_contain_text("not text")

    # What a codec says is read and edited as JSON.
    coded = place.bury("waiting/cbor", cbor2.dumps({"t": SCRIPT}), content_type="application/cbor")
    page.goto(f"{place.url}/dead-letters/{coded}")
    expect(page.locator("#payload")).to_contain_text(f'"t": "{SCRIPT}"')
    expect(page.locator("#payload-views")).to_contain_text("CBOR")
    page.click("#edit")
    page.fill("#edited", '{"t": ')
    expect(page.locator("#verdict")).to_contain_text("cannot be encoded as CBOR")
    expect(page.locator("#send-edited")).to_be_disabled()
    page.fill("#edited", '{"t": 2}')
    expect(page.locator("#verdict")).to_contain_text("Fits")
    page.click("#send-edited")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Replayed: waiting/cbor")
    with place.store.client() as client:
        assert TaskMessage.decode(client.rpop(place.keys.queue("waiting"))).envelope.payload == cbor2.dumps({"t": 2})

    page.goto(f"{place.url}/dead-letters/{broken}")
    expect(page.locator("#notices")).to_contain_text("cannot be replayed")
    expect(page.locator("#replay")).to_be_disabled()
    page.click("#discard")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Discarded")

    # A letter that is not there says what became of it, and comes back.
    page.goto(f"{place.url}/dead-letters/{broken}")
    expect(page.locator("#notices")).to_contain_text("it was discarded by flower:anonymous@127.0.0.1 at")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#title")).to_have_text("(no topic)")


def test_many_are_replayed_or_discarded_at_once(place: Place, visit: Callable[..., Visit]) -> None:
    for number in range(60):
        place.bury(f"lasting/d{number}", route=LASTING, error=TimeoutError() if number % 2 else OSError("full"))
    page = visit().page
    page.goto(f"{place.url}/dead-letters?route=lasting%2F%7Bdevice_id%7D")
    expect(page.locator("#matching")).to_have_text("60 match")
    expect(page.locator("#letters tbody tr")).to_have_count(50)

    # Two are chosen by hand and discarded.
    for topic in ("lasting/d59", "lasting/d58"):
        row_of(page, topic).get_by_role("checkbox").check()
    page.click("#bulk-discard")
    expect(page.locator("#confirmation-title")).to_have_text("Discard 2 dead letters?")
    page.click("#confirmation-go")
    expect(page.locator("#matching")).to_have_text("58 match")

    # Thought better of it: they are back where they were, and discarded all the same.
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#notices")).to_contain_text("Brought back 2.")
    expect(page.locator("#matching")).to_have_text("60 match")
    for topic in ("lasting/d59", "lasting/d58"):
        row_of(page, topic).get_by_role("checkbox").check()
    page.click("#bulk-discard")
    page.click("#confirmation-go")
    expect(page.locator("#matching")).to_have_text("58 match")

    # Those of one error are replayed; the question says how many, and Cancel means it.
    page.locator("#by-error button", has_text="OSError").click()
    expect(page.locator("#matching")).to_have_text("29 match")
    page.click("#bulk-replay")
    expect(page.locator("#confirmation-title")).to_have_text("Replay 29 dead letters?")
    # One Enter more than was meant changes nothing, and the keyboard is where it was.
    expect(page.locator("#confirmation-cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#confirmation")).to_be_hidden()
    expect(page.locator("#bulk-replay")).to_be_focused()
    assert place.queued("lasting") == []
    page.click("#bulk-replay")
    # Not before it is asked: until then the page looks for what there is.
    expect(page.locator("#confirmation")).to_be_visible()
    place.bury("lasting/late", route=LASTING, error=OSError("full"))
    expect(page.locator("#replay-canary")).to_have_value("10")
    page.fill("#replay-canary", "")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Replayed 29.")

    # What died after the question was not caught, the others are on their queue, the oldest first.
    expect(row_of(page, "lasting/late")).to_be_visible()
    assert place.queued("lasting") == [f"lasting/d{number}" for number in range(0, 58, 2)]
    assert ("flower:anonymous@127.0.0.1", "replay", 29) in place.audit()
    assert ("flower:anonymous@127.0.0.1", "discard", 2) in place.audit()

    # A replay that was broken off, here or in a terminal, is taken up again.
    with place.store.client() as client:
        DeadLetters(client, place.keys).freeze(
            LetterFilter(route=LASTING, contains="{}", topic="lasting/late"), actor="ana@host"
        )
    expect(page.locator("#notices")).to_contain_text("A replay that ana@host began")
    page.click("text=Continue")
    expect(page.locator("#notices")).to_contain_text("Replayed 1.")
    assert place.queued("lasting")[-1] == "lasting/late"

    # Older letters are a page further.
    for number in range(30):
        place.bury(f"lasting/more{number}", route=LASTING)
    page.goto(f"{place.url}/dead-letters?route=lasting%2F%7Bdevice_id%7D")
    expect(page.locator("#letters tbody tr")).to_have_count(50)
    page.click("#next-page")
    expect(page.locator("#letters tbody tr")).to_have_count(9)
    expect(row_of(page, "lasting/d1")).to_be_visible()
    place.bury("lasting/news", route=LASTING)
    page.click("#show-new")
    expect(row_of(page, "lasting/news")).to_be_visible()

    page.goto(f"{place.url}/dead-letters?topic=lasting/%2B&route=lasting%2F%7Bdevice_id%7D&error=TimeoutError")
    expect(page.locator("#matching")).to_have_text("29 match")
    page.fill("[name=topic]", "lasting/d5")
    page.press("[name=topic]", "Enter")
    expect(page.locator("#letters tbody tr")).to_have_count(1)
    page.fill("[name=topic]", "lasting/stubborn")
    place.bury("lasting/stubborn", route=LASTING, error=TimeoutError(), generation=3)
    page.press("[name=topic]", "Enter")

    # What dies again and again is replayed only for someone who insists, in words of the page.
    expect(row_of(page, "lasting/stubborn")).to_contain_text("replayed 3×")
    page.click("#bulk-replay")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("1 stays here: it died again after 3 replays.")
    expect(page.locator("#notices")).to_contain_text("choose “Also those that died again")
    assert "--force" not in page.inner_text("#notices")
    page.click("#bulk-replay")
    page.check("#confirmation-force")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Replayed 1.")
    page.fill("[name=topic]", "lasting/#/d5")
    page.press("[name=topic]", "Enter")
    # A slip is told at its field, and leaves what is shown and the address as they were.
    expect(page.locator("#filter-error")).to_contain_text("lasting/#/d5")
    expect(page.locator("[name=topic]")).to_be_focused()
    assert "stubborn" in page.url


@contextlib.contextmanager
def traffic(place: Place) -> Iterator[None]:
    """Bury letters until the block ends."""
    ended = threading.Event()

    def bury() -> None:
        number = 0
        while not ended.wait(0.1):
            number += 1
            place.bury(f"crowded/new{number}", route=CROWDED)

    thread = threading.Thread(target=bury)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_what_is_chosen_stays_chosen_under_traffic(place: Place, visit: Callable[..., Visit]) -> None:
    ids = {f"d{number}": place.bury(f"crowded/d{number}", route=CROWDED) for number in range(55)}
    page = visit().page
    sent: list[Any] = []
    page.on("request", lambda asked: sent.append(asked.post_data_json) if asked.url.endswith("/discard") else None)
    words, chosen = page.locator("#chosen-words"), page.locator("#chosen-buttons")
    for_all = page.get_by_role("button", name=re.compile(r"^(Replay|Discard) all"))
    page.goto(f"{place.url}/dead-letters?route=crowded%2F%7Bdevice_id%7D")
    expect(for_all).to_have_count(2)
    for topic in ("crowded/d54", "crowded/d53"):
        row_of(page, topic).get_by_role("checkbox").check()
    page.click("#next-page")
    row_of(page, "crowded/d3").get_by_role("checkbox").check()
    expect(words).to_have_text("3 chosen · 2 not on this page")

    with traffic(place):
        # New letters push them off the first page; another filter, and a reload, show others.
        page.click("#first-page")
        expect(row_of(page, "crowded/d53")).to_be_visible()
        expect(page.locator("#show-new")).to_have_text(re.compile("^[0-9]+ new$"))
        expect(row_of(page, "crowded/d53")).to_be_visible()
        # Till the person wants the new ones.
        wait_until(lambda: place.letters(CROWDED) > 110)
        page.click("#show-new")
        expect(row_of(page, "crowded/d53")).to_have_count(0)
        expect(words).to_have_text("3 chosen · 3 not on this page")
        assert page.locator("#letters input:checked").count() == 0
        page.fill("[name=topic]", "crowded/d54")
        page.press("[name=topic]", "Enter")
        expect(row_of(page, "crowded/d54").get_by_role("checkbox")).to_be_checked()
        page.fill("[name=topic]", "crowded/none")
        page.press("[name=topic]", "Enter")
        expect(page.locator("#nothing")).to_have_text("No dead letter matches.")
        page.reload()
        expect(chosen).to_have_text("Replay 3Discard 3")
        expect(for_all).to_have_count(0)

        # One of them goes, another while the question stands: what is asked about is what is sent.
        page.click("#clear-filter")
        place.discard(ids["d53"])
        expect(words).to_contain_text("1 is gone")
        expect(chosen).to_have_text("Replay 2Discard 2")
        page.get_by_role("button", name="Discard 2", exact=True).click()
        expect(page.locator("#confirmation-title")).to_have_text("Discard 2 dead letters?")
        expect(page.locator("#confirmation-scope")).to_have_text("Those that you chose: crowded/d54 · crowded/d3")
        expect(page.locator("#confirmation-go")).to_have_text("Discard 2")
        place.discard(ids["d3"])
        page.click("#confirmation-go")
        expect(page.locator("#notices")).to_contain_text("Discarded 1. 1 had gone: someone else was first.")
        assert sent == [{"ids": [ids["d54"], ids["d3"]], "force": False}]
        # The one that had gone before is still said to be chosen, until the person has seen it.
        expect(words).to_contain_text("1 chosen · 1 is gone")
        expect(chosen.get_by_role("button", name="Discard 0")).to_be_disabled()
        expect(for_all).to_have_count(0)
        page.click("#choose-none")
        # Every letter there is, without a filter, is offered only to who asks for it.
        expect(page.get_by_role("button", name="All letters, without a filter…")).to_be_visible()
        expect(for_all).to_have_count(0)

    # What a change leaves where it is stays chosen.
    place.bury("crowded/stubborn", route=CROWDED, generation=3)
    row_of(page, "crowded/stubborn").get_by_role("checkbox").check()
    chosen.get_by_role("button", name="Replay 1").click()
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("1 stays here")
    expect(words).to_have_text("1 chosen")
    chosen.get_by_role("button", name="Replay 1").click()
    page.check("#confirmation-force")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Replayed 1.")
    expect(words).to_be_hidden()
    assert place.queued("crowded") == ["crowded/stubborn"]

    # The one for all asks about, and sends, the moments that it counted between.
    page.goto(f"{place.url}/dead-letters?route=crowded%2F%7Bdevice_id%7D&since=1h")
    before = place.letters(CROWDED)
    page.get_by_role("button", name=f"Discard all {before}", exact=True).click()
    expect(page.locator("#confirmation-title")).to_have_text(f"Discard {before} dead letters?")
    place.bury("crowded/late", route=CROWDED)
    if before < 100:
        expect(page.locator("#confirmation-typed")).to_be_hidden()
    else:
        page.fill("#confirmation-typed", str(before))
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text(f"Discarded {before}.")
    assert place.letters(CROWDED) == 1
    assert float(sent[-1]["filter"]["until"]) - float(sent[-1]["filter"]["since"]) == pytest.approx(3600, abs=1)


def test_read_only_visitors_look_and_touch_nothing(
    redis_server: Redis, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    # The user's own configuration file, prefix, password: all of them count as they do in any Flower.
    configuration = tmp_path / "ours.py"
    configuration.write_text('read_only = True\nbasic_auth = ["ana:secret"]\nurl_prefix = "ops"\n', encoding="utf-8")
    env = {"DLQ_RETENTION_DAYS": "1"}
    with serving(redis_server, f"--conf={configuration}", prefix="/ops", env=env) as place:
        letter = place.bury("waiting/d1", b'{"a": 1}')
        page = visit(http_credentials={"username": "ana", "password": "secret"}).page
        page.goto(f"{place.url}/workers")
        page.click("nav >> text=Dead letters")
        expect(row_of(page, "waiting/d1")).to_be_visible()
        expect(page.locator(".notice").first).to_contain_text("Read-only")
        assert page.locator("#bulk-bar button:visible, #letters input").count() == 0
        row_of(page, "waiting/d1").get_by_role("link").click()
        expect(page.locator("#payload")).to_contain_text('"a": 1')
        assert page.locator("#replay, #edit, #discard").count() == 0
        page.click("nav >> text=Routes")
        expect(page.locator(f'[data-route="{WAITING}"] [data-label="Dead"]')).to_have_text("1")

        ana = {"Authorization": "Basic YW5hOnNlY3JldA=="}
        api = f"{place.url}/api/dead-letters"
        assert request(api)[0] == 401
        assert request(api, headers=ana | {"Authorization": "Basic YW5hOndyb25n"})[0] == 401
        status, answer = request(api, headers=ana)
        assert (status, [found["id"] for found in answer["letters"]]) == (200, [letter])
        for path, body in (
            (f"/letter/{letter}/replay", {}),
            (f"/letter/{letter}/discard", {}),
            ("/replay", {"ids": [letter]}),
            ("/discard", {"filter": {}}),
            ("/undo", {"discard": "0"}),
        ):
            assert request(api + path, method="POST", body=body, headers=ana)[0] == 403
        assert request(f"{api}/letter/{letter}", headers=ana)[1]["topic"] == "waiting/d1"

        # What is older than it should be, and stays, is pointed out.
        place.bury_long_ago("waiting/d2", age_s=90_000)
        page.click("nav >> text=Dead letters")
        expect(page.locator("[data-key=overdue]")).to_contain_text("1 letter is older than DLQ_RETENTION_DAYS=1")
        expect(page.locator("[data-key=overdue] code")).to_have_text("routemq dlq purge --older-than 1d")


def test_the_page_says_that_redis_is_away_and_recovers(
    own_store: Callable[..., Redis], visit: Callable[..., Visit]
) -> None:
    store = own_store("redis")
    with serving(store) as place:
        page = visit().page
        page.goto(f"{place.url}/dead-letters")
        expect(page.locator("#nothing")).to_have_text("No dead letters. All is well.")
        store.stop()
        expect(page.locator("#live-text")).to_contain_text("Redis cannot be reached")
        store.start()
        place.bury("waiting/back")
        expect(row_of(page, "waiting/back")).to_be_visible(timeout=15_000)
        expect(page.locator("#live-text")).to_have_text("Live")

        # A server that refuses is there, and says what it wants.
        store.break_disk()
        row_of(page, "waiting/back").get_by_role("checkbox").check()
        page.click("#bulk-discard")
        page.click("#confirmation-go")
        expect(page.locator("#notices")).to_contain_text("redis cannot write to its disk")
        row_of(page, "waiting/back").get_by_role("link").click()
        page.click("#discard")
        page.click("#confirmation-go")
        expect(page.locator("#notices")).to_have_text(re.compile("^Redis cannot write to its disk"))
        store.mend_disk()


@pytest.mark.parametrize("query", ["error=", "error=%20", "erorr=TimeoutError", "reason=failed&topic="])
def test_an_address_that_asks_for_nothing_shows_nothing(place: Place, visit: Callable[..., Visit], query: str) -> None:
    place.bury("waiting/shown", error=ValueError("shown"))
    page = visit().page
    page.goto(f"{place.url}/dead-letters?{query}")
    expect(page.locator("#matching")).to_contain_text("cannot be used")
    expect(page.locator("#letters tbody tr")).to_have_count(0)
    expect(page.locator("#bulk-discard")).to_have_count(0)
    page.click("#clear-filter")
    expect(row_of(page, "waiting/shown").first).to_be_visible()


def test_a_route_is_paused_and_resumed_and_a_worker_gets_hands(place: Place, visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.goto(f"{place.url}/routes")
    expect(page.locator("#live-text")).to_have_text("Live")
    row = page.locator("tr[data-route]").filter(has_text=LASTING)
    command = ["celery", "-A", "routemq", "worker", "-Q", "lasting", "-c", "1", "--without-mingle", "-n", "hands@here"]
    with running(command, cwd=REPOSITORY, env=settings(place.store, place.key_prefix)) as worker:
        worker.wait_for_output("ready.")
        row.get_by_role("button", name="Pause").click()
        expect(page.locator("#confirmation-scope")).to_have_text(LASTING)
        page.click("#confirmation-go")
        expect(row).to_contain_text("paused")
        expect(row).to_contain_text("by flower:anonymous@")
        # The keyboard stays at the button, whatever that says now.
        expect(row.get_by_role("button", name="Resume")).to_be_focused()
        worker.wait_for_output("Canceling queue lasting")
        row.get_by_role("button", name="Resume").click()
        page.click("#confirmation-go")
        expect(row.get_by_role("button", name="Pause")).to_be_visible()
        expect(row).not_to_contain_text("paused")
        worker.wait_for_output("queue lasting is consumed again")

        hands = page.locator("tr[data-worker='hands@here']")
        expect(hands.locator(".hands-count")).to_have_text("1")
        hands.get_by_role("button", name="One hand more").click()
        expect(hands.locator(".hands-count")).to_have_text("2")
        hands.get_by_role("button", name="One hand less").click()
        expect(hands.locator(".hands-count")).to_have_text("1")
        hands.get_by_role("button", name="One hand less").click()
        expect(page.locator("#notices")).to_contain_text("hands@here has one hand left")
    with place.store.client() as client:
        changes = [(entry.action, entry.detail) for entry in DeadLetters(client, place.keys).audit(limit=10)]
    assert changes[:4] == [
        ("shrink", "worker hands@here"), ("grow", "worker hands@here"), ("resume", f"route {LASTING}"),
        ("pause", f"route {LASTING}"),
    ]  # fmt: skip


def test_who_may_not_change_letters_pauses_no_route_either(redis_server: Redis, visit: Callable[..., Visit]) -> None:
    with serving(redis_server, "--read_only") as place:
        page = visit().page
        page.goto(f"{place.url}/routes")
        expect(page.locator("tr[data-route]").first).to_be_visible()
        assert page.get_by_role("button", name="Pause").count() == 0
    with serving(redis_server, "--basic_auth=ana:x") as place:
        anas = {"Authorization": "Basic " + base64.b64encode(b"ana:x").decode()}
        url = f"{place.url}/api/routes/pause"
        assert request(url, method="POST", body={"route": LASTING})[0] == 401
        refused: list[dict[str, Any]] = [{}, {"route": 1}, {"route": LASTING, "because": ""}, {"why": "x"}]
        for body in refused:
            assert request(url, method="POST", body=body, headers=anas)[0] == 400
        assert request(url, method="POST", body={"route": "none"}, headers=anas)[0] == 404
        assert request(url, method="POST", body={"route": LASTING}, headers=anas) == (200, {"done": 1})
        assert request(url, method="POST", body={"route": LASTING}, headers=anas) == (200, {"done": 0})
        _, found = request(f"{place.url}/api/routes", headers=anas)
        (row,) = [row for row in found["routes"] if row["name"] == LASTING]
        assert row["paused"]["who"].startswith("flower:ana@")
        grow = f"{place.url}/api/workers/grow"
        assert request(grow, method="POST", body={"worker": "nobody@here"}, headers=anas)[0] == 404
