"""The JSON of what is going to be run again; docs/flower.md describes it."""

from dataclasses import asdict

from tornado import web

from routemq.retries import Kind, read_waiting
from routemq_flower.access import ApiHandler
from routemq_flower.requests import one_of, only, whole_number

_KINDS: tuple[Kind, ...] = ("later", "aside")
_MOST = 500


class RetryList(ApiHandler):
    """GET: what is due first, with its failed runs and what the last one said."""

    @web.authenticated
    async def get(self) -> None:
        only(self.request.query_arguments, ("route", "kind", "limit"))
        route = self.get_argument("route", None, strip=False, escape=False)
        most = whole_number("limit", self.get_argument("limit", None, escape=False), default=100, most=_MOST)
        kind, backend = one_of("kind", self.get_argument("kind", "later", escape=False), _KINDS), self.backend
        found = await backend.search(
            read_waiting, backend.client, backend.keys, backend.queues, kind=kind, most=most, route=route
        )
        runs = {each.name: each.retry.max_attempts for each in backend.router.routes}
        await self.answer(
            {
                "messages": [asdict(each) | {"max_attempts": runs.get(each.route)} for each in found.messages],
                "later": found.later,
                "aside": found.aside,
                "looked_at": found.looked_at,
                "is_whole": found.is_whole(kind),
                "now": found.now,
                "problems": found.problems,
            }
        )
