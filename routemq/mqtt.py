"""What every MQTT client of ours needs to know: which version to speak, and how to tell of what goes wrong."""

import ssl
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from routemq.settings import MqttProtocol, Settings

_PATIENCE = 3
"""So many CONNECTs in a row may stay unanswered before the other version is tried."""


class ProtocolChoice:
    """The version of MQTT to speak next: 5, unless the broker does not know it.

    3.1.1 costs properties and reason codes, so a broker that is away, or a load balancer without a broker behind it,
    must not lead to it. It is spoken when the broker says so, or when the broker answers 3.1.1 and not 5, which never
    worked with it; and after each connection MQTT 5 is tried again.
    """

    def __init__(self, wanted: MqttProtocol) -> None:
        self._may_change = wanted == "auto"
        self.older = wanted == "3.1.1"
        self.by_word = False
        self._newer_worked = self._older_answers = False
        self._unanswered = 0

    @property
    def version(self) -> MQTTProtocolVersion:
        """The version to connect with."""
        return MQTTProtocolVersion.MQTTv311 if self.older else MQTTProtocolVersion.MQTTv5

    @property
    def name(self) -> str:
        """The version in words."""
        return "MQTT 3.1.1" if self.older else "MQTT 5"

    def refused(self) -> bool:
        """The broker says that it does not speak this version; return whether to try the other one at once."""
        if not self._may_change or self.older:
            return False
        self.older = self.by_word = True
        self._unanswered = 0
        return True

    def unanswered(self) -> bool:
        """A CONNECT got no CONNACK, but silence or a closed connection; return whether the other version is next."""
        if not self._may_change or (self._newer_worked and not self.older):
            return False
        self._unanswered += 1
        if self._unanswered < (1 if self._older_answers and not self.older else _PATIENCE):
            return False
        if self.older:
            self._older_answers = False
        self.older, self.by_word, self._unanswered = not self.older, False, 0
        return True

    def accepted(self) -> bool:
        """The broker accepts; return whether to stay, or to connect anew and see whether it now answers MQTT 5 too."""
        self._unanswered = 0
        self._newer_worked |= not self.older
        if not self.older or not self._may_change or self.by_word or self._older_answers:
            return True
        self._older_answers, self.older = True, False
        return False

    def ended(self) -> None:
        """A connection that was accepted is over."""
        if self._may_change:
            self.older = self.by_word = False


def reason_text(packet_type: int, code: int) -> str:
    """Return a reason code's name; brokers may send some that paho does not know."""
    reason_code: Any = ReasonCode
    try:
        return str(reason_code(packet_type, identifier=code))
    except (KeyError, ValueError):
        return f"reason code 0x{code:02X}"


def connect_problem(error: BaseException, settings: Settings) -> str:
    """Return why no connection could be made, and what to do about it."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{text}; see MQTT_TLS_CA_CERTS, and whether the certificate is for {settings.mqtt_broker!r}"
    if settings.mqtt_tls_enabled and isinstance(error, (ssl.SSLError, ConnectionError, TimeoutError)):
        return f"{text}; does the port {settings.mqtt_port} speak TLS? MQTT_TLS_ENABLED is true"
    return text


def hung_up(settings: Settings) -> str:
    """Return what to say of a broker that closes the connection instead of answering CONNECT."""
    if settings.mqtt_tls_enabled:
        return "the broker hangs up without an answer; does it want a client certificate (MQTT_TLS_CERTFILE)?"
    return (
        f"the broker hangs up without an answer; does the port {settings.mqtt_port} speak TLS? Then set "
        "MQTT_TLS_ENABLED=true"
    )
