"""REDIS_URL is read in one way, by redis-py and by kombu; what could be read in two is refused with the mend."""

from typing import Any
from urllib.parse import quote

import kombu
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from routemq_tasks.configuration import celery_configuration

from routemq.connections import connect_redis, redis_tls_options
from routemq.redis_address import RedisAddress
from routemq.settings import Settings

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _settings(url: str, **more: Any) -> Settings:
    return Settings(_env_file=None, redis_url=url, **more)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress(host="h")),
        ("redis://h/", RedisAddress(host="h")),
        ("rediss://h:1/15", RedisAddress(host="h", port=1, database=15, tls=True)),
        ("redis://:p%23%40%2F%3f%25@h", RedisAddress(host="h", password="p#@/?%")),
        ("redis://u:a:b@h", RedisAddress(host="h", username="u", password="a:b")),
        ("redis://u:@h", RedisAddress(host="h", username="u")),
        ("redis://:pässwörd;x+y@redis_1.example", RedisAddress(host="redis_1.example", password="pässwörd;x+y")),
        ("redis://:p@[::1]:6380/0", RedisAddress(host="::1", port=6380, password="p")),
        ("redis://[fe80::1%25eth0]", RedisAddress(host="fe80::1%eth0")),
    ],
)
def test_a_url_has_its_parts(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address
    assert RedisAddress.parse(address.url) == address
    _same_for_kombu_and_redis(url)


@given(username=TEXT, password=TEXT)
def test_any_user_and_password_can_be_written(username: str, password: str) -> None:
    url = f"redis://{quote(username, safe='')}:{quote(password, safe='')}@h"
    address = RedisAddress.parse(url)
    assert (address.username or "", address.password or "") == (username, password)
    assert RedisAddress.parse(address.url) == address
    connection = kombu.Connection(address.url)
    assert (connection.userid or "", connection.password or "") == (username, password)


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("redis://default:99#b0ttles@host", "%23"),
        ("redis://host/0#b0ttles", "%23"),
        ("redis://:b0t?tles@host", "%3F"),
        ("redis://:b0t/tles@host", "%2F"),
        ("redis://:6379/b0ttles@host", "%2F"),
        ("redis://:b0t@tles@host", "%40"),
        ("redis://:b0t[tles@host", "%5B"),
        ("redis://:b0t\\tles@host", "%5C"),
        ("redis://:b0t tles@host", "%20"),
        ("redis://:b0t%zztles@host", "%25"),
        ("redis://:b0ttles%@host", "%25"),
        ("redis://:b0ttles%ff@host", "as UTF-8"),
        ("redis://:b0t\ttles@host", "cannot be seen"),
        ("redis://:b0t\u200btles@host", "cannot be seen"),
        ("redis://b0ttles@host", "a colon before it"),
        ("redis://:b0ttles@", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@:6379", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host:", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host:0", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host:65536", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host:٣", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host/one", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@host/0/1", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@a:1,b:2", "redis://[[user]:password@]host[:port][/number]"),
        ("redis://:b0ttles@a,b", "no host name"),
        ("redis://:b0ttles@.internal", "no host name"),
        ("redis://:b0ttles@[::g]", "looks like an IPv6 address"),
        ("redis:/b0ttles@host", "redis:// or rediss://"),
        ("'redis://:b0ttles@host'", "without quotes"),
        ("redis://:b0ttles@host?db=1", "the database is the number at the end"),
        ("rediss://:b0ttles@host?ssl_cert_reqs=none", "REDIS_TLS_INSECURE"),
        ("redis://:b0ttles@host/0?socket_timeout=1", "timeouts are RouteMQ's own"),
    ],
)
def test_what_is_ambiguous_is_refused_without_being_shown(url: str, mend: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]{3}") as caught:
        RedisAddress.parse(url)
    assert mend in str(caught.value)
    assert "b0t" not in str(caught.value)
    assert "tles" not in str(caught.value)


def test_tls_is_verified_unless_it_is_said(tmp_path: Any) -> None:
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert redis_tls_options(_settings("rediss://h")) == verified
    assert redis_tls_options(_settings("redis://h", redis_tls_insecure=True)) is None
    insecure = _settings("rediss://h", redis_tls_insecure=True)
    assert redis_tls_options(insecure) == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    for settings in (_settings("rediss://h"), insecure):
        _same_for_kombu_and_redis("", settings)


def _same_for_kombu_and_redis(url: str, settings: Settings | None = None) -> None:
    settings = settings or _settings(url)
    ours = connect_redis(settings).connection_pool
    for transport in ("routemq", "stock"):
        chosen = settings.model_copy(update={"transport": transport})
        configuration = celery_configuration(chosen, [])
        connection = kombu.Connection(
            configuration["broker_url"],
            ssl=configuration["broker_use_ssl"] or False,
            transport=configuration.get("broker_transport") or "routemq_transport.transport:Transport",
        )
        channel_class = connection.transport.Channel
        channel = channel_class.__new__(channel_class)
        channel.connection = connection.transport
        theirs = channel._connparams()
        assert theirs["connection_class"] is ours.connection_class
        names = ("host", "port", "db", "username", "password", "ssl_cert_reqs", "ssl_check_hostname")
        parts = {name: ours.connection_kwargs.get(name) for name in names}
        assert {name: theirs.get(name) for name in names} == parts
        assert isinstance(ours, redis.ConnectionPool)
