import pytest
from routemq_tasks.client import MessageClient
from routemq_tasks.publisher import Publisher

from routemq.errors import PublishError
from routemq.settings import load_settings


@pytest.mark.parametrize(
    ("topic", "payload", "qos", "problem"),
    [
        ("", b"", 0, "at least one character"),
        ("a/+", b"", 0, "no wildcard"),
        ("a/#", b"", 0, "no wildcard"),
        ("a\0", b"", 0, "null character"),
        ("x" * 70_000, b"", 0, "longer than"),
        ("\ud800", b"", 0, "not valid UTF-8"),
        ("a", b"", 3, "qos=3"),
        ("a", b"", 1.0, r"qos=1\.0"),
        ("a", 7, 0, "not int"),
        ("a", {"b": object()}, 0, "cannot be encoded"),
    ],
)
def test_what_cannot_be_published_is_refused_at_once(topic: str, payload: object, qos: int, problem: str) -> None:
    client = MessageClient(Publisher(load_settings()))
    with pytest.raises(PublishError, match=problem):
        client.publish(topic, payload, qos)  # type: ignore[arg-type]
    client.confirm()
