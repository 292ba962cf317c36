"""Who may see and who may change what: Flower's own rules, and one more for a Flower without a password."""

import base64
import binascii
import ipaddress
import logging
from typing import Any
from urllib.parse import urlsplit

import redis
import tornado.web
from flower.views import BaseHandler

from routemq.errors import RouteMQError
from routemq_flower.backend import Backend

logger = logging.getLogger(__name__)

_NOT_PROTECTED = (
    "Flower has no password, so this works only in its own pages, and changes only at localhost. "
    "Start it with --basic_auth=user:password, or set FLOWER_UNAUTHENTICATED_API=true to open the API to everyone."
)


class RouteMQHandler(BaseHandler):
    """What our pages and our API share."""

    @property
    def backend(self) -> Backend:
        """The store and the routes, made at the first request; Flower is one process with one loop."""
        return Backend.of(self.application)

    @property
    def is_protected(self) -> bool:
        """Whether Flower asks who is there."""
        options = self.application.options
        return bool(options.basic_auth or options.auth)

    @property
    def may_change(self) -> bool:
        """Whether buttons are of any use to this visitor."""
        if self.application.options.read_only:
            return False
        return self.is_protected or self.unauthenticated_api or self._is_local()

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

    def _is_local(self) -> bool:
        # The name in the browser's address bar, not the address of the connection: a page of a foreign site whose name
        # is made to lead to 127.0.0.1 has its own name there.
        host = urlsplit(f"//{self.request.host}").hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


class ApiHandler(RouteMQHandler):
    """JSON in, JSON out; errors too: `{"error": "…"}`."""

    def prepare(self) -> None:
        """Let in whom Flower's own API lets in, and our own pages.

        Raises:
            tornado.web.HTTPError: 401, as Flower's own API answers when it has no password and was not opened.
        """
        self.set_header("Cache-Control", "no-store")
        if self.is_protected or self.unauthenticated_api:
            return
        if not self._is_own_page() or (self._is_change and not self._is_local()):
            raise tornado.web.HTTPError(401, _NOT_PROTECTED)

    @property
    def _is_change(self) -> bool:
        return self.request.method not in ("GET", "HEAD", "OPTIONS")

    def _is_own_page(self) -> bool:
        """Whether the request carries the token that only a page of this Flower can read."""
        site = self.request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = self.request.headers.get("Origin")
        if site != "same-origin" or (origin and urlsplit(origin).netloc != self.request.host):
            return False
        try:
            tornado.web.RequestHandler.check_xsrf_cookie(self)
        except tornado.web.HTTPError:
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
        message = "The server failed; its log has the traceback." if status_code >= 500 else self._reason
        if isinstance(error, tornado.web.HTTPError) and error.log_message:
            message = error.get_message()
        elif isinstance(error, redis.RedisError):
            status_code, message = 503, f"Redis cannot be reached: {error}"
        elif isinstance(error, RouteMQError):
            status_code, message = 400, str(error)
        self.set_status(status_code)
        if status_code == 401 and self.application.options.basic_auth:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.finish({"error": message})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is unexpected; an absent Redis or a refused request is no traceback."""
        if isinstance(value, redis.RedisError | RouteMQError):
            logger.warning("request refused path=%s error=%s", self.request.path, value)
            return
        super().log_exception(typ, value, tb)
