"""Checks of the MQTT broker: by asking it, and by trying it."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from paho.mqtt.enums import MQTTProtocolVersion

from routemq.route import Route
from routemq.settings import Settings
from routemq.text import error_line, plural
from routemq.topics import share_filter
from routemq_ops.doctor.finding import Finding, failed, passed, skipped, warned
from routemq_ops.doctor.own_drops import OwnDrops
from routemq_ops.doctor.probe import Probe, ProbeError

_FIVE, _OLD = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_SPLIT, _MORE_S = 20, 0.5
_BACKLOG = 1_200
"""Mosquitto drops what comes after the thousandth message for a client that is away, unless it is told otherwise."""

_VERSION = "$SYS/broker/version"
_DROPPED = "$SYS/broker/publish/messages/dropped"
_UPTIME = "$SYS/broker/uptime"
_REFUSED = 0x80
_NO_SHARING = 0x9E
_SETTINGS = "MQTT_BROKER, MQTT_PORT, MQTT_USERNAME and MQTT_PASSWORD"
_NOT_TRIED = "not tried, for that takes messages of the doctor's own (--no-probe)"


def check_broker(settings: Settings, routes: Sequence[Route], *, live: bool, own_drops: OwnDrops) -> Iterator[Finding]:
    """Look at the broker; `live` probes publish to topics of the doctor's own, under `routemq/doctor/`.

    Args:
        own_drops: What those made the broker drop, before and now.
    """
    address = f"{settings.mqtt_broker}:{settings.mqtt_port}"
    version, problem = _version(settings)
    if version is None:
        yield failed("mqtt connection", f"{address}: {problem}", f"see {_SETTINGS}, and the broker's own log")
        return
    if version == _FIVE:
        yield passed("mqtt connection", f"{address} speaks MQTT 5")
    elif settings.mqtt_protocol == "3.1.1":
        yield passed("mqtt connection", f"{address} speaks MQTT 3.1.1, as MQTT_PROTOCOL asks for")
    else:
        yield warned(
            "mqtt connection", f"{address} speaks MQTT 3.1.1 and not 5 ({problem})",
            "a broker with MQTT 5 tells reasons, numbers subscriptions, and bounds what is unacknowledged",
        )  # fmt: skip
    yield from _guarded("mqtt limits", lambda: _limits(settings, routes, version))
    yield from _guarded("mqtt subscriptions", lambda: _grants(settings, routes, version))
    if any(route.shared for route in routes):
        yield from _guarded("mqtt shared subscriptions", lambda: _sharing(settings, version, live=live))
    yield from _guarded("mqtt backlog", lambda: _backlog(settings, version, live=live, own_drops=own_drops))
    yield from _guarded("mqtt dropped messages", lambda: _dropped(settings, version, own_drops))


def _guarded(check: str, find: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from find()
    except ProbeError as exc:
        yield failed(check, str(exc), "see the broker's log; a user of its own may need rights for routemq/doctor/#")
    # A check that breaks is a finding, and the others go on.
    except Exception as exc:  # noqa: BLE001
        yield failed(
            check, f"could not be looked at: {error_line(exc)}", f"see {_SETTINGS} and the MQTT_TLS_… settings"
        )


def _version(settings: Settings) -> tuple[MQTTProtocolVersion | None, str]:
    wanted = {"5": (_FIVE,), "3.1.1": (_OLD,)}.get(settings.mqtt_protocol, (_FIVE, _OLD))
    problem = ""
    for version in wanted:
        try:
            with Probe(settings, version=version):
                return version, problem
        except ProbeError as exc:
            problem = problem or str(exc)
    return None, problem


def _limits(settings: Settings, routes: Sequence[Route], version: MQTTProtocolVersion) -> Iterator[Finding]:
    with Probe(settings, version=version, expiry_s=settings.mqtt_session_expiry_s) as probe:
        connack = probe.connack
    # Ends the session that was asked for.
    with Probe(settings, version=version, client_id=probe.client_id):
        pass
    found = []
    most_qos = getattr(connack, "MaximumQoS", 2)
    wanted_qos = max((route.qos for route in routes), default=0)
    if most_qos < wanted_qos:
        found.append(f"QoS {most_qos} at most, routes ask for {wanted_qos}")
    expiry_s = getattr(connack, "SessionExpiryInterval", settings.mqtt_session_expiry_s)
    if expiry_s < settings.mqtt_session_expiry_s:
        found.append(f"sessions are kept {expiry_s} s, MQTT_SESSION_EXPIRY_S={settings.mqtt_session_expiry_s}")
    packet = getattr(connack, "MaximumPacketSize", None)
    if packet is not None and packet < settings.ingest_max_payload_bytes:
        found.append(f"packets of {packet} bytes at most, INGEST_MAX_PAYLOAD_BYTES={settings.ingest_max_payload_bytes}")
    if found:
        yield warned("mqtt limits", "; ".join(found), "raise the broker's limits, or lower what is asked for")
    else:
        yield passed("mqtt limits", "the broker's CONNACK allows what is asked for")


def _grants(settings: Settings, routes: Sequence[Route], version: MQTTProtocolVersion) -> Iterator[Finding]:
    if not routes:
        yield warned("mqtt subscriptions", "the application has no routes", "see ROUTEMQ_ROUTERS")
        return
    refused, lowered = [], []
    # Under a share name of its own, so that the doctor takes no message away from the fleet.
    group = f"doctor-{uuid.uuid4().hex[:8]}"
    with Probe(settings, version=version) as probe:
        # A broker that has no $share may hang up on it (MQTT 5, 3.2.2.3.13); ingest does without there.
        shares = settings.mqtt_share != "never" and _has_shares(probe)
        for route in routes:
            topic_filter = route.template.filter
            code = probe.subscribe(share_filter(group, topic_filter), route.qos) if shares else _NO_SHARING
            if code == _NO_SHARING:
                shares = False
                code = probe.subscribe(topic_filter, route.qos)
            if code >= _REFUSED:
                refused.append(route.template.filter)
            elif code < route.qos:
                lowered.append(f"{route.template.filter} (QoS {code} instead of {route.qos})")
    if refused:
        yield failed(
            "mqtt subscriptions", f"refused: {', '.join(refused)}",
            "allow this user to read these topics in the broker's ACL",
        )  # fmt: skip
    if lowered:
        yield warned("mqtt subscriptions", f"lowered: {', '.join(lowered)}", "allow the QoS in the broker, or set qos=")
    if not refused and not lowered:
        told = f"{plural(len(routes), 'filter is', 'filters are')} granted with the QoS asked for"
        if _is_mosquitto(settings, version):
            told += "; Mosquitto asks its access list for read rights only as messages come"
        yield passed("mqtt subscriptions", told)


def _is_mosquitto(settings: Settings, version: MQTTProtocolVersion) -> bool:
    with Probe(settings, version=version) as probe:
        if probe.subscribe(_VERSION, 0) >= _REFUSED or not probe.wait_for(1, timeout_s=1.0):
            return False
        (_, payload), *_ = probe.received
    return payload.startswith(b"mosquitto")


def _has_shares(probe: Probe) -> bool:
    """Return whether the broker says that it has shared subscriptions; one that says nothing may."""
    return bool(getattr(probe.connack, "SharedSubscriptionAvailable", 1))


def _sharing(settings: Settings, version: MQTTProtocolVersion, *, live: bool) -> Iterator[Finding]:
    check = "mqtt shared subscriptions"
    if settings.mqtt_share == "never":
        yield passed(check, "not used, MQTT_SHARE=never: one process takes all messages")
        return
    with Probe(settings, version=version) as probe:
        available = _has_shares(probe)
    if available:
        yield from _split(settings, version, live=live)
    else:
        yield _none(settings, "the broker has none, it says")


def _none(settings: Settings, problem: str) -> Finding:
    check = "mqtt shared subscriptions"
    if settings.mqtt_share == "auto":
        return warned(
            check, f"{problem}; one process takes all messages, others stand by", "if that is enough, MQTT_SHARE=never"
        )
    mend = "use a broker with shared subscriptions (MQTT 5, 4.8.2), or MQTT_SHARE=never"
    return failed(check, problem, mend)


def _split(settings: Settings, version: MQTTProtocolVersion, *, live: bool) -> Iterator[Finding]:
    check = "mqtt shared subscriptions"
    topic = f"routemq/doctor/{uuid.uuid4().hex[:8]}"
    group = f"doctor-{uuid.uuid4().hex[:8]}"
    if not live:
        yield skipped(check, _NOT_TRIED)
        return
    with ExitStack() as stack:
        members = [stack.enter_context(Probe(settings, version=version)) for _ in range(2)]
        sender = stack.enter_context(Probe(settings, version=version))
        for member in members:
            code = member.subscribe(share_filter(group, topic), 1)
            if code >= _REFUSED:
                yield _none(settings, f"$share is refused (code {code})")
                return
        sender.publish(topic, [b"%d" % number for number in range(_SPLIT)])

        def arrived() -> int:
            return sum(len(member.received) for member in members)

        members[0].wait_while_more(arrived, _SPLIT)
        # Where each gets every message, more come.
        members[0].wait_while_more(arrived, 2 * _SPLIT, timeout_s=_MORE_S)
        counts = [len(member.received) for member in members]
    if sum(counts) == 0:
        yield _none(settings, "$share/… is taken for an ordinary topic: nothing arrives")
    elif sum(counts) > _SPLIT:
        problem = f"each of two members gets every message: {counts[0]} and {counts[1]} of {_SPLIT}"
        yield failed(check, problem, "set MQTT_SHARE=never, or use a broker with shared subscriptions (MQTT 5, 4.8.2)")
    elif sum(counts) < _SPLIT:
        yield failed(
            check,
            f"only {sum(counts)} of {_SPLIT} arrived",
            "see the broker's ACL for routemq/doctor/#, and its limits",
        )
    elif min(counts) == 0:
        yield warned(
            check, f"one of two members gets everything: {counts[0]} and {counts[1]}", "see its share strategy"
        )
    else:
        yield passed(check, f"{_SPLIT} messages were split over two members: {counts[0]} and {counts[1]}")


def _backlog(settings: Settings, version: MQTTProtocolVersion, *, live: bool, own_drops: OwnDrops) -> Iterator[Finding]:
    check = "mqtt backlog"
    if not live:
        yield skipped(check, _NOT_TRIED)
        return
    topic = f"routemq/doctor/{uuid.uuid4().hex[:8]}"
    with Probe(settings, version=version, expiry_s=60) as absent:
        absent.subscribe(topic, 1)
        client_id = absent.client_id
    try:
        with Probe(settings, version=version) as sender:
            sender.publish(topic, [b"%d" % number for number in range(_BACKLOG)])
        with Probe(settings, version=version, client_id=client_id, expiry_s=60) as back:
            if not back.session_present:
                yield failed(
                    check, "the broker does not keep a session over its connection", "allow persistent sessions"
                )
                return
            count = back.wait_for(_BACKLOG)
    finally:
        with Probe(settings, version=version, client_id=client_id):
            pass
    if count < _BACKLOG:
        # A user who may not read the topic gets none, and nothing was dropped.
        own_drops.now = _BACKLOG - count if count else 0
        yield failed(
            check, f"of {_BACKLOG} messages for a client that was away {count} were kept, the rest dropped in silence",
            "raise the broker's limit (Mosquitto: max_queued_messages 1000000, see deploy/mosquitto.conf)",
        )  # fmt: skip
    else:
        yield passed(check, f"{count} messages were kept for a client that was away")


def _dropped(settings: Settings, version: MQTTProtocolVersion, own_drops: OwnDrops) -> Iterator[Finding]:
    check = "mqtt dropped messages"
    count, uptime_s = _number(settings, version, _DROPPED), 0
    if count is None:
        yield skipped(check, "this broker does not tell this user ($SYS)")
        return
    if count or own_drops.now:
        uptime_s = _number(settings, version, _UPTIME) or 0
    own = own_drops.count(uptime_s=uptime_s)
    if count == 0:
        yield passed(check, "$SYS says none")
    elif count <= own:
        yield passed(check, f"$SYS says {count} since the broker's start, all of them the doctor's own tries")
    else:
        others = f", {own} of them the doctor's own tries" if own else ""
        yield warned(
            check, f"$SYS says {count} since the broker's start{others}",
            "raise its limits (max_queued_messages, max_inflight_messages), or find the client that is away",
        )  # fmt: skip


def _number(settings: Settings, version: MQTTProtocolVersion, topic: str) -> int | None:
    """Return the number that a topic of `$SYS` begins with; None when the broker does not tell."""
    with Probe(settings, version=version) as probe:
        if probe.subscribe(topic, 0) >= _REFUSED or not probe.wait_for(1, timeout_s=1.0):
            return None
        (_, payload), *_ = probe.received
    words = payload.split()
    return int(words[0]) if words and words[0].isdigit() else None
