"""What an operator can do about an MQTT reason code (MQTT 5, 2.4)."""

from paho.mqtt.reasoncodes import ReasonCode

from routemq.settings import Settings


def connect_mend(reason: ReasonCode, settings: Settings) -> str:
    """Return what to do about a refused CONNECT, as the end of a sentence; empty when there is no advice."""
    if reason.value in (0x86, 0x87):
        user = "no user name is set" if settings.mqtt_username is None else f"the user is {settings.mqtt_username!r}"
        return f"; {user}: check MQTT_USERNAME and MQTT_PASSWORD"
    if reason.value == 0x84 and settings.mqtt_protocol == "5":
        return f"; MQTT_PROTOCOL is {settings.mqtt_protocol}: set it to auto, or to 3.1.1 for an old broker"
    if reason.value == 0x85:
        return "; set MQTT_CLIENT_ID to what the broker allows"
    return ""


def disconnect_mend(reason: ReasonCode, client_id: str) -> str:
    """Return what to do about a DISCONNECT that the broker sent."""
    if reason.value == 0x8E:
        return (
            f"; another process connects as {client_id!r}: give each host its own MQTT_CLIENT_ID, "
            "or another MQTT_GROUP_NAME to another application"
        )
    return ""


def subscribe_mend(reason: ReasonCode) -> str:
    """Return what to do about a refused SUBSCRIBE."""
    if reason.value in (0x80, 0x87):
        return "; allow this user to read the filter in the broker's access list"
    if reason.value == 0x9E:
        return "; this broker has no shared subscriptions: set MQTT_SHARE to auto or never"
    if reason.value == 0xA2:
        return "; this broker has no wildcard subscriptions: write the topics out"
    return ""
