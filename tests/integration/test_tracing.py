"""One trace from the publisher to what its controller publishes; none of it is lost, and it costs no message."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt import publish
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.collectors import Span, TraceCollector, trace_collector
from tests.processes import RunningProcess, running, wait_until
from tests.servers import HOST, REPOSITORY, Mosquitto, Redis, free_port
from tests.workers import Bench

POOLS = ("prefork", "threads", "solo")
TRACED = "tests.applications.traced"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=TRACED)


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as collector:
        yield collector


def context(number: int, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


def send(broker: Mosquitto, topic: str, payload: bytes = b"1", *properties: tuple[str, str]) -> None:
    """Publish as a device that speaks MQTT 5."""
    told: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if properties:
        told.UserProperty = list(properties)
    message: Any = {"topic": topic, "payload": payload, "qos": 1, "properties": told}
    publish.multiple([message], hostname=HOST, port=broker.port, protocol=mqtt.MQTTv5)


@contextlib.contextmanager
def listening(broker: Mosquitto, topic: str) -> Iterator[list[mqtt.MQTTMessage]]:
    """What an MQTT 5 subscriber gets."""
    got: list[mqtt.MQTTMessage] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _userdata, message: got.append(message)
    granted: list[int] = []
    client.on_subscribe = lambda *_: granted.append(1)
    client.connect(HOST, broker.port)
    client.loop_start()
    try:
        client.subscribe(topic, qos=1)
        wait_until(lambda: granted, message="the subscriber is subscribed")
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def ingesting(bench: Bench, env: dict[str, str]) -> Iterator[RunningProcess]:
    with running(["routemq", "ingest"], cwd=REPOSITORY, env=bench.environment() | env, fork=True) as process:
        process.wait_for_output("ingest is ready")
        yield process


def with_broker(broker: Mosquitto, group: str, collector: TraceCollector, **more: str) -> dict[str, str]:
    of_broker = {"MQTT_BROKER": HOST, "MQTT_PORT": str(broker.port), "MQTT_GROUP_NAME": group}
    return of_broker | collector.environment(**more)


def test_one_trace_leads_from_the_publisher_to_the_answer_though_children_are_recycled(
    bench: Bench, collector: TraceCollector, mosquitto_server: Mosquitto, group_name: str
) -> None:
    count = 4
    env = with_broker(mosquitto_server, group_name, collector)
    with (
        listening(mosquitto_server, f"{bench.key_prefix}/answers/+") as answers,
        bench.worker("-Q", "answer", "-P", "prefork", "-c", "1", "--max-tasks-per-child", "1", env=env),
    ):
        with ingesting(bench, env) as ingest:
            for number in range(1, count + 1):
                # Every other one by an async controller, which publishes twice.
                topic = f"answer-async/{number}" if number % 2 else f"answer/{number}"
                send(mosquitto_server, topic, b"1", ("traceparent", context(number)), ("tracestate", "v=1"))
            wait_until(lambda: len(answers) == count * 3 // 2, message="all are answered")
            # The worker goes on: its children alone can have sent these.
            processed = collector.wait_for("process answer", count)
            assert ingest.terminate() == 0
        received = collector.wait_for("receive answer", count)
        queued = collector.wait_for("send answer", count)
        published = [span for span in collector.named("send") if span not in queued]
    assert (len(received), len(queued), len(processed), len(published)) == (count, count, count, count * 3 // 2)
    for number in range(1, count + 1):
        trace = f"{number:032x}"
        mine = [
            [span for span in spans if span.trace_id == trace] for spans in (received, queued, processed, published)
        ]
        (receive,), (queue,), (process,), sends = mine
        assert receive.parent_id == f"{number:016x}"
        assert (queue.parent_id, process.parent_id) == (receive.span_id, queue.span_id)
        assert {span.parent_id for span in sends} == {process.span_id}
        assert [span.kind for span in (receive, queue, process, *sends)][:4] == [
            "consumer", "producer", "consumer", "producer"
        ]  # fmt: skip
        assert (receive.service, queue.service, process.service) == (
            "routemq-ingest",
            "routemq-ingest",
            "routemq-worker",
        )
        attributes = process.attributes
        assert attributes["routemq.route"] == receive.attributes["messaging.destination.template"]
        assert (attributes["routemq.attempt"], attributes["routemq.outcome"]) == (1, "done")
        assert attributes["messaging.message.id"] == queue.attributes["messaging.message.id"]
        assert receive.attributes["messaging.system"] == "mqtt"
        told = {dict(m.properties.UserProperty)["traceparent"] for m in answers if m.topic.endswith(f"/{number}")}
        assert told == {f"00-{trace}-{span.span_id}-01" for span in sends}
    assert {dict(m.properties.UserProperty)["tracestate"] for m in answers} == {"v=1"}


@pytest.mark.parametrize("pool", POOLS)
def test_what_became_of_a_message_is_told_and_nothing_of_its_payload(
    bench: Bench, collector: TraceCollector, pool: str
) -> None:
    with bench.worker("-Q", "work", "-P", pool, "-c", "2", env=collector.environment()) as worker:
        dead = bench.put("act/echo", '"s3cret"').id
        fine = bench.put("act/fine", '"s3cret"').id
        in_async = bench.put("act-async/fine", '"s3cret"').id
        invalid = bench.put("lines/1/state", '{"temperature": "s3cret"}').id
        malformed = bench.message("raw/x")
        bench.put_raw("work.raw", malformed.encode().replace(b'"retries":0', b'"retries":' + b"9" * 40))
        bench.wait_for_letters(3)
        bench.wait_for_notes("act", 5)
        wait_until(lambda: bench.held() == 0, message="all is acknowledged")
        assert worker.terminate() == 0
    outcomes = {
        (span.attributes["messaging.message.id"], span.attributes["routemq.attempt"]): (
            span.attributes["routemq.outcome"], span.attributes.get("routemq.reason"), span.is_error
        )
        for span in collector.named("process")
    }  # fmt: skip
    assert outcomes == {
        (dead, 1): ("retried", None, False),
        (dead, 2): ("retried", None, False),
        (dead, 3): ("dead", "failed", True),
        (fine, 1): ("done", None, False),
        (in_async, 1): ("done", None, False),
        (invalid, 1): ("dead", "invalid", True),
        (malformed.id, 2**31 + 1): ("dead", "malformed", True),
    }
    errors = {span.attributes.get("error.type") for span in collector.named("process") if span.is_error}
    assert errors == {"RuntimeError", "routemq.errors.InvalidMessageError", "routemq.errors.EnvelopeError"}
    assert not [span for span in collector.spans if "s3cret" in span.text]
    # A retry is in the trace that its message came with; these came with none.
    assert len({span.trace_id for span in collector.named("process")}) == 7


def test_a_run_that_took_its_process_along_is_told_by_the_parent(bench: Bench, collector: TraceCollector) -> None:
    with bench.worker("-Q", "work", "-P", "prefork", "-c", "1", env=collector.environment()) as worker:
        bench.put("act/kill", trace=None)
        bench.wait_for_letters(1)
        assert worker.terminate() == 0
    spans = collector.wait_for("process act", 3)
    assert [span.attributes["routemq.outcome"] for span in spans] == ["retried", "retried", "dead"]
    assert spans[-1].attributes["routemq.reason"] == "poison"
    assert {span.attributes["error.type"] for span in spans} == {"billiard.exceptions.WorkerLostError"}


def test_strangers_contexts_cost_no_message_and_an_unsampled_one_is_heeded(
    bench: Bench, collector: TraceCollector, mosquitto_server: Mosquitto, group_name: str
) -> None:
    env = with_broker(mosquitto_server, group_name, collector)
    strange = ["garbage", "0" * 60_000, context(0), context(5, "zz"), context(5) + "-more"]
    with bench.worker("-Q", "work.raw", "-P", "solo", env=env) as worker, ingesting(bench, env) as ingest:
        for number, parent in enumerate(strange):
            send(mosquitto_server, f"raw/{number}", b"1", ("traceparent", parent), ("tracestate", "ü"))
        send(mosquitto_server, "raw/unsampled", b"1", ("traceparent", context(9, "00")))
        # What is on the queue may be anybody's, too.
        message = bench.message("raw/queue")
        for value in (b'"' + b"1" * 65_536 + b'"', b"7", b'["x"]', b"null", b"{}"):
            item = message.encode().replace(message.id.encode(), bench.message("raw/queue").id.encode())
            bench.put_raw("work.raw", item.replace(b'"retries":0', b'"retries":0,"traceparent":' + value))
        bench.wait_for_notes("raw", len(strange) + 6)
        assert (ingest.terminate(), worker.terminate()) == (0, 0)
    assert len(collector.named("receive")) == len(strange)
    processed = collector.named("process")
    assert len(processed) == len(strange) + 5
    assert len({span.trace_id for span in processed}) == len(processed)
    assert {span.trace_id for span in collector.named("receive")} < {span.trace_id for span in processed}


def test_a_message_that_ingest_did_not_trace_is_not_traced_by_the_worker(
    bench: Bench, collector: TraceCollector, mosquitto_server: Mosquitto, group_name: str
) -> None:
    env = with_broker(mosquitto_server, group_name, collector)
    off = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with bench.worker("-Q", "work.raw", "-P", "solo", env=env) as worker, ingesting(bench, env | off) as ingest:
        for _ in range(5):
            send(mosquitto_server, "raw/x")
        send(mosquitto_server, "raw/x", b"1", ("traceparent", context(3)))
        bench.wait_for_notes("raw", 6)
        assert (ingest.terminate(), worker.terminate()) == (0, 0)
    assert {span.trace_id for span in collector.spans} == {f"{3:032x}"}
    assert sorted(span.name.partition(" ")[0] for span in collector.spans) == ["process", "receive", "send"]


def test_a_worker_reads_the_publishers_context_where_ingest_makes_no_traces(
    bench: Bench, collector: TraceCollector, mosquitto_server: Mosquitto, group_name: str
) -> None:
    env = with_broker(mosquitto_server, group_name, collector)
    with (
        bench.worker("-Q", "work.raw", "-P", "solo", env=env) as worker,
        ingesting(bench, env | {"OTEL_SDK_DISABLED": "true"}),
    ):
        send(mosquitto_server, "raw/x", b"1", ("traceparent", context(3)))
        bench.wait_for_notes("raw", 1)
        assert worker.terminate() == 0
    (span,) = collector.spans
    assert (span.trace_id, span.parent_id) == (f"{3:032x}", f"{3:016x}")


def test_a_dead_letter_of_ingest_is_told(
    bench: Bench, collector: TraceCollector, mosquitto_server: Mosquitto, group_name: str
) -> None:
    env = with_broker(mosquitto_server, group_name, collector, INGEST_MAX_PAYLOAD_BYTES="10")
    with ingesting(bench, env) as ingest:
        send(mosquitto_server, "raw/x", b"s3cret" * 9)
        bench.wait_for_letters(1)
        assert ingest.terminate() == 0
    (span,) = collector.spans
    assert (span.attributes["routemq.outcome"], span.attributes["routemq.reason"]) == ("dead", "too_large")
    assert span.is_error
    assert "s3cret" not in span.text


def test_a_collector_that_is_away_holds_up_neither_messages_nor_the_end(bench: Bench) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    arguments = ("-Q", "work", "-P", "prefork", "-c", "2", "--max-tasks-per-child", "2")
    with bench.worker(*arguments, env=env) as worker:
        for _ in range(6):
            bench.put("act/fine")
        bench.wait_for_notes("act", 6)
        wait_until(lambda: bench.held() == 0, message="all is acknowledged")
        assert worker.terminate() == 0
    assert bench.letters() == {}


@pytest.mark.parametrize("report_retries", [False, True])
def test_opentelemetrys_own_instrumentation_sees_failures(
    bench: Bench, collector: TraceCollector, report_retries: bool
) -> None:
    env = collector.environment(TEST_INSTRUMENT="1", ROUTEMQ_REPORT_RETRIES=str(report_retries))
    with bench.worker("-Q", "work", "-P", "prefork", "-c", "1", env=env) as worker:
        bench.put("act/value")
        bench.put("act/fine")
        bench.wait_for_letters(1)
        bench.wait_for_notes("act", 4)
        wait_until(lambda: bench.held() == 0, message="all is acknowledged")
        assert worker.terminate() == 0
    theirs = {span.span_id: span for span in collector.named("run/act")}
    ours: list[Span] = collector.named("process act")
    assert len(theirs) == len(ours) == 4
    for span in ours:
        # Within theirs, and of one mind with it.
        assert theirs[span.parent_id].is_error == span.is_error
    failed = sorted((span.attributes["routemq.outcome"], span.is_error) for span in ours)
    assert failed == [("dead", True), ("done", False), ("retried", report_retries), ("retried", report_retries)]
