"""The JSON behind a route's charts; docs/flower.md describes it."""

from tornado import web

from routemq.metrics.history import read_history, steps_of
from routemq.metrics.history_columns import columns_of
from routemq.metrics.history_grain import Span
from routemq.metrics.history_room import MOST_ROUTES, NoHistoryRoomError
from routemq_flower.access import ApiHandler
from routemq_flower.requests import BadRequestError, one_of, only

_SPANS: tuple[Span, ...] = ("day", "month")


class RouteHistory(ApiHandler):
    """GET: what a route did in the last day or month, as columns of one number for each step."""

    @web.authenticated
    async def get(self) -> None:
        only(self.request.query_arguments, ("route", "span", "step"))
        route = self.get_argument("route", "", strip=False, escape=False)
        span = one_of("span", self.get_argument("span", "day", escape=False), _SPANS)
        step_s = self._step_s(span)
        backend = self.backend
        if backend.router.get(route) is None and not await backend.read(self._is_counted, route):
            raise web.HTTPError(404, "There is no such route, and nothing was counted of one.")
        found = await backend.read(read_history, backend.client, backend.keys, route, span=span, step_s=step_s)
        problem = str(NoHistoryRoomError(routes=[route], most=MOST_ROUTES)) if found.is_left_out else None
        await self.answer(columns_of(found) | {"span": span, "problem": problem})

    def _is_counted(self, route: str) -> bool:
        return bool(self.backend.client.exists(self.backend.keys.counters(route)))

    def _step_s(self, span: Span) -> int:
        allowed = {str(step): step for step in steps_of(span)}
        asked = self.get_argument("step", next(iter(allowed)), escape=False)
        if asked not in allowed:
            raise BadRequestError(name="step", value=asked, allowed=f"seconds: {', '.join(allowed)}")
        return allowed[asked]
