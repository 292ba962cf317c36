"""An application in the manner of the public RouteMQ runs here, with the changes of docs/migrating.md and no other."""

import json
from typing import Any

from routemq import Controller, Middleware, Router
from routemq.testing import Dead, Done, Later, deliver


class Measured(Middleware):
    async def handle(self, context: Any, next_handler: Any) -> Any:
        context.state["topic"] = context.message.topic
        return await next_handler(context)


class DeviceController(Controller):
    @staticmethod
    async def handle_control(device_id: str, payload: Any, client: Any) -> Any:
        if payload["command"] != "restart":
            raise ValueError(payload["command"])
        answer = {"status": "restarted", "device_id": device_id}
        client.publish(f"devices/{device_id}/control/response", json.dumps(answer))
        return answer


router = Router()
with router.group(prefix="devices", middleware=[Measured()]) as devices:
    devices.on("{device_id}/control", DeviceController.handle_control, qos=1, shared=True, worker_count=3)


def test_a_controller_of_theirs_gets_what_it_got_and_publishes_as_it_did() -> None:
    result = deliver(router, "devices/d7/control", '{"command": "restart"}').check()
    assert result.outcome == Done()
    (published,) = result.published
    assert (published.topic, published.json()["device_id"]) == ("devices/d7/control/response", "d7")


def test_what_it_raises_is_tried_again_and_then_a_dead_letter() -> None:
    first = deliver(router, "devices/d7/control", {"command": "explode"})
    assert isinstance(first.outcome, Later)
    assert deliver(router, "devices/d7/control", {"command": "explode"}, attempt=3).outcome == Dead("failed")
