"""Pages inside Flower that stay open: while servers, logins and letters come and go, and somebody reads or presses."""

import re
from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.browser import Visit, accessibility_faults, row_of
from tests.flower import WAITING, Place

LOOK = "document.dispatchEvent(new Event('visibilitychange'))"
"""A page looks as one comes back to it."""


def test_what_failed_for_a_moment_goes_on(place: Place, visit: Callable[..., Visit]) -> None:
    letters = [place.bury(f"waiting/moment{number}", error=OSError("of a moment")) for number in range(2)]
    page = visit().page
    lost: set[str] = set()

    def pass_on(route: Route) -> None:
        part = next((part for part in lost if re.search(part, route.request.url)), None)
        if part is None:
            route.continue_()
        else:
            lost.remove(part)
            route.abort()

    page.route("**/api/**", pass_on)
    # The page of a letter that could not be asked for.
    lost.add("/letter/[^/]+$")
    page.goto(f"{place.url}/dead-letters/{letters[0]}")
    expect(page.locator("#notices")).to_contain_text("Flower does not answer")
    expect(page.locator("#payload")).to_be_visible()
    expect(page.locator("#notices")).to_be_empty()
    # The progress of a change, and what was chosen for one that has failed.
    page.goto(f"{place.url}/dead-letters?error=of+a+moment&route=waiting%2F%7Bdevice_id%7D")
    row_of(page, "waiting/moment0").get_by_role("checkbox").check()
    lost.add("/operations/")
    page.click("#bulk-discard")
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("Discarded 1.")
    # An undo that did not come through can be pressed again.
    lost.add("/undo")
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    expect(page.locator("#notices")).to_contain_text("Flower does not answer")
    undo.click()
    expect(page.locator("#notices")).to_contain_text("Brought back 1.")
    expect(row_of(page, "waiting/moment0")).to_be_visible()
    assert accessibility_faults(page) == []
    # The keyboard stays at a button while the page goes on looking.
    place.discard(letters[0])
    page.goto(f"{place.url}/dead-letter-changes")
    undo = page.locator("#changes tr", has_text="someone else").first.get_by_role("button", name="Undo")
    undo.focus()
    for _ in range(2):
        with page.expect_response("**/audit?*"):
            page.evaluate(LOOK)
    expect(undo).to_be_focused()


def test_a_flower_that_hangs_is_not_told_to_be_live(place: Place, visit: Callable[..., Visit]) -> None:
    page = visit().page
    hangs = [True]
    page.route("**/api/routes", lambda route: None if hangs[0] else route.continue_())
    page.add_init_script(
        "{ const all = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => all(ms / 20); }"
    )
    page.goto(f"{place.url}/routes")
    expect(page.locator("#live-text")).to_contain_text("Flower does not answer")
    hangs[0] = False
    expect(page.locator(f'[data-route="{WAITING}"]')).to_be_visible()
    # A change that is not answered is told, too.
    page.route("**/api/routes/pause", lambda route: None)
    page.get_by_role("button", name=f"Pause {WAITING}", exact=True).click()
    page.click("#confirmation-go")
    expect(page.locator("#notices")).to_contain_text("What was asked for may be done all the same")


def test_a_page_that_is_older_than_flower_or_has_no_login_any_more_says_so(
    place: Place, visit: Callable[..., Visit]
) -> None:
    letter = place.bury("waiting/old", error=OSError("of an old page"))
    page = visit().page
    answers: list[Callable[[Route], None]] = []
    page.route("**/api/**", lambda route: answers[-1](route) if answers else route.continue_())
    for path in ("routes", "dead-letters"):
        page.goto(f"{place.url}/{path}")
        expect(page.locator("#live-text")).to_have_text("Live")
        # A login of Flower's own, one of a proxy, and a proxy behind which Flower is away.
        for answer, told in (
            ({"status": 302, "headers": {"Location": "https://login.example/"}}, "Your login has ended"),
            ({"status": 200, "content_type": "text/html", "body": "<h1>Who are you?</h1>"}, "Your login has ended"),
            ({"status": 502, "content_type": "text/html", "body": "<h1>Bad gateway</h1>"}, "Flower answered 502"),
        ):
            answers[:] = [lambda route, answer=answer: route.fulfill(**answer)]
            page.evaluate(LOOK)
            expect(page.locator("#live-text")).to_contain_text(told)
            stale = page.locator("#notices").get_by_text("What you see is as of")
            expect(stale).to_be_visible()
            # Who closes this was told of this time, and not of the next.
            page.locator("#notices").get_by_role("button", name="Close", exact=True).click()
            answers.clear()
            page.evaluate(LOOK)
            expect(page.locator("#live-text")).to_have_text("Live")
    # Flower was started anew.
    page.goto(f"{place.url}/dead-letters/{letter}")
    expect(page.locator("#payload")).to_be_visible()

    def newer(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"routemq-pages": "newer"})

    answers.append(newer)
    page.click("#edit")
    expect(page.locator("#notices")).to_contain_text("Flower was started anew")
    answers.clear()
    page.get_by_role("button", name="Reload").click()
    expect(page.locator("#payload")).to_be_visible()
    expect(page.locator("#notices")).to_be_empty()


def test_what_somebody_reads_or_presses_stays(place: Place, visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.goto(f"{place.url}/routes")
    pause = page.get_by_role("button", name=f"Pause {WAITING}", exact=True)
    waiting = page.locator(f'[data-route="{WAITING}"] [data-label="Dead"]')
    before = waiting.inner_text()
    # A button that is pressed is let go after the table was filled anew.
    pause.hover()
    page.mouse.down()
    letter = place.bury("waiting/read", error=OSError("of what is read"))
    expect(waiting).not_to_have_text(before)
    page.mouse.up()
    page.click("#confirmation-cancel")
    # Text that is selected can be copied.
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#routes td[data-label=Dead]'))")
    place.discard(letter)
    with page.expect_response("**/api/routes"):
        page.evaluate(LOOK)
    expect(page.locator("#live-text")).to_have_text("Live, but for what is selected")
    expect(waiting).not_to_have_text(before)
    page.evaluate("getSelection().removeAllRanges()")
    expect(waiting).to_have_text(before)
    expect(page.locator("#live-text")).to_have_text("Live")
