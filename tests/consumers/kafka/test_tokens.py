"""Bearer tokens of a file and of an issuer, and no word of a secret in what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from consumers.kafka.tokens import ClientCredentials, FileTokens
from curatord.errors import AccessRefused, BrokerUnavailable, ConfigError

SECRET = "s3cr:t"


class Issuer(HTTPServer):
    """A real issuer of tokens, which answers as it is told to."""

    code, answer, asked = 200, b"", 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"


class Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.code)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    tokens = FileTokens(str(tmp_path / "token"))
    for token in ("first", "second"):
        (tmp_path / "token").write_text(token + "\n")
        assert tokens.token() == token


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff"])
def test_a_file_without_a_token_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(AccessRefused, match="holds no token") as refused:
        FileTokens(str(tmp_path / "token")).token()
    assert "two words" not in str(refused.value)


def test_a_file_that_is_gone_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        FileTokens(str(tmp_path / "gone")).token()


def test_a_token_is_kept_for_most_of_its_life(issuer: Issuer) -> None:
    issuer.answer = json.dumps({"access_token": "t", "expires_in": 3600}).encode()
    tokens = ClientCredentials(issuer.url, "client", SECRET, "scope")

    assert [tokens.token(), tokens.token()] == ["t", "t"]
    assert issuer.asked == 1


@pytest.mark.parametrize(
    ("code", "answer", "kind"),
    [(401, b"no", AccessRefused), (503, b"later", BrokerUnavailable), (200, b"<html>", AccessRefused)],
)
def test_an_issuer_that_gives_none_is_named(issuer: Issuer, code: int, answer: bytes, kind: type[Exception]) -> None:
    issuer.code, issuer.answer = code, answer
    with pytest.raises(kind, match="oauth_token_url") as failed:
        ClientCredentials(issuer.url, "client", SECRET, "").token()
    assert SECRET not in str(failed.value)


def test_an_issuer_that_is_away_is_no_refusal() -> None:
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        ClientCredentials("http://127.0.0.1:1/token", "client", SECRET, "").token()
