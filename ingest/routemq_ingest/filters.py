"""The topic filters of one MQTT session: those it should have, those it has, and those it leaves."""

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from routemq_ingest.memory import SessionMemory
from routemq_ingest.reasons import subscribe_mend
from routemq_ingest.reception import Reception
from routemq_ingest.subscriptions import Subscription
from routemq_ingest.upstream.connection import BrokerConnection, properties

logger = logging.getLogger(__name__)

_ASK_AGAIN_S = 60.0
_NOTE_AGAIN_S = 5.0
_NO_SHARED_SUBSCRIPTIONS = 0x9E
_NEVER = float("inf")


class Filters:
    """Keeps what the broker has for a session in step with what is wanted.

    Attributes:
        wanted: What the session should be subscribed to.
        granted: Topic filters that the broker serves on this connection.
        refused: Those that it does not.
        no_sharing: The broker has said that it has no shared subscriptions.
        losses: How often the broker had no session where it should have had one.
    """

    def __init__(self, client_id: str, *, memory: SessionMemory, reception: Reception) -> None:
        self.wanted: Sequence[Subscription] = ()
        self.granted: dict[str, Subscription] = {}
        self.refused: dict[str, Subscription] = {}
        self.losses = 0
        self.no_sharing = False
        self._client_id, self._memory, self._reception = client_id, memory, reception
        self._connection: BrokerConnection | None = None
        self._by_number = self._may_leave = False
        self._may_share = True
        self._had_one = self._is_new = self._is_unjudged = False
        self._present: set[str] | None = None
        self._asked: dict[int, Subscription] = {}
        self._leaving: dict[int, str] = {}
        self._left: set[str] = set()
        self._kept: set[str] = set()
        self._ask_again_at = self._note_at = 0.0
        self._notes = 0

    @property
    def settled(self) -> bool:
        """Whether every SUBSCRIBE was answered."""
        return not self._asked

    @property
    def may_be_present(self) -> bool:
        """Whether the broker has, or may have, something for this session."""
        return bool(self.wanted) or self._present is None or bool(self._present)

    @property
    def all_left(self) -> bool:
        """Whether nothing is wanted, and nothing is at the broker."""
        return not self.may_be_present and self.settled

    @property
    def unwanted(self) -> Collection[str]:
        """Topic filters that the broker has, or may have, and should not."""
        return (self._present or set()) - {subscription.filter for subscription in self.wanted}

    def want(self, wanted: Sequence[Subscription], *, leaving: bool) -> None:
        """Say what the session should be subscribed to from now on.

        Args:
            leaving: Whether what is not wanted may be left. It stays until then: whoever takes it over must be
                subscribed first, or messages would be for nobody.
        """
        self._may_leave = leaving
        if wanted == self.wanted:
            return
        self.wanted = self._reception.wanted = wanted
        names = {subscription.filter for subscription in wanted}
        self.granted = {name: subscription for name, subscription in self.granted.items() if name in names}
        self.refused = {name: subscription for name, subscription in self.refused.items() if name in names}
        if self._connection is not None:
            known = {*self.granted, *self.refused, *(asked.filter for asked in self._asked.values())}
            self._subscribe(subscription for subscription in wanted if subscription.filter not in known)
            self._note()

    def connected(self, connection: BrokerConnection, *, resumed: bool, by_number: bool, may_share: bool) -> None:
        """There is a connection: subscribe, also when the session was resumed.

        Mosquitto 2.0 restores a shared subscription only then. What the session had before is looked up meanwhile.

        Args:
            may_share: Whether `$share` may be asked for: a broker that says it has none may hang up on it
                (MQTT 5, 3.2.2.3.13).
        """
        self._connection, self._by_number, self._may_share = connection, by_number, may_share
        self._subscribe(self.wanted)
        if not resumed:
            self._is_new = True
            if self._had_one:
                self._report_loss()
            else:
                self._is_unjudged = True
        self._note()

    def lost(self) -> None:
        """The connection is gone; by the next one another process may have changed what the session has."""
        self._connection, self._present, self._note_at = None, None, 0.0
        for each in (self.granted, self.refused, self._asked, self._leaving, self._left, self._kept):
            each.clear()

    def ended(self) -> None:
        """The session is no more, as it was meant to be."""
        self.lost()
        self._memory.forget(self._client_id)
        self._present, self._note_at = set(), _NEVER
        self._had_one = self._is_new = self._is_unjudged = False

    def tend(self, now: float) -> None:
        """Look up what is not known yet, ask again for what was refused, leave what may be left."""
        if self._present is None and now >= self._note_at and (self._connection is not None or not self.wanted):
            self._note_at = _NEVER  # until it is answered
            self._note()
        if self._connection is None:
            return
        if self.refused and now >= self._ask_again_at:
            again, self.refused = list(self.refused.values()), {}
            self._subscribe(again)
        if self._may_leave and self.settled:
            stale = sorted(set(self.unwanted) - set(self._leaving.values()) - self._kept)
            if stale:
                logger.info("leaving filters=%s client_id=%s", ", ".join(stale), self._client_id)
            for topic_filter in stale:
                _, mid = self._connection.unsubscribe(topic_filter)
                if mid is not None:
                    self._leaving[mid] = topic_filter

    def on_subscribe(self, _connection: Any, _: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        """The SUBACK to one SUBSCRIBE."""
        subscription = self._asked.pop(mid, None)
        if subscription is None:
            return
        code, route = codes[0], subscription.route
        context = {"route": route.name}
        if code.is_failure:
            self.no_sharing |= code.value == _NO_SHARED_SUBSCRIPTIONS
            self.refused[subscription.filter] = subscription
            self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
            logger.error(
                "SUBSCRIPTION REFUSED, the route gets no messages filter=%s route=%s: %s%s; asking again in %.0f s",
                subscription.filter, route.name, code, subscribe_mend(code), _ASK_AGAIN_S, extra=context,
            )  # fmt: skip
            return
        self._had_one = True
        self.granted[subscription.filter] = subscription
        if code.value < route.qos:
            logger.error(
                "QOS LOWERED, messages of the route can be lost filter=%s route=%s asked=%d granted=%d: allow this "
                "QoS in the broker's configuration, or set qos=%d on the route",
                subscription.filter, route.name, route.qos, code.value, code.value, extra=context,
            )  # fmt: skip
        logger.info(
            "subscribed filter=%s qos=%d route=%s queue=%s",
            subscription.filter, code.value, route.name, route.queue, extra=context,
        )  # fmt: skip

    def on_unsubscribe(self, _connection: Any, _: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        """The UNSUBACK to one UNSUBSCRIBE."""
        topic_filter = self._leaving.pop(mid, None)
        if topic_filter is None:
            return
        if codes and codes[0].is_failure:
            self._kept.add(topic_filter)
            logger.error(
                "UNSUBSCRIBE REFUSED, messages go on coming that no route takes filter=%s: %s", topic_filter, codes[0]
            )
            return
        self._left.add(topic_filter)
        if self._present is not None:
            self._present.discard(topic_filter)
        self._memory.forget(self._client_id, [topic_filter])

    def _subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        connection = self._connection
        if connection is None:
            return
        for subscription in subscriptions:
            if subscription.shared and not self._may_share:
                continue
            self._left.discard(subscription.filter)
            if connection.is_mqtt5:
                number = None
                if self._by_number:
                    number = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=subscription.identifier)
                # Retained messages only for a subscription that is new: each reconnect would bring them again. None for
                # a shared route without $share, as with it.
                handling = 2 if subscription.route.shared and not subscription.shared else 1
                options = SubscribeOptions(qos=subscription.route.qos, retainHandling=handling)
                _, mid = connection.subscribe(subscription.filter, options=options, properties=number)
            else:
                _, mid = connection.subscribe(subscription.filter, subscription.route.qos)
            if mid is not None:
                self._asked[mid] = subscription

    def _note(self) -> None:
        self._notes += 1
        # Not before there is a session: else what was only wanted would be missed in a new one.
        wanted = frozenset(each.filter for each in self.wanted if self._connection is not None)
        self._memory.note(self._client_id, wanted, then=partial(self._noted, self._notes, wanted))

    def _noted(self, number: int, wanted: frozenset[str], known: Collection[str] | None) -> None:
        is_latest = number == self._notes
        if known is None:
            if is_latest:
                self._present, self._note_at = None, time.monotonic() + _NOTE_AGAIN_S
            return
        there = (set(known) | wanted) - self._left
        if self._is_new:
            if self._is_unjudged and known:
                self._report_loss()
            self._is_new = self._is_unjudged = False
            gone = there - wanted - {subscription.filter for subscription in self.wanted}
            self._memory.forget(self._client_id, gone)
            there -= gone
        if is_latest:
            self._present, self._note_at = there, _NEVER
            self.tend(time.monotonic())

    def _report_loss(self) -> None:
        self.losses += 1
        logger.error(
            "MQTT SESSION LOST client_id=%s: the broker has none where it had one, and with it what it kept for us is "
            "gone, also messages that it had confirmed. Either it was restarted without its store (persistence), or we "
            "were away for longer than it keeps a session (MQTT_SESSION_EXPIRY_S, its own limit)",
            self._client_id,
        )
