"""Security as managed Kafka has it: every way in works, and every wrong setting is one sentence that names it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACLOperation, ResourceType

from consumers.kafka.clients import check_lane_rights, connected_admin, connected_consumer, connected_producer
from consumers.kafka.connection import PASSWORD_VARIABLE, KafkaConfig
from curatord.errors import AccessRefused, BrokerUnavailable, ConfigError
from curatord.open_source import open_source
from daemon.config import load_config
from tests.integration.certificates import Authority
from tests.integration.conftest import _do_without
from tests.integration.lane import Lane, run
from tests.integration.maven_broker import NoBroker
from tests.integration.secured_broker import PASSWORDS, SecuredBroker, token
from tests.integration.world import create_topics, wait_until

TLS = {"security_protocol": "SSL"}
LOGIN = {"security_protocol": "SASL_SSL", "username": "alice"}


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    try:
        opened = SecuredBroker()
    except NoBroker as error:
        _do_without(str(error))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _password_of_alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORDS["alice"])


def config(broker: SecuredBroker, door: str, **options: Any) -> KafkaConfig:
    servers = broker.bootstrap if door == "plain" else broker.at(door)
    trusted = {"ssl_ca_file": str(broker.authority.ca)} if options.get("security_protocol", "").endswith("SSL") else {}
    return KafkaConfig(**{"bootstrap_servers": servers, "request_timeout_s": 5.0, **trusted, **options})


def password_file(folder: Path, content: str) -> str:
    path = folder / "password"
    path.write_text(content)
    return str(path)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("door", ["login", "tls_login"])
def test_every_client_gets_in_with_a_password(broker: SecuredBroker, tmp_path: Path, door: str, mechanism: str) -> None:
    protocol = {"login": "SASL_PLAINTEXT", "tls_login": "SASL_SSL"}[door]
    file = password_file(tmp_path, PASSWORDS["bob"] + "\n")
    settings = config(
        broker, door, security_protocol=protocol, sasl_mechanism=mechanism, username="bob", password_file=file
    )
    for connect in (connected_admin, connected_consumer, connected_producer):
        connect(settings).close()


def test_a_client_gets_in_with_a_certificate_and_an_encrypted_key(broker: SecuredBroker, tmp_path: Path) -> None:
    certificate, key = broker.authority.issue("carol", password="key s3cret")
    files = {"ssl_certificate_file": str(certificate), "ssl_key_file": str(key)}
    file = password_file(tmp_path, "key s3cret\n")
    connected_admin(config(broker, "mutual", **TLS, **files, ssl_key_password_file=file)).close()


def test_a_client_gets_in_with_a_token_of_a_file(broker: SecuredBroker, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token("alice") + "\n")
    settings = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "oauth_token_file": str(file)}
    connected_admin(config(broker, "tls_login", **settings)).close()

    file.write_text(token("alice", valid_s=-100.0))
    with pytest.raises(AccessRefused, match=r"does not take the token of kafka\.oauth_token_url or .*invalid_token"):
        connected_admin(config(broker, "tls_login", **settings, request_timeout_s=5.5))
    file.write_text("two words")
    with pytest.raises(AccessRefused, match=r"oauth_token_file: .* holds no token"):
        connected_admin(config(broker, "tls_login", **settings, request_timeout_s=5.6))


class Issuer(BaseHTTPRequestHandler):
    """Gives tokens for alice's id and secret."""

    asked: list[str]

    def do_POST(self) -> None:
        import base64

        wanted = base64.b64encode(f"alice:{PASSWORDS['alice']}".encode()).decode()
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(form)
        good = self.headers["Authorization"] == f"Basic {wanted}"
        body = {"access_token": token("alice"), "expires_in": 3600} if good else {"error": "invalid_client"}
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_client_gets_in_with_a_token_of_an_issuer(broker: SecuredBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    Issuer.asked = []
    with HTTPServer(("127.0.0.1", 0), Issuer) as issuer:
        threading.Thread(target=issuer.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{issuer.server_port}/token"
        settings = {**LOGIN, "sasl_mechanism": "OAUTHBEARER", "oauth_token_url": url, "oauth_scope": "kafka"}
        connected_admin(config(broker, "tls_login", **settings)).close()
        assert Issuer.asked[0] == "grant_type=client_credentials&scope=kafka"

        monkeypatch.setenv(PASSWORD_VARIABLE, "another s3cret")
        with pytest.raises(AccessRefused, match=r"gives client 'alice' no token .401") as refused:
            connected_admin(config(broker, "tls_login", **settings, request_timeout_s=5.5))
        assert "s3cret" not in str(refused.value)
        issuer.shutdown()
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        connected_admin(config(broker, "tls_login", **settings, request_timeout_s=5.6))


WRONG = {
    "password": ("tls_login", {**LOGIN, "password": "wrong s3cret"}, "does not take the password of user 'alice'"),
    "password, SCRAM-SHA-256": (
        "login",
        {
            "security_protocol": "SASL_PLAINTEXT",
            "username": "alice",
            "password": "wrong s3cret",
            "sasl_mechanism": "SCRAM-SHA-256",
        },
        "does not take the password of user 'alice'",
    ),
    "password, PLAIN": (
        "tls_login",
        {**LOGIN, "password": "wrong s3cret", "sasl_mechanism": "PLAIN"},
        "user is unknown, or the password is another; set kafka.username and kafka.password_file",
    ),
    "user": ("tls_login", {**LOGIN, "username": "stranger"}, "knows no user 'stranger' with SCRAM-SHA-512"),
    "CA of another": ("tls", {**TLS, "ssl_ca_file": "another"}, "kafka.ssl_ca_file does not vouch for"),
    "CA of the system": ("tls", {**TLS, "ssl_ca_file": ""}, "kafka.ssl_ca_file does not vouch for"),
    "expired certificate": ("expired", TLS, "shows a certificate that has expired"),
    "host name": ("elsewhere", TLS, "shows a certificate for other names than 127.0.0.1"),
    "no certificate of the client": ("mutual", TLS, "asks for a certificate of the client"),
    "PLAINTEXT to TLS": ("tls", {}, "speaks TLS, and kafka.security_protocol is PLAINTEXT: set it to SSL"),
    "PLAINTEXT to a login": ("login", {}, "asks for a login, and .* is PLAINTEXT: set it to SASL_PLAINTEXT"),
    "PLAINTEXT to TLS and a login": ("tls_login", {}, "speaks TLS, and kafka.security_protocol is PLAINTEXT"),
    "SSL to TLS and a login": ("tls_login", TLS, "asks for a login, and .* is SSL: set it to SASL_SSL"),
    "SSL to PLAINTEXT": ("plain", TLS, "does not speak TLS, and kafka.security_protocol is SSL"),
    "SASL_SSL to a login": ("login", LOGIN, "does not speak TLS, and .* is SASL_SSL: .* set it to SASL_PLAINTEXT"),
    "SASL_SSL to TLS": ("tls", LOGIN, "takes no login, and kafka.security_protocol is SASL_SSL: set it to SSL"),
    "a login to PLAINTEXT": (
        "plain",
        {"security_protocol": "SASL_PLAINTEXT", "username": "alice"},
        "takes no login, and .* set it to PLAINTEXT",
    ),
    "a login to TLS and a login": (
        "tls_login",
        {"security_protocol": "SASL_PLAINTEXT", "username": "alice"},
        "speaks TLS, and .* set it to SASL_SSL",
    ),
    "mechanism": (
        "scram_only",
        {"security_protocol": "SASL_PLAINTEXT", "username": "alice", "sasl_mechanism": "PLAIN"},
        "does not know kafka.sasl_mechanism = PLAIN: set it to one of SCRAM-SHA-512",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    broker: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    door, options, sentence = WRONG[case]
    options = dict(options)
    if password := options.pop("password", ""):
        monkeypatch.setenv(PASSWORD_VARIABLE, password)
    if options.get("ssl_ca_file") == "another":
        options["ssl_ca_file"] = str(Authority(tmp_path, "another").ca)
    with pytest.raises(AccessRefused, match=sentence) as refused:
        connected_admin(config(broker, door, **options))

    assert refused.value.exit_code == 78
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("days", [30, -1])
def test_a_client_certificate_that_is_not_taken_is_named(broker: SecuredBroker, tmp_path: Path, days: int) -> None:
    """Of another authority, or expired."""
    signer = broker.authority if days < 0 else Authority(tmp_path, "another")
    certificate, key = signer.issue("dave", days=days)
    files = {"ssl_certificate_file": str(certificate), "ssl_key_file": str(key)}
    with pytest.raises(AccessRefused, match=r"does not take the certificate in kafka\.ssl_certificate_file"):
        connected_admin(config(broker, "mutual", **TLS, **files))


def test_silence_at_the_address_is_still_a_broker_that_does_not_answer(broker: SecuredBroker) -> None:
    with pytest.raises(BrokerUnavailable, match="no broker answers"):
        connected_admin(KafkaConfig(bootstrap_servers="127.0.0.1:1", request_timeout_s=1.0))


@pytest.fixture
def lane_of_bob(broker: SecuredBroker, prefix: str, tmp_path: Path) -> Lane:
    """Topics are there, and bob has no rights."""
    secret = password_file(tmp_path, PASSWORDS["bob"])
    lane = Lane(broker.at("login"), prefix, tmp_path)
    lane.settings = "[embedding]\nwarmup_documents = 64\n[clusters]\nmin_clusters = 2\ninitial_clusters = 2\n"
    path = lane.config("a", lane.bootstrap)
    login = f'security_protocol = "SASL_PLAINTEXT"\nusername = "bob"\npassword_file = "{secret}"\n'
    path.write_text(path.read_text().replace("[kafka]\n", "[kafka]\n" + login))
    create_topics(broker.bootstrap, dict.fromkeys(lane.topics.values(), 1), {"max.message.bytes": str(8 << 20)})
    return lane


@pytest.mark.parametrize("command", ["status", "run", "topics check", "finish"])
def test_a_command_without_rights_says_which_and_how_to_grant_them(lane_of_bob: Lane, command: str) -> None:
    told = run(*command.split(), "-c", lane_of_bob.folder / "a.toml")
    assert isinstance(told.exception, AccessRefused), told.exception
    message = str(told.exception)
    assert "the cluster gives user bob no right to" in message
    assert f"kafka-acls.sh --bootstrap-server {lane_of_bob.bootstrap} --add --allow-principal User:bob" in message
    assert PASSWORDS["bob"] not in message


def test_the_rights_that_are_asked_for_can_be_granted_as_the_message_says(
    broker: SecuredBroker, lane_of_bob: Lane
) -> None:
    settings = load_config(lane_of_bob.folder / "a.toml")
    with pytest.raises(AccessRefused) as refused:
        check_lane_rights(settings.kafka, settings.topics)
    commands = re.findall(r"--allow-principal User:bob (.*) --(\S+) (\S+)$", str(refused.value), re.M)
    assert {kind for _, kind, _ in commands} == {"topic", "group", "transactional-id"}
    for operations, kind, name in commands:
        broker.allow(KINDS[kind], name, *(OPERATIONS[operation] for operation in operations.split()[1::2]))

    def is_allowed() -> bool:  # the broker hears of it a moment later
        try:
            check_lane_rights(settings.kafka, settings.topics)
        except AccessRefused:
            return False
        return True

    wait_until(is_allowed, "the rights")


KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}


def test_a_trainers_reader_says_the_same(broker: SecuredBroker, prefix: str, tmp_path: Path) -> None:
    create_topics(broker.bootstrap, {prefix: 1})
    url = f"kafka://{broker.at('login')}/{prefix}"
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "bob"}
    with pytest.raises(AccessRefused, match="does not take the password of user 'bob': set sasl_plain_password"):
        open_source(url, {**login, "sasl_plain_password": "wrong"})
    good = {**login, "sasl_plain_password": PASSWORDS["bob"]}
    with pytest.raises(AccessRefused, match=f"no right to read topic {prefix}(.|\n)*--operation Read --topic {prefix}"):
        open_source(url, good)
    with pytest.raises(AccessRefused, match="asks for a login, and security_protocol is PLAINTEXT"):
        open_source(url, {})
    with pytest.raises(ConfigError, match="ssl_ca_file: cannot read /nowhere"):
        open_source(f"kafka://{broker.at('tls')}/{prefix}", {"security_protocol": "SSL", "ssl_cafile": "/nowhere"})
    broker.allow(ResourceType.TOPIC, prefix, ACLOperation.READ)
    wait_until(lambda: _may_read(broker, good, prefix), "the right")
    open_source(url, good).close()


def _may_read(broker: SecuredBroker, login: dict[str, str], topic: str) -> bool:
    with KafkaAdminClient(bootstrap_servers=broker.at("login"), **login) as admin:
        return "READ" in (admin.describe_topics([topic])[0]["authorized_operations"] or ())
