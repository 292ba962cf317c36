"""Trace contexts of strangers, when traces are made at all, and which messages begin one."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from routemq.encoding import MessageEncoder
from routemq.envelope import Envelope, TaskMessage
from routemq.tracing import start_tracing as start
from routemq.tracing.trace_context import TraceContext
from routemq.tracing.tracer_provider import ChosenIds, Roots, context_of, trace_context, unsampled
from tests.processes import clean_environment

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENVELOPE = Envelope(topic="t", payload=b"x", received_at=1.0)


@pytest.mark.parametrize(
    "parent",
    [
        None,
        7,
        ["00"],
        b"x",
        "",
        "garbage",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",
        PARENT + "\n",
        PARENT.upper(),
        PARENT.replace("00-4", "ff-4", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT + "-" * 65_536,
        "0" * 65_536,
        "01" + PARENT[2:] + "-" + "x" * 65_536,
        "\ud800",
    ],
)
def test_what_is_no_trace_context_is_passed_over(parent: object) -> None:
    assert TraceContext.of(parent, "a=b") is None


def test_a_later_version_is_read_as_this_one() -> None:
    assert TraceContext.of("01" + PARENT[2:] + "-more") == TraceContext(PARENT)
    assert TraceContext.of(PARENT) == TraceContext(PARENT)


@pytest.mark.parametrize("state", [7, None, "", "x" * 513, "a=\x1b", "a=ü", "\ud800", ["a=b"]])
def test_a_state_that_cannot_travel_leaves_the_parent(state: object) -> None:
    assert TraceContext.of(PARENT, state) == TraceContext(PARENT)


def test_the_first_of_several_properties_counts() -> None:
    pairs = (("other", "x"), ("traceparent", PARENT), ("traceparent", "garbage"), ("tracestate", "a=b"))
    assert TraceContext.in_properties(pairs) == TraceContext(PARENT, "a=b")
    assert TraceContext.in_properties(()) is None


@given(st.text() | st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z"), st.text() | st.none())
def test_whatever_is_read_can_be_read_again(parent: str, state: str | None) -> None:
    found = TraceContext.of(parent, state)
    if found is not None:
        assert TraceContext.of(*found.pairs().values()) == found
        assert orjson.loads(orjson.dumps(found.pairs())) == found.pairs()
        context_of(found)


def test_opentelemetry_reads_what_travels() -> None:
    from opentelemetry import trace

    context = context_of(TraceContext(PARENT, "a=b"))
    assert context is not None
    assert trace_context(trace.get_current_span(context).get_span_context()) == TraceContext(PARENT, "a=b")


def test_a_message_without_a_trace_is_as_it_was_and_one_with_it_has_two_headers_more() -> None:
    plain = TaskMessage(route="r", queue="q", envelope=ENVELOPE, id="1")
    traced = TaskMessage(route="r", queue="q", envelope=ENVELOPE, id="1", trace=TraceContext(PARENT, "a=b"))
    assert TaskMessage.decode(traced.encode()) == traced
    read = orjson.loads(traced.encode())
    assert {name: read["headers"].pop(name) for name in ("traceparent", "tracestate")} == {
        "traceparent": PARENT,
        "tracestate": "a=b",
    }
    # An earlier release reads the headers that it knows, by their names.
    assert read == orjson.loads(plain.encode())
    assert traced.replayed().trace == traced.edited(b"y").trace == traced.trace


def test_the_quick_encoder_writes_the_trace_that_it_is_given() -> None:
    encoder = MessageEncoder(route="r", queue="q", trace=TraceContext(PARENT))
    item = encoder.encode("t", b"x", qos=1, retain=False, received_at=b"1.0")
    message = TaskMessage.decode(item)
    assert message == TaskMessage(route="r", queue="q", envelope=ENVELOPE, id=message.id, trace=TraceContext(PARENT))
    assert item == message.encode()
    assert encoder.message(ENVELOPE, TraceContext(PARENT, "c=d")).trace == TraceContext(PARENT, "c=d")


def test_an_untraced_message_says_so() -> None:
    assert unsampled().parent.endswith("-00")
    assert context_of(unsampled()) is not None


@pytest.mark.parametrize(
    ("sampler", "argument"),
    [
        (None, None),
        ("always_on", None),
        ("always_off", None),
        ("parentbased_always_off", None),
        ("traceidratio", "0.3"),
        ("parentbased_traceidratio", "0.3"),
        ("parentbased_traceidratio", "0"),
        ("parentbased_traceidratio", None),
        ("another", None),
    ],
)
def test_the_sampler_agrees_with_what_was_drawn(
    monkeypatch: pytest.MonkeyPatch, sampler: str | None, argument: str | None
) -> None:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    provider = TracerProvider(id_generator=ChosenIds(), shutdown_on_exit=False)
    roots, tracer = Roots(provider), provider.get_tracer("t")
    drawn = [roots.draw() for _ in range(200)]
    kept = [tracer.start_span("s").is_recording() for _ in range(200) if roots.draw()]
    assert all(kept)
    if sampler is not None and sampler.endswith("off"):
        assert not any(drawn)
    elif argument == "0.3":
        assert 20 < sum(drawn) < 120
    elif argument is None:
        assert all(drawn)


def test_an_application_with_a_provider_of_its_own_asks_its_own_sampler() -> None:
    assert all(
        Roots(TracerProvider(shutdown_on_exit=False), {"OTEL_TRACES_SAMPLER": "always_off"}).draw() for _ in range(9)
    )


ASK = """
import logging, sys
logging.basicConfig()
from routemq.tracing.start_tracing import start_tracing
provider = start_tracing("default")
names = [name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))]
print(None if provider is None else provider.resource.attributes["service.name"], bool(names))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "default True"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/x", "OTEL_SERVICE_NAME": "mine"}, "mine True"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, "a True"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_SDK_DISABLED": "true"}, "None False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_TRACES_EXPORTER": "none"}, "None False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_SERVICE_NAME": "mine"}, "None False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_BSP_SCHEDULE_DELAY": "-1"}, "None True"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "None True"),
    ],
)
def test_traces_are_made_when_there_is_an_endpoint(variables: dict[str, str], expected: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASK], env=clean_environment(variables), cwd=tmp_path,
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == expected
    assert (expected == "None True") == ("no traces are made" in ran.stderr)


def test_no_process_imports_what_makes_traces_unasked(tmp_path: Path) -> None:
    everything = "import routemq_ingest.worker, routemq_tasks.app, routemq_tasks.route_worker\n"
    ran = subprocess.run(
        [sys.executable, "-c", everything + ASK], env=clean_environment(), cwd=tmp_path,
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "None False"


def test_the_file_of_settings_counts_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9\n", "utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", ASK], env=clean_environment(), cwd=tmp_path,
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "default True"


def test_without_the_extra_a_word_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(start, "find_spec", lambda _name: None)
    monkeypatch.setitem(os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://h")
    start._say.cache_clear()
    assert start.start_tracing("s") is None
    assert "routemq-celery[otel]" in caplog.text


def test_a_provider_of_any_kind_is_flushed_or_left_alone() -> None:
    class Failing:
        def force_flush(self) -> None:
            raise RuntimeError("no")

    for provider in (None, object(), Failing()):
        start.flush(provider)
