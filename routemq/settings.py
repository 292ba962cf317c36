"""Every environment variable, read once at a front door.

Longer than other files, because it is one table: who looks for a variable looks here, with what it may be beside it.
"""

import os
import re
import socket
from pathlib import Path
from typing import Any, Literal, get_args

from annotated_types import Ge, Le
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from routemq.env_file_source import EnvFileSource, ValueFileSource
from routemq.errors import ConfigurationError
from routemq.hosts import checked_host
from routemq.redis_address import RedisAddress

_LONGEST_MQTT_TEXT_BYTES = 65_535
"""MQTT 5, 1.5.4."""
_ADDED_BYTES = {"mqtt_client_id": 500, "mqtt_group_name": 500}
"""Room for the rest of a client id, and of a shared subscription's filter."""
_LONGEST_SHOWN = 100
_MOST = 2**31 - 1
"""Of anything that is counted; no clock, script or server meets a number that it cannot hold."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
MqttProtocol = Literal["auto", "5", "3.1.1"]
MqttShare = Literal["auto", "always", "never"]
Transport = Literal["routemq", "stock"]
LogFormat = Literal["text", "json"]


def _named(variable: str) -> Any:
    """Read a field from exactly this variable."""
    return AliasChoices(variable)


class Settings(BaseSettings):
    """The configuration of one process: environment variables first, then the file `.env` in the working directory.

    For each variable `NAME`, in both, `NAME_FILE` names a file that holds the value.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    mqtt_broker: str = Field(default="localhost", description="Host of the MQTT broker.")
    mqtt_port: int = Field(default=1883, ge=1, le=65535, description="Port of the MQTT broker.")
    mqtt_username: str | None = Field(default=None, description="User name at the MQTT broker.")
    mqtt_password: SecretStr | None = Field(default=None, description="Password at the MQTT broker.")
    mqtt_group_name: str = Field(
        default="routemq",
        pattern=r"^[^/+#\s]+$",
        description="Share name of the ingest workers: `$share/<group>/<filter>`.",
    )
    mqtt_client_id: str | None = Field(
        default=None,
        description="First part of the MQTT client ids, stable over restarts. Default: `<group>-<host>`. `auto`: Redis "
        "gives each ingest process a client id, for any number of replicas whose host names change.",
    )
    mqtt_protocol: MqttProtocol = Field(default="auto", description="`auto` tries MQTT 5 and falls back to 3.1.1.")
    mqtt_share: MqttShare = Field(
        default="auto",
        description="Shared subscriptions: `auto` has them while the group has several ingest processes, or may have; "
        "`never` lets one process take all messages, the others stand by.",
    )
    mqtt_keepalive_s: int = Field(default=30, ge=5, le=65535, description="MQTT keep alive, seconds.")
    mqtt_session_expiry_s: int = Field(
        default=86_400,
        ge=60,
        le=0xFFFFFFFE,
        description="How long the MQTT broker keeps the session of an absent ingest worker.",
    )
    mqtt_receive_maximum: int = Field(
        default=2000, ge=1, le=65535, description="Unacknowledged messages per MQTT connection."
    )
    mqtt_tls_enabled: bool = Field(default=False, description="Use TLS.")
    mqtt_tls_ca_certs: Path | None = Field(
        default=None, description="File of CA certificates; the system's when unset."
    )
    mqtt_tls_certfile: Path | None = Field(default=None, description="Client certificate.")
    mqtt_tls_keyfile: Path | None = Field(default=None, description="Key of the client certificate.")
    mqtt_tls_insecure: bool = Field(default=False, description="Do not check the broker's host name. For tests.")

    redis_url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"),
        description="Redis 7.0 or newer, or Valkey: `redis://[[user]:password@]host[:port][/number]`, "
        "or `rediss://` with TLS.",
    )
    redis_tls_ca_certs: Path | None = Field(
        default=None, description="File of CA certificates; the system's when unset."
    )
    redis_tls_certfile: Path | None = Field(default=None, description="Client certificate.")
    redis_tls_keyfile: Path | None = Field(default=None, description="Key of the client certificate.")
    redis_tls_insecure: bool = Field(default=False, description="Do not check whose certificate it is. For tests.")
    key_prefix: str = Field(
        default="", validation_alias=_named("ROUTEMQ_KEY_PREFIX"), description="Put before every Redis key."
    )

    release: str | None = Field(
        default=None,
        validation_alias=_named("ROUTEMQ_RELEASE"),
        max_length=100,
        description="What runs here, such as `1.4.2` or a commit; a dead letter tells it of the process that gave it "
        "up.",
    )

    allow_eviction: bool = Field(
        default=False,
        validation_alias=_named("ROUTEMQ_ALLOW_EVICTION"),
        description="Use a Redis that may throw messages away, as a cache does (`maxmemory-policy allkeys-…`).",
    )

    routers: str = Field(
        default="app.routers",
        validation_alias=_named("ROUTEMQ_ROUTERS"),
        description="Package or module of the routers.",
    )
    tasks: str = Field(
        default="",
        validation_alias=_named("ROUTEMQ_TASKS"),
        description="Modules with Celery tasks of your own, which our workers then run too: `app.tasks,app.reports`.",
    )
    log_level: LogLevel = Field(default="INFO", validation_alias=_named("ROUTEMQ_LOG_LEVEL"), description="Log level.")
    log_format: LogFormat = Field(
        default="text", description="`text` for people, `json` for what collects logs: an object a line."
    )
    history: bool = Field(
        default=True,
        validation_alias=_named("ROUTEMQ_HISTORY"),
        description="Keep in Redis what each route did, for the charts in Flower: at most 0.4 MB each, 100 MB in all.",
    )
    show_payloads: bool = Field(
        default=False,
        validation_alias=_named("ROUTEMQ_SHOW_PAYLOADS"),
        description="Show payloads in logs, Celery events and Flower; not together with DLQ_REDACT or DLQ_REDACT_HOOK.",
    )

    ingest_workers: int = Field(default=1, ge=1, le=64, description="Ingest processes that `routemq ingest` starts.")
    ingest_max_payload_bytes: int = Field(
        default=1_048_576, ge=1, le=_MOST, description="A larger payload goes to the dead letters, reason `too_large`."
    )
    ingest_max_queue_length: int = Field(
        default=1_000_000,
        ge=1,
        le=_MOST,
        description="Ingest stops reading while more wait on a queue, retries and messages of paused routes too.",
    )
    ingest_drain_on_exit: bool = Field(
        default=False,
        description="On SIGTERM, leave the share group and end the MQTT session, leaving no message behind.",
    )

    ingest_health_port: int | None = Field(
        default=None,
        ge=1,
        le=65_000,
        description="Serve `/healthz`, `/readyz` and Prometheus' `/metrics` here, each further ingest process on the "
        "next port.",
    )

    shutdown_grace_s: float = Field(
        default=30.0,
        ge=1,
        le=86_400,
        description="Seconds that `routemq up` gives its processes to stop in peace; if it is set, also those of a "
        "worker that was started alone: what still runs then goes back to its queue.",
    )

    worker_count: int | None = Field(
        default=None, ge=1, le=1024, description="Concurrency of a Celery worker, instead of the sum over its routes."
    )
    worker_auto_scale: bool = Field(default=False, description="Scale the worker between the next two.")
    worker_min_count: int = Field(default=1, ge=1, le=1024, description="Least concurrency when scaling.")
    worker_max_count: int = Field(default=10, ge=1, le=1024, description="Greatest concurrency when scaling.")
    worker_health_port: int | None = Field(
        default=None,
        ge=1,
        le=65_000,
        description="Serve a worker's `/healthz`, `/readyz` and `/metrics` here; "
        "`routemq up` gives each further worker the next port.",
    )
    flower_health_port: int | None = Field(
        default=None,
        ge=1,
        le=65_000,
        description="Serve Flower's `/healthz` and `/readyz` here, and as `/metrics` the numbers of the whole fleet.",
    )
    report_retries: bool = Field(
        default=False,
        validation_alias=_named("ROUTEMQ_REPORT_RETRIES"),
        description="Report a failed run that is followed by another as an error too, to Sentry, OpenTelemetry and the "
        "log; without it that is a warning, and only what ends a message is an error.",
    )
    transport: Transport = Field(
        default="routemq",
        validation_alias=_named("ROUTEMQ_TRANSPORT"),
        description="Celery's Redis transport in our processes: `routemq`, or `stock` for Celery's own.",
    )
    visibility_timeout_s: int | None = Field(
        default=None,
        ge=10,
        le=_MOST,
        validation_alias=_named("ROUTEMQ_VISIBILITY_TIMEOUT_S"),
        description="After this many seconds the messages of a worker that died are run by another. "
        "Default: 120; 3600 with the stock transport, which runs a longer task twice.",
    )
    unknown_route_wait_s: int = Field(
        default=600,
        ge=0,
        le=_MOST,
        validation_alias=_named("ROUTEMQ_UNKNOWN_ROUTE_WAIT_S"),
        description="A message of a route that this release does not know waits so long for workers that do, at least "
        "as long as a deployment takes; then it is dead, reason `unroutable`.",
    )

    dlq_retention_days: int = Field(
        default=14,
        ge=0,
        le=_MOST,
        description="Dead letters older than this are archived to DLQ_ARCHIVE_DIR and removed; 0 keeps them.",
    )
    dlq_max_entries: int | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="Most dead letters of a route: then the oldest are archived, or, without DLQ_ARCHIVE_DIR, "
        "the route is not consumed until there is room.",
    )
    dlq_archive_dir: Path | None = Field(
        default=None, description="Folder for archived dead letters; without one none is ever removed."
    )
    dlq_bin_hours: int = Field(
        default=24,
        ge=0,
        le=_MOST // 3600,
        description="Discarded dead letters can be brought back for so long; 0 discards for good.",
    )
    dlq_redact: str = Field(
        default="", description="JSON fields whose values dead letters do not keep: `password,token`."
    )
    dlq_redact_hook: str | None = Field(
        default=None, description="`package.module:function`, which makes the payload that a dead letter keeps."
    )

    alert_webhook: SecretStr | None = Field(
        default=None, description="Address that gets a JSON object when something goes wrong, and when it is over."
    )
    alert_hook: str | None = Field(
        default=None, description="`package.module:function` that gets the same, as `routemq.alerts.delivery.Alert`."
    )
    alert_dead_per_minute: float = Field(
        default=10.0, ge=0, description="An alert begins when more messages of a route die in a minute."
    )
    alert_oldest_s: float = Field(
        default=300.0, gt=0, description="An alert begins when the next message of a queue has waited for so long."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read `.env` in our own way, and the files that variables name."""
        env_file = getattr(dotenv_settings, "env_file", None)
        return init_settings, ValueFileSource(settings_cls), env_settings, EnvFileSource(settings_cls, env_file)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, object]) -> dict[str, object]:
        # `MQTT_USERNAME=` in a Compose file or in .env.example means "not set"; in the environment it hides .env's.
        return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("dlq_redact", "tasks")
    @classmethod
    def _names_something(cls, value: str) -> str:
        # `"$ONE,$OTHER"` of variables that are not set; who redacts must not believe that something is taken out.
        if value and not value.strip(", "):
            raise ValueError("names with commas between them; this one has none")
        return value

    @field_validator("mqtt_broker")
    @classmethod
    def _host_alone(cls, value: str) -> str:
        # An IPv6 address has several colons; one alone stands before a port.
        host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if not host.isprintable() or any(mark in host for mark in "/@ []") or host.count(":") == 1:
            raise ValueError("a host name or address alone; the port is MQTT_PORT, TLS is MQTT_TLS_ENABLED")
        return checked_host(host)

    @field_validator("mqtt_username", "mqtt_client_id", "mqtt_group_name", "mqtt_password")
    @classmethod
    def _mqtt_text(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        longest_bytes = _LONGEST_MQTT_TEXT_BYTES - _ADDED_BYTES.get(str(info.field_name), 0)
        if text is not None and ("\0" in text or not _is_utf8(text, longest_bytes=longest_bytes)):
            raise ValueError(f"UTF-8 text of at most {longest_bytes} bytes")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_parts(cls, value: SecretStr) -> SecretStr:
        # A line break at the end is what `echo secret > file` leaves behind.
        url = value.get_secret_value().strip()
        RedisAddress.parse(url)
        return SecretStr(url)

    @field_validator(
        "mqtt_tls_ca_certs", "mqtt_tls_certfile", "mqtt_tls_keyfile",
        "redis_tls_ca_certs", "redis_tls_certfile", "redis_tls_keyfile",
    )  # fmt: skip
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and (value.is_dir() or not os.access(value, os.R_OK)):
            raise ValueError("the file does not exist or cannot be read")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.worker_min_count > self.worker_max_count:
            raise ConfigurationError(
                variable="WORKER_MIN_COUNT",
                value=self.worker_min_count,
                allowed=f"at most WORKER_MAX_COUNT, which is {self.worker_max_count}",
            )
        for server, certificate, key in (
            ("MQTT", self.mqtt_tls_certfile, self.mqtt_tls_keyfile),
            ("REDIS", self.redis_tls_certfile, self.redis_tls_keyfile),
        ):
            if key and not certificate:
                raise ConfigurationError(
                    variable=f"{server}_TLS_KEYFILE", value=key, allowed=f"only together with {server}_TLS_CERTFILE"
                )
        for name in ("redis_tls_ca_certs", "redis_tls_certfile"):
            value = getattr(self, name)
            if value is not None and not self.redis.tls:
                raise ConfigurationError(
                    variable=variable_of(name), value=value, allowed="only with a REDIS_URL that begins with rediss://"
                )
        if self.mqtt_password is not None and self.mqtt_username is None:
            raise ConfigurationError(
                variable="MQTT_PASSWORD", value="(hidden)", allowed="only together with MQTT_USERNAME"
            )
        return self

    @property
    def redis(self) -> RedisAddress:
        """Where Redis is."""
        return RedisAddress.parse(self.redis_url.get_secret_value())

    @property
    def shows_payloads(self) -> bool:
        """Whether payloads are shown; not where something of them must not be kept."""
        return self.show_payloads and not self.dlq_redact.strip(", ") and self.dlq_redact_hook is None

    @property
    def task_modules(self) -> tuple[str, ...]:
        """The modules with Celery tasks of the application's own."""
        return tuple(name.strip() for name in self.tasks.split(",") if name.strip())

    @property
    def has_leased_client_ids(self) -> bool:
        """Whether Redis gives the ingest processes their client ids."""
        return self.mqtt_client_id is not None and self.mqtt_client_id.lower() == "auto"

    @property
    def client_id_base(self) -> str:
        """The stable part of this host's MQTT client ids; of the group's, where Redis gives them."""
        if self.has_leased_client_ids:
            return f"{self.mqtt_group_name}-auto"
        return self.mqtt_client_id or f"{self.mqtt_group_name}-{socket.gethostname()}"


def _is_utf8(text: str, *, longest_bytes: int) -> bool:
    try:
        return len(text.encode()) <= longest_bytes
    except UnicodeEncodeError:
        return False


def variable_of(field_name: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    alias = Settings.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return field_name.upper()


_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")

SECRETS = frozenset({"MQTT_PASSWORD", "REDIS_URL", "ALERT_WEBHOOK"})


def load_settings() -> Settings:
    """Read the configuration.

    Raises:
        ConfigurationError: Names the variable, its value (not of a secret) and what is allowed.
    """
    try:
        return Settings()
    except ValidationError as exc:
        # The cause would show what was put in, secrets too.
        raise _configuration_error(exc) from None
    except (OSError, UnicodeError) as exc:
        raise ConfigurationError(variable=".env", value="(the file)", allowed=f"a file of UTF-8 text: {exc}") from exc


def _configuration_error(exc: ValidationError) -> ConfigurationError:
    first = exc.errors(include_url=False)[0]
    name = str(first["loc"][0])
    variable = name if name.isupper() else variable_of(name)
    value = "(hidden)" if variable in SECRETS else repr(first.get("input"))
    if len(value) > _LONGEST_SHOWN:
        value = f"{value[:_LONGEST_SHOWN]}…"
    return ConfigurationError(variable=variable, value=value, allowed=_allowed(variable, first))


def with_service_link(allowed: str, value: object) -> str:
    """Return what a variable may be, and where a value such as `tcp://10.0.0.1:1883` comes from."""
    if not isinstance(value, str) or not _SERVICE_LINK.match(value):
        return allowed
    return (
        f"{allowed}; Kubernetes sets this for a service of that name: set the variable in the container's own env, put "
        "`enableServiceLinks: false` into the pod's spec, or give the service another name"
    )


def _allowed(variable: str, error: ErrorDetails) -> str:
    """Return what a variable may be, in an operator's words; pydantic says only which rule was broken."""
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_unicode":
        return "UTF-8 text"
    field = next(field for name, field in Settings.model_fields.items() if variable_of(name) == variable)
    kinds = {field.annotation, *get_args(field.annotation)}
    if bool in kinds:
        return "true or false (also yes and no, on and off, 1 and 0)"
    if int in kinds:
        least = next((f" from {limit.ge}" for limit in field.metadata if isinstance(limit, Ge)), "")
        greatest = next((f" to {limit.le}" for limit in field.metadata if isinstance(limit, Le)), "")
        return with_service_link(f"a whole number{least}{greatest}", error.get("input"))
    if error["type"] == "string_pattern_mismatch":
        return "a name without '/', '+', '#' and white space"
    return error["msg"].replace("Input should be", "it is").replace("it is '", "one of '")
