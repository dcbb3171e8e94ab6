"""Connection: what the clients of a Kafka cluster are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from curatord.errors import ConfigError

PASSWORD_VARIABLE = "CURATORD_KAFKA_PASSWORD"


class KafkaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[kafka]: the cluster, and the lane that this process works for. Only the service uses it."""

    bootstrap_servers: str = "localhost:9092"
    """Addresses to find the cluster by: host:port, separated by commas."""
    lane: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,200}$")] = "curatord"
    """Name of the unit of state: consumer group and transactional id. Processes with the same lane stand by for it."""
    session_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=300)] = 10.0
    """Seconds without a heartbeat after which the lane goes to a standby."""
    request_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=300)] = 30.0
    """Seconds that one answer of the cluster may take."""
    transaction_timeout_s: Annotated[float, msgspec.Meta(ge=10, le=900)] = 60.0
    """Seconds after which the cluster aborts a commit whose process went silent."""
    commit_timeout_s: Annotated[float, msgspec.Meta(ge=5, le=900)] = 60.0
    """Seconds that a commit may take before the process ends (exit code 70), to be restarted."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the cluster."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How to log in, with a SASL protocol."""
    username: str = ""
    """User name, with a SASL protocol."""
    password_file: str = ""
    """File that holds the password; else the variable CURATORD_KAFKA_PASSWORD does."""
    ssl_ca_file: str = ""
    """File with the certificates to trust; "" for those of the system."""

    def __post_init__(self) -> None:
        if not self.bootstrap_servers.strip():
            raise ValueError("kafka.bootstrap_servers is empty: name at least one host:port")
        if self.security_protocol.startswith("SASL") and not self.username:
            raise ValueError(f"kafka.security_protocol = {self.security_protocol!r} needs kafka.username")
        if self.commit_timeout_s > self.transaction_timeout_s:
            raise ValueError(
                f"kafka.commit_timeout_s = {self.commit_timeout_s:g} is more than kafka.transaction_timeout_s = "
                f"{self.transaction_timeout_s:g}: the cluster would abort a commit that this process still waits for"
            )
        if self.request_timeout_s > self.commit_timeout_s:
            raise ValueError(
                f"kafka.request_timeout_s = {self.request_timeout_s:g} is more than kafka.commit_timeout_s = "
                f"{self.commit_timeout_s:g}: one answer that is late would end the process"
            )


def client_options(config: KafkaConfig) -> dict[str, Any]:
    """What every client of kafka-python is told. Raises `ConfigError` if there is no password where one is needed."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in config.bootstrap_servers.split(",") if server.strip()],
        "client_id": f"curatord-{config.lane}",
        "security_protocol": config.security_protocol,
        "request_timeout_ms": int(config.request_timeout_s * 1000),
        # The sender sleeps this long after each CONCURRENT_TRANSACTIONS; the default of 100 ms would be the latency.
        "retry_backoff_ms": 20,
    }
    if config.security_protocol.endswith("SSL") and config.ssl_ca_file:
        options["ssl_cafile"] = config.ssl_ca_file
    if config.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.username,
            "sasl_plain_password": _password(config),
        }
    return options


def _password(config: KafkaConfig) -> str:
    if config.password_file:
        try:
            return Path(config.password_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"kafka.password_file: cannot read {config.password_file}: {error.strerror}") from error
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise ConfigError(f"no password for user {config.username}: set kafka.password_file, or {PASSWORD_VARIABLE}")
    return password
