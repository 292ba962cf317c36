"""How an alert reaches somebody: an HTTP request, a function of the application, or both."""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import orjson

from routemq.errors import ConfigurationError, NamedCodeError
from routemq.named_code import named_function
from routemq.settings import Settings
from routemq.text import error_line

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that began, or is over.

    Attributes:
        key: The same for both.
        text: For a person.
        group: `MQTT_GROUP_NAME` of the fleet.
        since: When it began, Unix seconds; likewise `at`, when this is told.
    """

    event: Literal["began", "ended"]
    key: str
    text: str
    group: str
    since: float
    at: float


AlertHook = Callable[[Alert], object]


class Delivery:
    """Where alerts go.

    Attributes:
        half_told: By their key: those that the log and the function have had, and the address has not.

    Raises:
        ConfigurationError: `ALERT_HOOK` names no function, or `ALERT_WEBHOOK` is no address.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = None if settings.alert_webhook is None else _checked(settings.alert_webhook.get_secret_value())
        self._hook = None if settings.alert_hook is None else _load(settings.alert_hook)
        self.half_told: dict[str, Alert] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to be told."""
        return self._url is not None or self._hook is not None

    def deliver(self, alert: Alert) -> bool:
        """Tell it; False when it did not arrive, and should be told again: the function then hears of it no more."""
        before = self.half_told.get(alert.key)
        if before is None or before.event != alert.event:
            self.half_told[alert.key] = alert
            self.deliver_here(alert)
        if not self._post(alert):
            return False
        del self.half_told[alert.key]
        return True

    def deliver_here(self, alert: Alert) -> None:
        """Tell it to the log and the application's function alone."""
        logger.warning("alert %s: %s", alert.event, alert.text, extra={"alert": alert.key})
        self._call(alert)

    def _post(self, alert: Alert) -> bool:
        if self._url is None:
            return True
        # Megabytes that nobody needs who is told of nothing.
        import http.client
        import urllib.error
        import urllib.request

        words = alert.text if alert.event == "began" else f"over: {alert.text}"
        # Chat services show `text`, whatever else is there.
        body = {
            "text": f"[{alert.group}] {words}", "event": alert.event, "key": alert.key, "group": alert.group,
            "host": socket.gethostname(), "since": alert.since, "at": alert.at,
        }  # fmt: skip
        request = urllib.request.Request(  # noqa: S310  the scheme was checked
            self._url, data=orjson.dumps(body), headers={"Content-Type": "application/json", "User-Agent": "routemq"}
        )
        opener = urllib.request.OpenerDirector()
        # None for redirections: those are followed by a GET, which tells nobody anything, and is told that all is well.
        for handler in (
            urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor,
        ):  # fmt: skip
            opener.add_handler(handler())
        try:
            with opener.open(request, timeout=_TIMEOUT_S):
                return True
        except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError) as exc:
            # Not the address: it may hold a token.
            logger.error("alert not delivered to ALERT_WEBHOOK, trying again: %s", error_line(exc))
            return False

    def _call(self, alert: Alert) -> None:
        if self._hook is None:
            return
        try:
            self._hook(alert)
        # The hook is the user's code; an alert that it cannot take must not end what tells of it. `SystemExit` would
        # end this thread without a word.
        except BaseException as exc:  # noqa: BLE001
            logger.error("ALERT_HOOK failed: %s", error_line(exc))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = (
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
            and url.isprintable() and " " not in url and f"{parts.path}{parts.query}".isascii()
        )  # fmt: skip
    except ValueError:
        is_address = False
    if not is_address:
        # What cannot be asked would be told of with a part of the address in each error.
        allowed = "an address, https://host/…, without a user's name and password, and with %-signs for special letters"
        raise ConfigurationError(variable="ALERT_WEBHOOK", value="(hidden)", allowed=allowed)
    return url


def _load(name: str) -> AlertHook:
    try:
        return named_function(name, "alert")
    except NamedCodeError as exc:
        allowed = f"package.module:function ({exc.problem}; mend: {exc.mend})"
        raise ConfigurationError(variable="ALERT_HOOK", value=name, allowed=allowed) from exc
