"""Publishes for all runs of a process, over one MQTT connection, and says of each what became of it."""

import contextlib
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable

from paho.mqtt.enums import MQTTErrorCode

from routemq.errors import PublishError
from routemq.message import Response
from routemq.mqtt import ProtocolChoice, connect_problem, hung_up
from routemq.settings import Settings
from routemq_tasks.asking import Question
from routemq_tasks.publication import Publication
from routemq_tasks.upstream.outgoing import CLOSED, CONNECT_TIMEOUT_S, Answer, OutgoingConnection

logger = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_TURN_S = 1.0
_FIRST_DELAY_S, _LONGEST_DELAY_S, _LONGEST_REFUSED_DELAY_S = 0.1, 1.0, 5.0
_STEADY_S = 5.0
_REMIND_S = 30.0
_GOODBYE_S = 2.0
_LONE_LOSSES = 2
"""A publish that was alone in flight when the broker hung up without a word, so many times, has failed."""
_NO_WILDCARDS = str.maketrans("+#", "--")


class Publisher:
    """The process's MQTT connection, opened on first use in a thread of its own; it reconnects by itself.

    Runs, in whatever thread, put publications into `_waiting`, under the lock; what was sent belongs to the thread of
    the connection. What was in flight when a connection ended is sent again on the next one, one at a time: a publish
    that the broker answers by hanging up is so found out, and fails alone.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._waiting: deque[Publication] = deque()
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._closing = threading.Event()
        self._problem: str | None = None
        self._told_at = 0.0
        self._suspects: deque[Publication] = deque()
        self._sent: dict[int, Publication] = {}
        self._failures = 0
        self._refused = False
        self._client_id = f"{settings.client_id_base}-worker-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._questions: dict[bytes, Publication] = {}
        self._unheard: list[Publication] = []

    @property
    def response_topic(self) -> str:
        """Where answers to this process's requests are heard."""
        # A client id may have what a topic may not.
        return f"routemq/replies/{self._client_id.translate(_NO_WILDCARDS)}"

    def publish(self, publication: Publication) -> None:
        """Send as soon as there is a connection that takes it.

        Raises:
            PublishError: Too many wait already.
        """
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting = deque(waiting for waiting in self._waiting if waiting.wanted)
            if len(self._waiting) >= _MOST_WAITING:
                raise PublishError(topic=publication.topic, problem=f"{_MOST_WAITING} publishes wait; {self._state}")
            # Before it waits: what cannot be sent now has failed with its run.
            wake = self._wake or self._open()
            if publication.question is not None:
                self._questions[publication.question.number] = publication
            self._waiting.append(publication)
            with contextlib.suppress(BlockingIOError):
                wake.send(b"\0")

    def wait(self, publication: Publication, *, deadline: float) -> None:
        """Wait for the broker's word, at QoS 0 until it is written to the connection.

        Args:
            deadline: On the monotonic clock.

        Raises:
            PublishError: The broker refused it, or did not confirm it in time.
        """
        if not publication.settled.wait(max(0.0, deadline - time.monotonic())):
            raise PublishError(topic=publication.topic, problem=f"not confirmed in time; {self._state}")
        if publication.problem is not None:
            raise PublishError(topic=publication.topic, problem=publication.problem)

    def withdraw(self, publications: Iterable[Publication]) -> None:
        """Do not send, or not again, what is not confirmed."""
        for publication in publications:
            publication.wanted = False
            if publication.span is not None:
                publication.span.settled("its run has ended without it")

    def forget(self, question: Question) -> None:
        """Send a request no more, and hear no answer to it."""
        publication = self._questions.pop(question.number, None)
        if publication is not None:
            publication.wanted = False

    def close(self) -> None:
        """Disconnect; a later publish opens a new connection."""
        with self._lock:
            thread, wake, self._thread, self._wake = self._thread, self._wake, None, None
        if thread is not None and wake is not None:
            self._closing.set()
            wake.close()
            thread.join(CONNECT_TIMEOUT_S + _GOODBYE_S)

    @property
    def _address(self) -> str:
        return f"{self._settings.mqtt_broker}:{self._settings.mqtt_port}"

    @property
    def _state(self) -> str:
        problem = self._problem
        return f"connected to {self._address}" if problem is None else f"no connection to {self._address}: {problem}"

    def _open(self) -> socket.socket:
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        closing, self._problem = threading.Event(), "connecting"
        thread = threading.Thread(target=self._run, args=(closing, woken), name="routemq-publisher", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The next publish tries again.
            wake.close()
            woken.close()
            raise
        self._wake, self._closing, self._thread = wake, closing, thread
        return wake

    def _run(self, closing: threading.Event, woken: socket.socket) -> None:
        choice = ProtocolChoice(self._settings.mqtt_protocol)
        with woken:
            while not closing.is_set():
                at_once = self._hold_a_connection(choice, closing, woken)
                closing.wait(0.0 if at_once else self._delay_s())

    def _hold_a_connection(self, choice: ProtocolChoice, closing: threading.Event, woken: socket.socket) -> bool:
        """Connect, and publish until the connection ends; return whether to connect again at once."""
        settings, connection, at_once = self._settings, None, False
        try:
            connection = OutgoingConnection(
                settings,
                client_id=self._client_id,
                protocol=choice.version,
                on_confirmed=self._confirmed,
                on_answer=self._answered,
            )
            connection.connect(settings.mqtt_broker, settings.mqtt_port, settings.mqtt_keepalive_s)
            at_once = self._serve(connection, choice, closing, woken)
            problem = connection.problem
        # Nothing that happens here may end the thread: no run of the process could publish again.
        except Exception as exc:
            problem = connect_problem(exc, settings)
            logger.debug("no connection to the MQTT broker", exc_info=True)
        if connection is not None:
            connection.abandon(problem)
            self._lost(connection)
        if not at_once and not closing.is_set():
            self._tell(problem)
            self._refused = connection is not None and connection.answer is Answer.REFUSED
        return at_once

    def _serve(
        self, connection: OutgoingConnection, choice: ProtocolChoice, closing: threading.Event, woken: socket.socket
    ) -> bool:
        deadline, accepted_at = time.monotonic() + CONNECT_TIMEOUT_S, None
        while connection.socket() is not None and not closing.is_set():
            if connection.answer is Answer.ACCEPTED:
                if accepted_at is None:
                    accepted_at = time.monotonic()
                    if not choice.accepted():
                        connection.say_goodbye(timeout_s=_GOODBYE_S)
                        return True
                    self._problem = None
                self._heard(connection)
                self._send(connection)
            elif time.monotonic() > deadline:
                connection.abandon(f"no CONNACK within {CONNECT_TIMEOUT_S:.0f} s")
            if connection.socket() is not None:
                connection.turn(woken, timeout_s=_TURN_S)
        connection.say_goodbye(timeout_s=_GOODBYE_S)
        if accepted_at is not None and time.monotonic() - accepted_at > _STEADY_S:
            self._failures = 0
        match connection.answer:
            case Answer.NONE:
                if connection.problem == CLOSED:
                    connection.problem = hung_up(self._settings)
                return choice.unanswered()
            case Answer.WRONG_VERSION:
                return choice.refused()
            case Answer.ACCEPTED:
                choice.ended()
        return False

    def _send(self, connection: OutgoingConnection) -> None:
        sent = self._sent
        while connection.socket() is not None and len(sent) < connection.window:
            if sent and (self._suspects or next(iter(sent.values())).suspect):
                return
            if self._suspects:
                publication = self._suspects.popleft()
            else:
                with self._lock:
                    if not self._waiting:
                        return
                    publication = self._waiting.popleft()
            if not publication.wanted:
                continue
            if publication.question is not None and not connection.hears(self.response_topic):
                self._unheard.append(publication)
                continue
            topic, payload, qos, retain = publication.topic, publication.payload, publication.qos, publication.retain
            try:
                trace = None if publication.span is None else publication.span.trace
                properties = connection.properties_of(publication.properties)
                refusal = connection.refusal_of(topic, payload, qos=qos, retain=retain, properties=properties)
                if refusal is not None:
                    publication.settle(refusal)
                    continue
                properties = connection.properties_with(trace, properties, topic, payload, qos)
                info = connection.publish(topic, payload, qos, retain=retain, properties=properties)
            # What paho cannot publish is this run's failure; the others go on with the connection.
            except Exception as exc:  # noqa: BLE001
                publication.settle(f"it cannot be published: {type(exc).__name__}: {exc}")
                continue
            if qos == 0 and info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and info.is_published():
                publication.settle(None)
            elif info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                publication.settle("an earlier publish with its packet identifier is not confirmed yet")
            else:
                sent[info.mid] = publication

    def _heard(self, connection: OutgoingConnection) -> None:
        """Send the requests that have waited for the subscription, or tell that there is none."""
        if not self._unheard or connection.listening is None:
            return
        unheard, self._unheard = self._unheard, []
        if connection.listening:
            with self._lock:
                self._waiting.extendleft(reversed(unheard))
            return
        for publication in unheard:
            publication.settle(f"the MQTT broker does not let it listen to {self.response_topic}")

    def _answered(self, number: bytes, response: Response) -> None:
        publication = self._questions.pop(number, None)
        if publication is not None and publication.question is not None:
            publication.question.settle(response)

    def _confirmed(self, mid: int, problem: str | None) -> None:
        publication = self._sent.pop(mid, None)
        if publication is not None:
            self._failures = 0
            publication.settle(None if problem is None else f"the MQTT broker refused it: {problem}")

    def _lost(self, connection: OutgoingConnection) -> None:
        """Find out whom to send again, and who ended the connection."""
        left = [publication for publication in self._sent.values() if publication.wanted]
        self._sent.clear()
        if len(left) == 1 and left[0].suspect and connection.blames_a_publish is not False:
            left[0].lone_losses += 1
            if connection.blames_a_publish or left[0].lone_losses >= _LONE_LOSSES:
                left.pop().settle(f"the MQTT broker ends the connection over it: {connection.problem}")
        for publication in left:
            publication.suspect = True
        self._suspects.extendleft(reversed(left))
        with self._lock:
            self._waiting.extendleft(reversed(self._unheard))
        self._unheard.clear()

    def _tell(self, problem: str) -> None:
        now = time.monotonic()
        if problem != self._problem or now >= self._told_at + _REMIND_S:
            self._told_at = now
            logger.warning("no connection to the MQTT broker %s, trying again: %s", self._address, problem)
        self._problem = problem

    def _delay_s(self) -> float:
        longest_s = _LONGEST_REFUSED_DELAY_S if self._refused else _LONGEST_DELAY_S
        delay_s: float = min(longest_s, _FIRST_DELAY_S * 2 ** min(self._failures, 10))
        self._failures += 1
        return delay_s * random.uniform(0.75, 1.25)  # noqa: S311  only spreads the load of a fleet
