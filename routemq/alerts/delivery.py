"""How an alert reaches somebody: an HTTP request, a function of the application, or both."""

import inspect
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
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
_ENDING_S = 0.01
_MOST_UNTOLD = 1_000


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


class _Aside:
    """Waits for what is not ours, as long as it may take, and asks it for nothing more while it is still at it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], object]) -> None:
        """Have it called.

        Raises:
            TimeoutError: It has not ended, or has not even ended what it was asked before.
            RuntimeError: The system has no thread at this moment.
            BaseException: It raised that.
        """
        if self._thread is not None:
            # It may have ended its work, and not yet itself.
            self._thread.join(_ENDING_S)
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("it is still at an earlier one")
        future: Future[None] = Future()

        def run() -> None:
            try:
                call()
            except BaseException as exc:  # noqa: BLE001  raised where it was asked for
                future.set_exception(exc)
            else:
                future.set_result(None)

        # A daemon: it may hang for ever.
        thread = threading.Thread(target=run, name="routemq-alert", daemon=True)
        thread.start()
        self._thread = thread
        try:
            future.result(_TIMEOUT_S)
        except TimeoutError as exc:
            if future.done():
                raise
            raise TimeoutError(f"it takes longer than {_TIMEOUT_S:g} s") from exc


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
        self._address, self._function = _Aside(), _Aside()
        self._untold: deque[Alert] = deque(maxlen=_MOST_UNTOLD)
        self.half_told: dict[str, Alert] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to be told."""
        return self._url is not None or self._hook is not None

    def deliver(self, alert: Alert, *, here_alone: bool = False) -> bool:
        """Tell it; False when it did not arrive, and should be told again: the function then hears of it no more.

        Args:
            here_alone: Leave the address for the next time.
        """
        before = self.half_told.get(alert.key)
        if before is None or before.event != alert.event:
            self.half_told[alert.key] = alert
            self.deliver_here(alert)
        if self._url is not None and (here_alone or not self._post(self._url, alert)):
            return False
        del self.half_told[alert.key]
        return True

    def deliver_here(self, alert: Alert) -> None:
        """Tell it to the log and the application's function alone."""
        logger.warning("alert %s: %s", alert.event, alert.text, extra={"alert": alert.key})
        self._call(alert)

    def _post(self, url: str, alert: Alert) -> bool:
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
            url, data=orjson.dumps(body), headers={"Content-Type": "application/json", "User-Agent": "routemq"}
        )
        opener = urllib.request.OpenerDirector()
        # None for redirections: those are followed by a GET, which tells nobody anything, and is told that all is well.
        for handler in (
            urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor,
        ):  # fmt: skip
            opener.add_handler(handler())

        def post() -> None:
            try:
                opener.open(request, timeout=_TIMEOUT_S).close()
            except urllib.error.HTTPError as exc:
                exc.close()
                raise

        try:
            # The limit of a socket is that of each byte.
            self._address.ask(post)
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as exc:
            # Not the address: it may hold a token.
            logger.error("alert not delivered to ALERT_WEBHOOK, trying again: %s", error_line(exc))
            return False
        return True

    def _call(self, alert: Alert) -> None:
        if self._hook is None:
            return
        self._untold.append(alert)
        try:
            self._function.ask(self._tell)
        except (TimeoutError, RuntimeError) as exc:
            logger.error("ALERT_HOOK has not ended, and is told the rest when it has: %s", error_line(exc))

    def _tell(self) -> None:
        """Tell the function what it has not been told; in a thread of its own, for it may be slow."""
        while self._hook is not None and self._untold:
            try:
                said = self._hook(self._untold.popleft())
            # The hook is the user's code; an alert that it cannot take must not end what tells of it. `SystemExit`
            # would end this thread without a word.
            except BaseException as exc:  # noqa: BLE001
                logger.error("ALERT_HOOK failed: %s", error_line(exc))
                continue
            if inspect.iscoroutine(said):
                said.close()
                logger.error("ALERT_HOOK failed: it returned a coroutine, which nobody awaits")


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
