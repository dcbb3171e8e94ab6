"""Tokens: bearer tokens for logins by OAUTHBEARER, from an issuer or from a file. None of them is ever shown."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

from kafka.net.sasl.oauth import AbstractTokenProvider

from curatord.errors import AccessRefused, BrokerUnavailable
from curatord.tls import read_file

TIMEOUT_S: Final = 10.0
SPENT: Final = 0.8  # of a token's life; then it is asked for anew
DEFAULT_LIFE_S: Final = 300.0  # where the issuer does not say


class FileTokens(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """A file that something else renews, as Kubernetes does for a service account."""

    def __init__(self, file: str) -> None:
        self._file = file

    def token(self) -> str:
        """The token in the file now. Raises `ConfigError`, `AccessRefused` if it holds no token."""
        text = read_file(self._file, "kafka.oauth_token_file").decode("ascii", "replace").strip()
        if (
            not text
            or not text.isprintable()
            or any(character.isspace() or character == "\ufffd" for character in text)
        ):
            raise AccessRefused(f"kafka.oauth_token_file: {self._file} holds no token, which is one word of ASCII")
        return text


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens of an issuer, for the id and the secret of a client (RFC 6749, 4.4). Thread-safe."""

    def __init__(self, url: str, client: str, secret: str, scope: str) -> None:
        self._url = url
        self._client = client
        self._secret = secret
        self._scope = scope
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """A token that is still good for a while. Raises `AccessRefused`, `BrokerUnavailable`."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._token, life_s = self._ask()
                self._renew_at = time.monotonic() + SPENT * life_s
            return self._token

    def _ask(self) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        quoted = ":".join(urllib.parse.quote(part, safe="") for part in (self._client, self._secret))
        headers = {"Authorization": "Basic " + base64.b64encode(quoted.encode()).decode(), "Accept": "application/json"}
        try:
            request = urllib.request.Request(self._url, urllib.parse.urlencode(form).encode(), headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                found = json.loads(answer.read(1 << 20))
            return str(found["access_token"]), float(found.get("expires_in") or DEFAULT_LIFE_S)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(300).decode(errors="replace")
            if error.code >= 500:
                raise BrokerUnavailable(f"kafka.oauth_token_url: {self._url} answers {error.code}: {said}") from None
            raise AccessRefused(
                f"kafka.oauth_token_url: {self._url} gives client {self._client!r} no token ({error.code}: {said}): "
                "are kafka.username, its secret and kafka.oauth_scope right?"
            ) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise BrokerUnavailable(f"kafka.oauth_token_url: {self._url} does not answer ({reason})") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AccessRefused(
                f"kafka.oauth_token_url: {self._url} is no address that gives tokens: name that of the issuer's tokens"
            ) from None
