"""The desk inside Flower: who can use it, and what it asks before it changes something."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser import Visit, accessibility_faults
from tests.flower import Place


def test_everybody_can_use_the_pages(place: Place, visit: Callable[..., Visit]) -> None:
    ids = [place.bury(f"waiting/many{number}", error=ConnectionError("payment")) for number in range(101)]
    page = visit().page
    page.goto(f"{place.url}/dead-letters?topic=waiting/many7")
    expect(page.locator("#letters tbody tr")).to_have_count(1)
    assert accessibility_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1280, "height": 900})

    # From a hundred letters on, nobody discards them without having read how many.
    page.goto(f"{place.url}/dead-letters?error=payment")
    page.click("#bulk-discard")
    expect(page.locator("#confirmation-title")).to_have_text("Discard 101 dead letters?")
    expect(page.locator("#confirmation-typed")).to_be_focused()
    for typed, is_right in (("", False), ("100", False), ("101", True)):
        page.fill("#confirmation-typed", typed)
        assert page.is_enabled("#confirmation-go") == is_right
    assert accessibility_faults(page, "#confirmation") == []

    for path, there in ((f"dead-letters/{ids[0]}", "#payload"), ("routes", "tr[data-route]")):
        page.goto(f"{place.url}/{path}")
        expect(page.locator(there).first).to_be_visible()
        assert accessibility_faults(page) == []
