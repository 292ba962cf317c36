"""Who may see and who may change what: Flower's own rules, and one more for a Flower without a password."""

import base64
import binascii
import logging
from http.client import responses
from typing import Any
from urllib.parse import urlsplit

import redis
import tornado.web
from flower.views import BaseHandler
from tornado.iostream import StreamClosedError

from routemq.errors import RouteMQError
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.refusals import code_of, explain
from routemq.text import printable
from routemq_flower.backend import Backend
from routemq_flower.loopback import asks_for_loopback, comes_from_here, listens_on_loopback_alone
from routemq_flower.upstream.steady_events import SteadyEvents

logger = logging.getLogger(__name__)

_MEND = (
    "Start it with --basic_auth=user:password, or set FLOWER_UNAUTHENTICATED_API=true to open the API to everyone "
    "who reaches it."
)
NOT_LOCAL = f"Flower has no password, so it answers here only to localhost and loopback addresses. {_MEND}"
_NOT_OWN_PAGE = f"Flower has no password, so this works only in its own pages. {_MEND}"
_NOT_CHANGED_FROM_AFAR = (
    "Flower has no password, so letters are changed only in a browser on its own machine, without a proxy, and while "
    f"it listens on a loopback address alone. {_MEND}"
)


class RouteMQHandler(BaseHandler):
    """What our pages and our API share."""

    @property
    def backend(self) -> Backend:
        """The store and the routes, made at the first request; Flower is one process with one loop."""
        return Backend.of(self.application)

    @property
    def blindness(self) -> dict[str, Any] | None:
        """Since when and why Flower hears nothing of the workers; None while it does."""
        events = self.application.events
        return events.told() if isinstance(events, SteadyEvents) else None

    @property
    def is_unguarded(self) -> bool:
        """Whether Flower asks nobody for a name, and nobody has said that this is meant."""
        options = self.application.options
        return not (options.basic_auth or options.auth or self.unauthenticated_api)

    @property
    def may_look(self) -> bool:
        """Whether this visitor may see letters: not a foreign site whose name was made to lead to this machine."""
        is_open = not self.is_unguarded or not listens_on_loopback_alone(self.application.io_loop)
        return is_open or asks_for_loopback(self.request)

    @property
    def may_change(self) -> bool:
        """Whether buttons are of any use to this visitor."""
        if self.application.options.read_only:
            return False
        return not self.is_unguarded or (
            listens_on_loopback_alone(self.application.io_loop)
            and comes_from_here(self.request)
            and asks_for_loopback(self.request)
        )

    @property
    def actor(self) -> str:
        """Who does it, for the audit stream."""
        return f"flower:{self._user_name()}@{self.request.remote_ip}"

    def _user_name(self) -> str:
        if isinstance(self.current_user, str):
            return self.current_user
        scheme, _, credentials = self.request.headers.get("Authorization", "").partition(" ")
        if self.application.options.basic_auth and scheme == "Basic":
            try:
                return base64.b64decode(credentials).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                return "unknown"
        return "anonymous"

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is unexpected; an absent Redis or a refused request is one line, and no traceback."""
        if isinstance(value, StreamClosedError):
            # Whoever asked does not wait any more.
            return
        is_refusal = isinstance(value, tornado.web.HTTPError) and value.log_message
        if is_refusal or isinstance(value, redis.RedisError | RouteMQError):
            # It may quote the request, in which anybody writes what they like.
            logger.warning("request refused path=%s error=%s", printable(self.request.path), printable(str(value)))
            return
        super().log_exception(typ, value, tb)


class ApiHandler(RouteMQHandler):
    """JSON in, JSON out; errors too: `{"error": "…"}`."""

    def prepare(self) -> None:
        """Let in whom Flower's own API lets in, and our own pages.

        Raises:
            tornado.web.HTTPError: 401, as Flower's own API answers when it has no password and was not opened.
        """
        self.set_header("Cache-Control", "no-store")
        self.set_header("RouteMQ-Pages", self.backend.edition(read_only=self.application.options.read_only))
        if not self.may_look:
            raise tornado.web.HTTPError(401, NOT_LOCAL)
        if self.is_unguarded and not self._is_own_page():
            raise tornado.web.HTTPError(401, _NOT_OWN_PAGE)
        if self._is_change and not self.may_change and not self.application.options.read_only:
            raise tornado.web.HTTPError(401, _NOT_CHANGED_FROM_AFAR)

    @property
    def _is_change(self) -> bool:
        return self.request.method not in ("GET", "HEAD", "OPTIONS")

    def _is_own_page(self) -> bool:
        """Whether the request carries the token that only a page of this Flower can read."""
        site = self.request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = self.request.headers.get("Origin")
        try:
            if site != "same-origin" or (origin and urlsplit(origin).netloc != self.request.host):
                return False
            tornado.web.RequestHandler.check_xsrf_cookie(self)
        # An origin that is no address, or a token that is not the one of the cookie.
        except (ValueError, tornado.web.HTTPError):
            return False
        return True

    def require_change_allowed(self) -> None:
        """Refuse a change in read-only mode, as Flower's own API does."""
        if self.application.options.read_only:
            raise tornado.web.HTTPError(403, "Read only mode is enabled")

    async def answer(self, result: Any) -> None:
        """Write JSON; a list too, which Tornado alone refuses for the sake of browsers long gone."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        await self.finish(result)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one line for a person, never a page."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        message: str | None = "The server failed; its log has the traceback."
        if status_code < 500:
            message = responses.get(status_code)
        if isinstance(error, tornado.web.HTTPError) and error.log_message:
            message = error.get_message()
        elif isinstance(error, UnusableKeyError):
            status_code, message = 503, str(error)
        elif isinstance(error, redis.RedisError):
            # A server that answers is there, whatever it refuses.
            told = explain(error) if code_of(error) else f"Redis cannot be reached: {explain(error)}"
            status_code, message = 503, told[0].upper() + told[1:]
        elif isinstance(error, RouteMQError):
            status_code, message = 400, str(error)
        self.set_status(status_code)
        if status_code == 401 and self.application.options.basic_auth:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        # A page says it at the field.
        field = {"field": name} if isinstance(name := getattr(error, "field", None), str) else {}
        self.finish({"error": message, **field})
