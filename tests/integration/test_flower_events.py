"""What Flower hears of the workers when Redis was away."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.browser import chromium
from tests.flower import serving
from tests.gate import Gate
from tests.processes import wait_until
from tests.servers import HOST, Redis


def test_a_redis_that_comes_back_is_found_within_seconds(redis_server: Redis) -> None:
    gate = Gate(redis_server)
    gate.open()
    env = {"REDIS_URL": f"redis://{HOST}:{gate.port}/0"}
    with serving(redis_server, "--logging=debug", env=env) as place:
        heard = place.process.wait_for_output("Connected to redis")
        assert "nothing is heard" not in heard
        gate.close()
        # At Flower's own pace the fifth attempt comes after 40 s, and each of the next a minute later.
        tried = "events are not heard"
        wait_until(lambda: place.process.output().count(tried) >= 8, message="it was tried eight times")
        gate.open()
        place.process.wait_for_output("the workers are heard again")
        # A line when it begins and one when it ends, not one for each attempt.
        assert place.process.output().count("nothing is heard of the workers") <= 2
    gate.close()


def test_the_page_says_that_it_is_blind(own_store: Callable[..., Redis]) -> None:
    store = own_store("redis")
    with serving(store) as place, chromium() as browser, store.client() as client:
        place.process.wait_for_output("Connected to redis")
        page = browser.new_context().new_page()
        page.goto(f"{place.url}/routes")
        expect(page.locator("#live-text")).to_have_text("Live")
        expect(page.locator("[data-key=blind]")).to_have_count(0)

        # Redis answers, and lets nobody subscribe any more.
        client.execute_command("ACL", "SETUSER", "default", "resetchannels")
        client.client_kill_filter(_type="pubsub")
        notice: Any = page.locator("[data-key=blind]")
        expect(notice).to_contain_text("Flower has heard nothing of the workers for")
        expect(page.locator("#live-text")).to_have_text("Live")

        client.execute_command("ACL", "SETUSER", "default", "allchannels")
        expect(notice).to_have_count(0)
