"""The files that the section [kafka] names are read before any broker is asked, and no secret is ever shown."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from consumers.kafka.connection import KEY_PASSWORD_VARIABLE, PASSWORD_VARIABLE, KafkaConfig, client_options
from curatord.errors import ConfigError
from daemon.commands.validate import validate
from daemon.config import Config, load_config, show_config
from tests.integration.certificates import Authority

SECRET = "k3pt-to-itself"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def config_file(folder: Path, **options: object) -> Path:
    path = folder / "curatord.toml"
    path.write_text("[kafka]\n" + "".join(f'{name} = "{value}"\n' for name, value in options.items()))
    return path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*: No such file"),
        (b"", "is empty"),
        (b"not a certificate", "holds no certificate that can be read: a PEM file is needed"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate that can be read"),
        (bytes.fromhex("30820122300d0609"), "it is binary .DER.: `openssl x509 -inform der"),
        ("key", "holds no certificate that can be read"),
    ],
)
def test_a_ca_file_that_is_no_certificate_is_refused_by_validate_without_a_broker(
    authority: Authority, tmp_path: Path, content: bytes | str | None, sentence: str
) -> None:
    file = tmp_path / "ca.pem"
    if content == "key":
        file = authority.issue("client")[1]
    elif isinstance(content, bytes):
        file.write_bytes(content)
    path = config_file(tmp_path, security_protocol="SSL", ssl_ca_file=file)
    with pytest.raises(ConfigError, match=rf"kafka\.ssl_ca_file: .*{sentence}") as refused:
        validate(path, None, environment=True)
    assert refused.value.exit_code == 78


def test_certificate_and_key_are_checked_together(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.issue("one", password=SECRET)
    other_certificate, _ = authority.issue("two")

    def options(certificate: Path, key: Path | str) -> Any:
        return client_options(
            KafkaConfig(security_protocol="SSL", ssl_certificate_file=str(certificate), ssl_key_file=str(key))
        )

    with pytest.raises(ConfigError, match=r"is encrypted, and no password was given: set kafka\.ssl_key_password_file"):
        options(certificate, key)
    monkeypatch.setenv(KEY_PASSWORD_VARIABLE, "another")
    with pytest.raises(ConfigError, match="is encrypted, and its password is another"):
        options(certificate, key)
    monkeypatch.setenv(KEY_PASSWORD_VARIABLE, SECRET)
    assert options(certificate, key)["ssl_context"]
    with pytest.raises(ConfigError, match="is not that of the certificate"):
        options(other_certificate, key)
    with pytest.raises(ConfigError, match="holds no private key"):
        options(certificate, "")
    with pytest.raises(ConfigError, match="holds no certificate"):
        options(key, "")
    with pytest.raises(ConfigError, match=r"kafka\.ssl_key_file: cannot read"):
        options(certificate, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs kafka.username"),
        ({"ssl_ca_file": "ca.pem"}, "'PLAINTEXT' does not use kafka.ssl_ca_file: set it to 'SSL' or 'SASL_SSL'"),
        ({"security_protocol": "SASL_PLAINTEXT", "username": "u", "ssl_key_file": "k"}, "does not use kafka.ssl_key"),
        ({"security_protocol": "SSL", "ssl_key_file": "k"}, "needs kafka.ssl_certificate_file"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "username": "u"},
            "needs one of kafka.oauth_token_url and kafka.oauth_token_file",
        ),
        ({"oauth_token_file": "t"}, "are for kafka.sasl_mechanism = 'OAUTHBEARER'"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
        KafkaConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe" + SECRET.encode()])
def test_a_password_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    config = KafkaConfig(security_protocol="SASL_SSL", username="u", password_file=str(file))
    with pytest.raises(ConfigError, match=r"kafka\.password_file: .* is (empty|no UTF-8 text)") as refused:
        client_options(config)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_a_password_may_end_in_spaces(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "  \r\n")
    config = KafkaConfig(security_protocol="SASL_SSL", username="u", password_file=str(file))
    assert client_options(config)["sasl_plain_password"] == SECRET + "  "


def test_a_configuration_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, SECRET)
    path = config_file(tmp_path, security_protocol="SASL_SSL", username="alice")
    config = load_config(path)
    assert client_options(config.kafka)["sasl_plain_password"] == SECRET
    assert SECRET not in show_config(config, comments=True) + repr(config)
    token = KafkaConfig(
        security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", username="u", oauth_token_url="https://issuer"
    )
    assert SECRET not in repr(client_options(token))
    assert "password_file" in show_config(Config(), comments=False)
