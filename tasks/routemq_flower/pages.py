"""The HTML pages: shells that their scripts fill, so that nothing of a message is ever part of a page's markup."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import redis
from tornado import web

from routemq.dead_letters import REASONS
from routemq.dead_letters.letter import letter_id
from routemq.lifecycle.moves import BinRoom
from routemq_flower.access import NOT_LOCAL, RouteMQHandler

_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy: no script and no style but those of files from here."""


class OwnFiles(web.StaticFileHandler):
    """Our scripts and styles."""

    def set_extra_headers(self, path: str) -> None:
        """Let browsers ask whether a file has changed, so that an upgrade needs no emptied cache."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


class PageHandler(RouteMQHandler):
    """What our pages share."""

    def prepare(self) -> None:
        """Keep the names of routes, too, from a foreign site whose name was made to lead to this machine."""
        if not self.may_look:
            raise web.HTTPError(403, NOT_LOCAL)

    def show(self, template: str, *, title: str, active_tab: str, scripts: Sequence[str], **values: Any) -> None:
        """Render a page under a policy that lets no payload become a script.

        Args:
            scripts: The page's own, which imports the others.
        """
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")
        options = self.application.options
        self.render(
            template,
            title=title,
            active_tab=active_tab,
            scripts=scripts,
            may_change=self.may_change,
            read_only=options.read_only,
            edition=self.backend.edition(read_only=options.read_only),
            bin_hours=self.backend.settings.dlq_bin_hours,
            bin_letters=BinRoom(kept_s=0).letters,
            own_file=lambda name: self.reverse_url("routemq-static", name),
            **values,
        )


class DeadLettersPage(PageHandler):
    """Overview, table and bulk actions."""

    @web.authenticated
    def get(self) -> None:
        routes = self.backend.router.routes
        self.show(
            "dead_letters.html",
            title="Dead letters",
            description="Messages that no further run would help. They wait here until you decide.",
            active_tab="dead-letters",
            scripts=("dead_letters.js", "common.js", "confirmation.js", "bars.js", "bulk.js", "chosen.js"),
            reasons=REASONS,
            routes=[route.name for route in routes],
            queues=sorted(self.backend.router.queues),
        )


class LetterPage(PageHandler):
    """One dead letter."""

    @web.authenticated
    def get(self, letter_id: str) -> None:
        self.show(
            "dead_letter.html",
            title="Dead letter",
            active_tab="dead-letters",
            scripts=("dead_letter.js", "common.js", "confirmation.js", "bulk.js"),
            letter_id=letter_id,
        )


class LetterOfTask(PageHandler):
    """Leads from a Celery task to its last dead letter, or to the page that says what became of it."""

    @web.authenticated
    async def get(self, task_id: str) -> None:
        try:
            found = await self.backend.read(self.backend.letters.find, task_id)
        except redis.RedisError:
            # The page of a letter says what is wrong with Redis, and leads on from one that is gone.
            found = None
        self.redirect(f"{self.reverse_url('dead-letters')}/{quote(found or letter_id(task_id, 0), safe='')}")


class ReplayPage(PageHandler):
    """One replay of many letters, and what has become of them."""

    @web.authenticated
    def get(self, replay_id: str) -> None:
        self.show(
            "replay.html",
            title="Replay",
            active_tab="dead-letters",
            scripts=("replay.js", "common.js", "confirmation.js", "bulk.js"),
            replay_id=replay_id,
        )


class ChangesPage(PageHandler):
    """Who changed what, and what can be undone."""

    @web.authenticated
    def get(self) -> None:
        self.show(
            "changes.html",
            title="Changes",
            description="Who replayed, discarded, paused or resized what. What was discarded within a day comes back.",
            active_tab="dead-letters",
            scripts=("changes.js", "common.js", "confirmation.js", "bulk.js"),
        )


class RoutesPage(PageHandler):
    """Every route with its queue, its rates and its workers."""

    @web.authenticated
    def get(self) -> None:
        self.show(
            "routes.html",
            title="Routes",
            description="Which topics go to which controller, on which queue, with how many hands.",
            active_tab="routes",
            scripts=("routes.js", "common.js", "confirmation.js"),
        )


class RouteHistoryPage(PageHandler):
    """What one route did in the last day or month; which, is in the page's address."""

    @web.authenticated
    def get(self) -> None:
        self.show(
            "route_history.html",
            title="Route",
            active_tab="routes",
            scripts=("route_history.js", "common.js", "chart.js"),
        )


class RetriesPage(PageHandler):
    """What is going to be run again, and what is set aside with a paused route."""

    @web.authenticated
    def get(self) -> None:
        self.show(
            "retries.html",
            title="Retries",
            description="What failed and is run again when its time has come, and what waits for a paused route.",
            active_tab="routes",
            scripts=("retries.js", "common.js"),
            routes=[route.name for route in self.backend.router.routes],
        )
