"""Connection: the options of all clients of a Kafka cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from curatord.errors import ConfigError
from curatord.tls import read_file, tls_context

if TYPE_CHECKING:
    from kafka.net.sasl.oauth import AbstractTokenProvider

PASSWORD_VARIABLE = "CURATORD_KAFKA_PASSWORD"
KEY_PASSWORD_VARIABLE = "CURATORD_KAFKA_KEY_PASSWORD"


class KafkaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[kafka]: the cluster, and the lane that this process works for. Only the service uses it."""

    bootstrap_servers: str = "localhost:9092"
    """Addresses to find the cluster by: host:port, separated by commas."""
    lane: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,200}$")] = "curatord"
    """Name of the unit of state: consumer group and transactional id. Processes with the same lane stand by for it."""
    session_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=300)] = 10.0
    """Seconds without a heartbeat after which the lane goes to a standby."""
    request_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=300)] = 10.0
    """Seconds that one answer of the cluster may take."""
    transaction_timeout_s: Annotated[float, msgspec.Meta(ge=10, le=900)] = 60.0
    """Seconds after which the cluster aborts a commit whose process went silent."""
    commit_timeout_s: Annotated[float, msgspec.Meta(ge=5, le=900)] = 60.0
    """Seconds after which a commit that hangs ends the process (exit code 70). An attempt ends after half."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the cluster: SSL is TLS, SASL a login."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """How to log in, with a SASL protocol."""
    username: str = ""
    """User name, with a SASL protocol; with OAUTHBEARER and oauth_token_url the id of the client."""
    password_file: str = ""
    """File that holds the password, or the secret of the client; else the variable CURATORD_KAFKA_PASSWORD does."""
    oauth_token_url: str = ""
    """Where OAUTHBEARER gets tokens, by client credentials: https://issuer.example/oauth2/token."""
    oauth_scope: str = ""
    """Scope to ask for there, if one is needed."""
    oauth_token_file: str = ""
    """File that holds the token for OAUTHBEARER, read again whenever one is needed; in place of oauth_token_url."""
    ssl_ca_file: str = ""
    """File with the certificates to trust (PEM); "" for those of the system."""
    ssl_certificate_file: str = ""
    """File with the client's own certificate (PEM), where the cluster asks for one."""
    ssl_key_file: str = ""
    """File with its private key (PEM); "" if that stands in ssl_certificate_file."""
    ssl_key_password_file: str = ""
    """File that holds the password of an encrypted key; else the variable CURATORD_KAFKA_KEY_PASSWORD does."""

    def __post_init__(self) -> None:
        if not self.bootstrap_servers.strip():
            raise ValueError("kafka.bootstrap_servers is empty: name at least one host:port")
        self._check_security()
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

    @property
    def workers(self) -> str:
        """Name of the consumer group that prepares documents for the lane."""
        return f"{self.lane}-prepare"

    @property
    def scorers(self) -> str:
        """Name of the consumer group that scores documents for the lane."""
        return f"{self.lane}-score"

    def patient(self, seconds: float) -> KafkaConfig:
        """The same, but no answer is waited for longer than so many seconds."""
        return msgspec.structs.replace(self, request_timeout_s=min(seconds, self.request_timeout_s))

    def _check_security(self) -> None:
        """Refuse options of security that contradict each other, or have no effect."""
        protocol = f"kafka.security_protocol = {self.security_protocol!r}"
        by_token = self.sasl_mechanism == "OAUTHBEARER" and self.security_protocol.startswith("SASL")
        if by_token and bool(self.oauth_token_url) == bool(self.oauth_token_file):
            raise ValueError(
                "kafka.sasl_mechanism = 'OAUTHBEARER' needs one of kafka.oauth_token_url and kafka.oauth_token_file"
            )
        if not by_token and (self.oauth_token_url or self.oauth_token_file):
            raise ValueError(
                "kafka.oauth_token_url and oauth_token_file are for kafka.sasl_mechanism = 'OAUTHBEARER' with a SASL "
                "protocol"
            )
        if self.security_protocol.startswith("SASL") and not self.username and not self.oauth_token_file:
            raise ValueError(f"{protocol} needs kafka.username")
        files = {
            "ssl_ca_file": self.ssl_ca_file,
            "ssl_certificate_file": self.ssl_certificate_file,
            "ssl_key_file": self.ssl_key_file,
        }
        given = [f"kafka.{name}" for name, file in files.items() if file]
        if given and not self.security_protocol.endswith("SSL"):
            raise ValueError(f"{protocol} does not use {', '.join(given)}: set it to 'SSL' or 'SASL_SSL'")
        if self.ssl_key_file and not self.ssl_certificate_file:
            raise ValueError("kafka.ssl_key_file needs kafka.ssl_certificate_file")


def client_options(config: KafkaConfig) -> dict[str, Any]:
    """The options of every client of kafka-python.

    Raises `ConfigError` if a file cannot be used, or there is no password where one is needed.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in config.bootstrap_servers.split(",") if server.strip()],
        "client_id": f"curatord-{config.lane}",
        "security_protocol": config.security_protocol,
        "request_timeout_ms": int(config.request_timeout_s * 1000),
        # The sender sleeps this long after each CONCURRENT_TRANSACTIONS; the default of 100 ms would be the latency.
        "retry_backoff_ms": 20,
    }
    if config.security_protocol.endswith("SSL"):
        key_password = secret(config.ssl_key_password_file, "kafka.ssl_key_password_file", KEY_PASSWORD_VARIABLE)
        options["ssl_context"] = tls_context(
            ca_file=config.ssl_ca_file,
            certificate_file=config.ssl_certificate_file,
            key_file=config.ssl_key_file,
            key_password=key_password,
            option="kafka.ssl_",
        )
    if config.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = config.sasl_mechanism
        if config.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = _token_provider(config)
        else:
            options |= {"sasl_plain_username": config.username, "sasl_plain_password": _password(config)}
    return options


def _token_provider(config: KafkaConfig) -> AbstractTokenProvider:
    from consumers.kafka.tokens import ClientCredentials, FileTokens  # brings the client, which files do without

    if config.oauth_token_file:
        return FileTokens(config.oauth_token_file)
    return ClientCredentials(config.oauth_token_url, config.username, _password(config), config.oauth_scope)


def _password(config: KafkaConfig) -> str:
    password = secret(config.password_file, "kafka.password_file", PASSWORD_VARIABLE)
    if not password:
        raise ConfigError(f"no password for user {config.username}: set kafka.password_file, or {PASSWORD_VARIABLE}")
    return password


def secret(file: str, option: str, variable: str) -> str:
    """The content of a file without the end of its line; without a file, a variable of the environment, or "".

    Raises `ConfigError`.
    """
    if not file:
        return os.environ.get(variable, "")
    try:
        content = read_file(file, option).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{option}: {file} is no UTF-8 text") from None  # the error would show what it holds
    if not content:
        raise ConfigError(f"{option}: {file} is empty")
    return content
