"""The desk inside Flower: who can use it, and what it asks before it changes something."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from routemq.dead_letters import ArchivedLetter
from routemq.envelope import Envelope, FailedAttempt, TaskMessage
from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.metrics.history import add_counts, add_times
from routemq.metrics.totals import add_totals
from tests.browser import Visit, accessibility_faults, row_of
from tests.flower import OTHER, WAITING, Place
from tests.processes import wait_until


def test_everybody_can_use_the_pages(place: Place, visit: Callable[..., Visit]) -> None:
    ids = [place.bury(f"waiting/many{number}", error=ConnectionError("payment")) for number in range(101)]
    page = visit().page
    page.goto(f"{place.url}/dead-letters?topic=waiting/many7")
    expect(page.locator("#letters tbody tr")).to_have_count(1)
    assert accessibility_faults(page) == []
    for path, part in (("dead-letters?topic=waiting/many7", ".error-column"), ("routes", ".topic-cell")):
        page.goto(f"{place.url}/{path}")
        # A phone, half a screen, one that is zoomed, and a small one.
        for width in (390, 800, 1000, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            expect(page.locator(f"tbody {part}").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator(f"tbody {part}").first.bounding_box()["width"] > 180
    page.set_viewport_size({"width": 1280, "height": 900})

    # From a hundred letters on, nobody discards them without having read how many.
    page.goto(f"{place.url}/dead-letters?error=payment")
    page.click("#bulk-discard")
    expect(page.locator("#confirmation-title")).to_have_text("Discard 101 dead letters?")
    expect(page.locator("#confirmation-typed")).to_be_focused()
    expect(page.locator("#confirmation-text")).to_have_text(re.compile("^They go into the bin.*for a while.$"))
    for typed, is_right in (("", False), ("100", False), ("101²", False), ("101", True), ("۱۰۱", True)):
        page.fill("#confirmation-typed", typed)
        assert page.is_enabled("#confirmation-go") == is_right
    assert accessibility_faults(page, "#confirmation") == []
    page.click("#confirmation-cancel")
    for hours, letters, told in (
        ("24", "100", "The bin holds 100; the others go for good"),
        ("0", "100", "They go for good"),
    ):
        page.evaluate("([h, l]) => Object.assign(confirmation.dataset, {binHours: h, binLetters: l})", [hours, letters])
        page.click("#bulk-discard")
        expect(page.locator("#confirmation-text")).to_contain_text(told)
        page.click("#confirmation-cancel")

    for path, there in ((f"dead-letters/{ids[0]}", "#payload"), ("routes", "tr[data-route]")):
        page.goto(f"{place.url}/{path}")
        expect(page.locator(there).first).to_be_visible()
        assert accessibility_faults(page) == []


def test_a_replay_has_a_page_that_says_what_becomes_of_it(place: Place, visit: Callable[..., Visit]) -> None:
    for number in range(24):
        place.bury(f"waiting/replayed{number}", error=RuntimeError("canary"))
    page = visit().page
    page.goto(f"{place.url}/dead-letters?error=canary&route=waiting%2F%7Bdevice_id%7D")
    page.click("#bulk-replay")
    expect(page.locator("#replay-canary")).to_have_value("10")
    # What is no number is no field that was left empty: all at once would go what was to go slowly.
    page.locator("#replay-rate").press_sequentially("1e")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Nothing was replayed. At most, a second:")
    page.click("#bulk-replay")
    page.fill("#replay-rate", "1000")
    page.click("#confirmation-go")

    taken: list[TaskMessage] = []

    def take(count: int) -> list[TaskMessage]:
        wait_until(lambda: len(place.queued("waiting")) == count)
        return place.take("waiting")

    # Ten go first. Two of them die again, which is no more than a fifth: the others follow.
    taken = take(10)
    dead = taken[:2]
    expect(page.locator("#notices")).to_contain_text("waiting for 10 of 10 canaries")
    place.fail(*taken[:2], for_good=True)
    place.finish(*taken[2:])
    taken = take(14)
    expect(page.locator("#notices")).to_contain_text("Replayed 24.")
    page.get_by_role("link", name="See what becomes of them").click()
    expect(page.locator("#replayed")).to_have_text("24")
    expect(page.locator("#facts")).to_contain_text(re.compile("route=waiting/.* error=canary .*, canary 10, 1000/s"))
    expect(page.locator("#facts")).to_contain_text("flower:anonymous@127.0.0.1")
    place.finish(taken[0])
    place.fail(taken[1], for_good=False)
    for name, count in (("done", 9), ("died", 2), ("retrying", 1), ("waiting", 12)):
        expect(page.locator(f"#{name}")).to_have_text(str(count))
    expect(page.locator("#letters tr")).to_have_count(2)
    assert accessibility_faults(page) == []
    # It stays so when the letters are gone, and the notes that were needed meanwhile are not kept.
    place.discard(*(message.id + ":1" for message in dead))
    page.reload()
    expect(page.locator("#died")).to_have_text("2")
    expect(page.locator("#done")).to_have_text("9")
    expect(page.locator("#letters-card")).to_be_hidden()

    # The change has its page, where a discard is undone and what was replayed leads back.
    page.get_by_role("link", name="Changes").click()
    row = page.locator("#changes tr").filter(has_text="someone else").first
    expect(row).to_contain_text("in the bin until")
    row.get_by_role("button", name="Undo").click()
    expect(page.locator("#changes tr").first).to_contain_text("undo")
    assert accessibility_faults(page) == []
    page.get_by_role("link", name="replay", exact=True).first.click()
    expect(page.locator("#letters tr")).to_have_count(2)

    # What is dead again leads to its own page, and the retry is told with its time.
    page.locator("#letters a").first.click()
    expect(page.locator("#facts")).to_contain_text("by flower:anonymous@127.0.0.1, after RuntimeError: canary")
    assert accessibility_faults(page) == []
    page.goto(f"{place.url}/routes")
    waiting = page.locator(f'[data-route="{WAITING}"] [data-label="Waiting"]')
    expect(waiting).to_contain_text(re.compile(r"\+1 for later, the next in \d+ min"))


def test_filters_are_told_and_taken_away_and_back_leads_back(place: Place, visit: Callable[..., Visit]) -> None:
    for number in range(55):
        place.bury(f"waiting/line{number % 3}/x", error=OSError("disk of the filter test"))
    place.bury("other/d1", route=OTHER, error=OSError("disk of the filter test"))
    page = visit().page
    page.goto(f"{place.url}/dead-letters")
    # A value that cannot be used is told at its field, also when it came with the address.
    page.goto(f"{place.url}/dead-letters?since=nonsense")
    expect(page.locator("[name=since]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#filter-error")).to_contain_text("since=nonsense cannot be used")
    page.goto(f"{place.url}/dead-letters")
    # What is folded is opened by keyboard as well, and stays as it was left in this browser.
    expect(page.locator("#filter")).to_be_hidden()
    page.locator("#filter-fold summary").focus()
    page.keyboard.press("Enter")
    page.click("#chart-fold summary")
    page.fill("[name=topic]", "LINE")
    page.press("[name=topic]", "Enter")
    expect(page.locator("[name=topic]")).to_have_value("~LINE")
    page.fill("[name=device]", "line1")
    page.press("[name=device]", "Enter")
    expect(page.locator("#letters tbody tr")).to_have_count(18)
    page.get_by_role("button", name="Remove device: line1").click()
    expect(page.locator("#letters tbody tr")).to_have_count(50)
    page.fill("[name=topic]", "LINE")
    page.press("[name=topic]", "Enter")
    expect(page.locator("#matching")).to_have_text("0 match")

    # One group for an error of several routes; its chip says what it is; the figures follow.
    page.goto(f"{place.url}/dead-letters")
    page.locator("#by-error button", has_text="disk of the filter test").click()
    expect(page.locator("#chips")).to_contain_text("error: OSError: disk of the filter test")
    expect(page.locator("#total")).to_have_text("56")
    expect(page.locator("#by-route button")).to_have_count(2)
    page.locator("#by-route button", has_text=OTHER).click()
    expect(page.locator("#total")).to_have_text("1")
    # What matches is a file for the terminal, byte for byte.
    with page.expect_download() as download:
        page.click("#export")
    (line,) = Path(download.value.path()).read_bytes().splitlines()
    assert ArchivedLetter.from_line(line, source="export", number=1).letter.topic == "other/d1"
    page.go_back()
    expect(page.locator("#total")).to_have_text("56")

    # The page and the span are in the address, so that Back and a reload come back to them.
    expect(page.locator("#bars")).to_be_visible()
    page.click("[data-span='24h']")
    page.click("#next-page")
    expect(page.locator("#page-note")).to_have_text("Page 2")
    row_of(page, page.locator("#letters tbody a").first.inner_text()).get_by_role("link").first.click()
    expect(page.locator("#payload")).to_be_visible()
    page.go_back()
    expect(page.locator("#page-note")).to_have_text("Page 2")
    page.reload()
    expect(page.locator("#page-note")).to_have_text("Page 2")
    expect(page.locator("[data-span='24h']")).to_have_attribute("aria-pressed", "true")
    page.go_back()
    expect(page.locator("#page-note")).to_have_text("")

    # Times say their zone, which one switch changes.
    first = page.locator("#letters .died-cell small").first
    expect(first).to_have_text(re.compile("Z$"))
    page.get_by_role("button", name="UTC").click()
    expect(first).to_have_text(re.compile(r"[+-][0-9]{2}:[0-9]{2}$"))


def test_one_reads_from_letter_to_letter(place: Place, visit: Callable[..., Visit]) -> None:
    ids = []
    for number in range(4):
        try:
            json.loads(f"{{letter {number}")
        except ValueError as exc:
            ids.append(place.bury(f"waiting/next{number}", error=exc))
        place.bury("waiting/between", error=OSError("of another filter"))
    page = visit(permissions=["clipboard-read", "clipboard-write"]).page
    page.goto(f"{place.url}/dead-letters?topic=~next")
    # The last one goes while one reads: its neighbours are found all the same.
    row_of(page, "waiting/next2").get_by_role("link").click()
    expect(page.locator("#title")).to_have_text("waiting/next2")
    expect(page.locator("#newer")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#title")).to_have_text("waiting/next1")
    place.discard(ids[1])
    page.reload()
    expect(page.locator("#title")).to_have_text("Not there any more")
    page.click("#older")
    expect(page.locator("#title")).to_have_text("waiting/next0")
    expect(page.locator("#older")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#title")).to_have_text("waiting/next2")

    # One's own frames are there at once, those of the library behind a fold; all of them are copied.
    expect(page.locator("#place")).to_have_text(
        re.compile(f"^in {re.escape(__file__)}, line [0-9]+, in test_one_reads")
    )
    expect(page.locator("#own-frames")).to_contain_text("json.loads")
    expect(page.locator("#own-frames")).not_to_contain_text("raw_decode")
    expect(page.locator("#traceback")).to_be_hidden()
    page.click("#all-frames-words")
    expect(page.locator("#traceback")).to_contain_text("raw_decode")
    page.get_by_role("button", name="Copy the traceback").click()
    expect(page.locator("#traceback-tools")).to_have_text("Copied")
    assert "raw_decode" in page.evaluate("navigator.clipboard.readText()")

    # What was typed is not lost without a question.
    page.click("#edit")
    page.fill("#edited", '{"a": 1}')
    page.keyboard.press("ArrowLeft")
    page.click("#cancel-edit")
    expect(page.locator("#confirmation-title")).to_have_text("Leave your changes?")
    page.click("#confirmation-cancel")
    expect(page.locator("#edited")).to_have_value('{"a": 1}')
    page.click("#cancel-edit")
    page.click("#confirmation-go")
    expect(page.locator("#editor")).to_be_hidden()
    assert accessibility_faults(page) == []

    # Back at the list, the keyboard is at the letter that one came from.
    page.click("#back")
    expect(row_of(page, "waiting/next2").get_by_role("link")).to_be_focused()

    # A task leads to its letter, or to what became of that.
    page.goto(f"{place.url}/dead-letters/of-task/{ids[3].rpartition(':')[0]}")
    expect(page.locator("#title")).to_have_text("waiting/next3")
    page.goto(f"{place.url}/dead-letters/of-task/{ids[1].rpartition(':')[0]}")
    expect(page.locator("#notices")).to_contain_text("it was discarded by someone else")

    # On a phone an error begins with what is not said already, and a name that is not known leads to one that is.
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{place.url}/dead-letters?route=waitin%2F%7Bdevice%7D")
    page.locator("#suggestions").get_by_role("button", name=WAITING).click()
    error, topic = (page.locator(f"#letters tbody tr .{name}").first for name in ("error-text", "topic-cell"))
    expect(error).to_be_visible()
    boxes = error.bounding_box(), topic.bounding_box()
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] < boxes[1]["y"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_route_has_charts_of_its_past(place: Place, visit: Callable[..., Visit]) -> None:
    with place.store.client() as client:
        now = float(client.time()[0])
        # What other tests have buried meanwhile counts too.
        for age_s in (7260, 7200, 3600, 60):
            add_totals(client, place.keys, "done", {OTHER: 1000})
            add_counts(client, place.keys, at=now - age_s)
            add_times(client, place.keys, {OTHER: ([0, 0, 0, 10], [0, 1])}, at=now - age_s)
    page = visit().page
    page.goto(f"{place.url}/routes")
    page.get_by_role("link", name=OTHER, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(OTHER)
    expect(page.locator("#sum-done")).to_have_text(re.compile("[34],000"))
    chart = page.get_by_role("img", name=re.compile(r"In and done: .* done in 24 hours"))
    expect(chart).to_be_visible()
    # Nobody was there for nearly a whole day: that is no line at zero.
    assert "M0 0H" in chart.locator(".chart-gap").get_attribute("d")
    assert chart.locator(".chart-done").get_attribute("d").count("M") >= 3
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    expect(page.locator("#reading")).to_contain_text("nobody looked")
    page.get_by_role("button", name="31 days").click()
    expect(page.get_by_role("img", name=re.compile("done in 31 days")).first).to_be_visible()
    page.click("#table-title")
    expect(page.locator("#numbers tr")).to_have_count(31)
    assert accessibility_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    expect(page.locator(".chart").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{place.url}/routes/history?route=none")
    expect(page.locator("#live-text")).to_contain_text("no such route")


def test_the_page_of_a_replayed_letter_says_what_becomes_of_it(place: Place, visit: Callable[..., Visit]) -> None:
    topic = f"waiting/followed{'-for-long' * 30}"
    letter = place.bury(topic, error=OSError("of the one that is followed"))
    task_id = letter.rpartition(":")[0]
    page = visit().page
    page.goto(f"{place.url}/dead-letters?topic={topic}")
    row_of(page, topic).get_by_role("link").click()
    page.click("#replay")
    page.click("#confirmation-go")
    page.get_by_role("link", name="See what becomes of it").click()
    state, facts = page.locator("#outcome-state"), page.locator("#outcome-facts")
    expect(state).to_have_text("on its queue")
    expect(page.locator("#title")).to_have_text(topic)
    expect(facts).to_contain_text("flower:anonymous@127.0.0.1")
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    expect(page.locator("#title")).to_have_text(topic)
    assert accessibility_faults(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    mine = [message for message in place.take("waiting") if message.id == task_id]
    expect(state).to_have_text("in a worker’s hands, not started yet")
    place.fail(*mine, for_good=False)
    expect(state).to_have_text("failed, and waits for its next run")
    expect(facts).to_contain_text("1 time, last with ValueError")
    with place.store.client() as client:
        client.zrem(place.keys.delayed("waiting"), *client.zrange(place.keys.delayed("waiting"), 0, -1))
    expect(state).to_contain_text("neither done nor dead nor anywhere else")
    place.hold(*mine)
    place.finish(*mine)
    expect(state).to_have_text("done")
    expect(facts).to_contain_text(re.compile("Done20[0-9]{2}-"))

    # What dies again leads to the letter that it is then; the audit leads to the page as well.
    place.bury(topic, error=OSError("of the one that is followed"))
    page.goto(f"{place.url}/dead-letters?topic={topic}")
    row_of(page, topic).get_by_role("checkbox").check()
    page.click("#bulk-replay")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Replayed 1.")
    (message,) = place.take("waiting")
    place.fail(message, for_good=True)
    page.goto(f"{place.url}/dead-letters/{message.id}:0")
    expect(state).to_have_text("dead again")
    facts.get_by_role("link", name=f"{message.id}:1").click()
    expect(page.locator("#title")).to_have_text(topic)
    page.goto(f"{place.url}/dead-letter-changes")
    page.locator("#changes tr", has_text=letter).get_by_role("link", name="replay").click()
    expect(state).to_have_text("done")


def test_what_is_run_again_is_told_with_its_time_and_its_reason(place: Place, visit: Callable[..., Visit]) -> None:
    failure = FailedAttempt(at=time.time() - 5, error="ValueError: <b>no</b> such device", worker="one@here")
    message = TaskMessage(route=OTHER, queue="other", envelope=Envelope(topic="other/d1", payload=b"{}"))
    with place.store.client() as client:
        due_at = time.time() + 600
        client.zadd(place.keys.delayed("other"), {message.failed(failure).encode(): due_at})
        aside = TaskMessage(route=OTHER, queue="other", envelope=Envelope(topic="other/d2", payload=b"{}"))
        client.zadd(place.keys.delayed("other"), {aside.encode(): SET_ASIDE_S + time.time() - 60})
    page = visit().page
    page.goto(f"{place.url}/routes")
    page.locator(f'[data-route="{OTHER}"]').get_by_role("link", name=re.compile("for later")).click()
    row = page.locator(f'[data-id="{message.id}"]')
    expect(row).to_contain_text(re.compile(r"in (9|10) min.*other/\{device_id\}.*'other/d1', 2 bytes.*1 of 1"))
    expect(row).to_contain_text("ValueError: <b>no</b> such device")
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Set aside").click()
    expect(page.locator(f'[data-id="{aside.id}"]')).to_contain_text("'other/d2', 2 bytes")
    page.select_option("#route", WAITING)
    expect(page.locator("#nothing")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{place.url}/routes/retries")
    expect(row).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with place.store.client() as client:
        client.delete(place.keys.delayed("other"))


def test_a_browser_that_remembers_nothing_can_use_the_pages(place: Place, visit: Callable[..., Visit]) -> None:
    letters = [place.bury(f"waiting/forgotten{number}", error=OSError("of those forgotten")) for number in range(3)]
    page = visit().page
    refused = "get() { throw new DOMException('Access is denied for this document.', 'SecurityError'); }"
    page.add_init_script(
        f"for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {{{refused}}});"
    )
    page.goto(f"{place.url}/dead-letters?error=of+those+forgotten")
    row_of(page, "waiting/forgotten0").get_by_role("checkbox").check()
    expect(page.locator("#live-text")).to_have_text("Live")
    row_of(page, "waiting/forgotten1").get_by_role("link").click()
    page.click("#older")
    expect(page.locator("#title")).to_have_text("waiting/forgotten0")
    page.click("#discard")
    page.click("#confirmation-go")
    expect(row_of(page, "waiting/forgotten1")).to_be_visible()
    expect(row_of(page, "waiting/forgotten0")).to_have_count(0)
    page.goto(f"{place.url}/dead-letters/{letters[0]}")
    expect(page.locator("#outcome-state")).to_have_text("discarded")


def test_a_change_is_asked_for_once_and_agreed_to_by_a_click_of_its_own(
    place: Place, visit: Callable[..., Visit]
) -> None:
    letter = place.bury("waiting/asked", error=OSError("of the one that is asked for"))
    begun: list[str] = []
    page = visit().page
    page.on("request", lambda request: begun.append(request.url) if request.url.endswith("/discard") else None)
    # The second half of a double click may meet the question, which was not there when it was begun.
    page.goto(f"{place.url}/dead-letters/{letter}")
    page.click("#discard")
    expect(page.locator("#confirmation-cancel")).to_be_focused()
    page.locator("#confirmation-go").dispatch_event("click", {"detail": 2})
    page.click("#confirmation-cancel")
    expect(page.locator("#discard")).to_be_focused()
    # One who presses twice is asked once, and does it once.
    page.goto(f"{place.url}/dead-letters?error=of+the+one+that+is+asked+for")
    expect(page.locator("#bulk-discard")).to_be_enabled()
    assert begun == []
    page.evaluate("for (let times = 0; times < 2; times++) document.getElementById('bulk-discard').click()")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_have_text(re.compile("^Discarded 1[.]"))
    assert len(begun) == 1

    # Whoever comes second is told so, however the letters were chosen and whenever the other one took them.
    for chooses in (False, True):
        letters = [place.bury("waiting/second", error=OSError("of two people")) for _ in range(3)]
        page.goto(f"{place.url}/dead-letters?error=of+two+people")
        expect(page.locator("#letters tbody tr")).to_have_count(3)
        if chooses:
            page.check("#choose-all")
        page.click("#bulk-discard")
        expect(page.locator("#confirmation")).to_be_visible()
        place.discard(*letters[1:])
        page.click("#confirmation-go")
        expect(page.locator("#notices")).to_contain_text("Discarded 1. 2 had gone: someone else was first.")
    page.get_by_role("link", name="See who, and when").click()
    expect(page.locator("#changes tr", has_text="someone else").first).to_be_visible()
