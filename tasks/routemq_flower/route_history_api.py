"""The JSON behind a route's charts; docs/flower.md describes it."""

from collections.abc import Sequence
from typing import Any

from tornado import web

from routemq.metrics.histogram import quantile
from routemq.metrics.history import COUNTS, History, Slot, Span, read_history, steps_of
from routemq_flower.access import ApiHandler
from routemq_flower.requests import BadRequestError, only

_SPANS: tuple[Span, ...] = ("day", "month")
_SHARES = {"p50": 0.5, "p95": 0.95}


class RouteHistory(ApiHandler):
    """GET: what a route did in the last day or month, as columns of one number for each step."""

    @web.authenticated
    async def get(self) -> None:
        only(self.request.query_arguments, ("route", "span", "step"))
        route = self.get_argument("route", "", strip=False, escape=False)
        span = self._span()
        step_s = self._step_s(span)
        backend = self.backend
        if backend.router.get(route) is None and not await backend.read(self._is_counted, route):
            raise web.HTTPError(404, "There is no such route, and nothing was counted of one.")
        found = await backend.read(read_history, backend.client, backend.keys, route, span=span, step_s=step_s)
        await self.answer(_columns(found) | {"span": span})

    def _is_counted(self, route: str) -> bool:
        return bool(self.backend.client.exists(self.backend.keys.counters(route)))

    def _span(self) -> Span:
        asked = self.get_argument("span", "day", escape=False)
        for span in _SPANS:
            if asked == span:
                return span
        raise BadRequestError(name="span", value=asked, allowed=" or ".join(_SPANS))

    def _step_s(self, span: Span) -> int:
        allowed = {str(step): step for step in steps_of(span)}
        asked = self.get_argument("step", next(iter(allowed)), escape=False)
        if asked not in allowed:
            raise BadRequestError(name="step", value=asked, allowed=f"seconds: {', '.join(allowed)}")
        return allowed[asked]


def _columns(found: History) -> dict[str, Any]:
    slots = found.slots
    known = [slot for slot in slots if slot.counts is not None]
    return {
        "route": found.route,
        "step_s": found.step_s,
        "from": slots[0].at,
        "until": slots[-1].at + found.step_s,
        # Nobody looked: null, which is no zero.
        **{name: [None if slot.counts is None else slot.counts[name] for slot in slots] for name in COUNTS},
        **{
            f"{kind}_{name}_s": [_rounded(getattr(slot, kind), share) for slot in slots]
            for kind in ("run", "wait")
            for name, share in _SHARES.items()
        },
        "sums": {name: sum((slot.counts or {})[name] for slot in known) for name in COUNTS}
        | {
            f"{kind}_{name}_s": _rounded(_sum(slots, kind), share)
            for kind in ("run", "wait")
            for name, share in _SHARES.items()
        },
    }


def _sum(slots: Sequence[Slot], kind: str) -> list[int]:
    return [sum(column) for column in zip(*(getattr(slot, kind) for slot in slots), strict=True)]


def _rounded(counts: Sequence[int], share: float) -> float | None:
    time_s = quantile(counts, share)
    return None if time_s is None else float(f"{time_s:.3g}")
