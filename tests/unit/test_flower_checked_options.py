"""What Flower's environment may say."""

import pytest
from routemq_flower.upstream.checked_options import check_environment

from routemq.errors import ConfigurationError


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("FLOWER_PORT", "tcp://10.0.0.1:5555", "a whole number from 0 to 65535; Kubernetes sets this"),
        ("FLOWER_PORT", "99999", "a whole number from 0 to 65535"),
        ("FLOWER_PORT", "-1", "a whole number from 0 to 65535"),
        ("FLOWER_PORT", "http", "a whole number from 0 to 65535"),
        ("FLOWER_MAX_TASKS", "many", "a whole number"),
        ("FLOWER_INSPECT_TIMEOUT", "1s", "a number"),
        ("FLOWER_TASK_RUNTIME_METRIC_BUCKETS", "1,x", "a number"),
        ("FLOWER_READ_ONLY", "maybe", "true or false"),
        ("FLOWER_UNAUTHENTICATED_API", "everyone", "true or false"),
        ("FLOWER_FORMAT_TASK", "app:format", "configuration file"),
        ("FLOWER_BASIC_AUTH", "", "user:password, neither of them empty"),
        ("FLOWER_BASIC_AUTH", "secretive:", "user:password, neither of them empty"),
        ("FLOWER_BASIC_AUTH", "secretive", "user:password, neither of them empty"),
        ("FLOWER_BASIC_AUTH", "ana:secret,", "user:password, neither of them empty"),
    ],
)
def test_what_flower_would_fall_over_is_refused(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_environment({variable: value})
    assert caught.value.variable == variable
    assert allowed in caught.value.allowed
    assert "secret" not in str(caught.value)


def test_what_is_empty_is_not_set_and_what_is_not_flowers_is_left_alone() -> None:
    kept = {
        "FLOWER_BASIC_AUTH": "ana:se:cret,ben:secret",
        "FLOWER_ADDRESS": "0.0.0.0",
        "FLOWER_PERSISTENT": "yes",
        "FLOWER_PORT_5555_TCP": "tcp://10.0.0.1:5555",
        "FLOWER_SERVICE_HOST": "10.0.0.1",
        "FLOWER_OAUTH2_KEY": "key",
        "PORT": "tcp://10.0.0.1:5555",
    }
    environment = kept | {"FLOWER_PORT": "", "FLOWER_DB": " ", "FLOWER_UNAUTHENTICATED_API": ""}
    check_environment(environment)
    assert environment == kept
