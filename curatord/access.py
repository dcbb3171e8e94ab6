"""Access: why a cluster does not let a client in, as one sentence that names the setting.

kafka-python tries again until its time is over, and then says that there was no broker. So the reason is found by a
connection of its own, step by step as a client connects: TLS, login, one request. It is made with blocking sockets,
since a broker closes right behind its refusal, and the client would lose that answer.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.errors import IllegalSaslStateError, KafkaError, NoError, UnsupportedSaslMechanismError, for_code
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from curatord.errors import AccessRefused
from curatord.tls import tls_context

STEP_S = 5.0  # one answer
_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NOT_YET_VALID, _EXPIRED = 9, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionNames:
    """How the options of kafka-python are called where the reader of a message can set them."""

    protocol: str = "security_protocol"
    mechanism: str = "sasl_mechanism"
    user: str = "sasl_plain_username"
    password: str = "sasl_plain_password"
    token: str = "sasl_oauth_token_provider"
    ca: str = "ssl_cafile"
    certificate: str = "ssl_certfile"
    servers: str = "bootstrap_servers"


def acl_command(servers: str, user: str, operations: Sequence[str], kind: str, name: str = "") -> str:
    """The command that grants operations on a topic, group, transactional-id or on the cluster."""
    listed = " ".join(f"--operation {operation}" for operation in operations)
    resource = f"--{kind} {name}" if name else f"--{kind}"
    principal = f"User:{user or 'NAME'}"
    return f"kafka-acls.sh --bootstrap-server {servers} --add --allow-principal {principal} {listed} {resource}"


class _Closed(Exception):
    """The broker closed the connection without a word, or with one that is none."""


def check_access(options: Mapping[str, Any], names: OptionNames, *, has_certificate: bool) -> None:
    """Raise `AccessRefused` if a broker can be reached and none lets a client with these options in.

    `options` are those of a client of kafka-python; `has_certificate` says whether the client has one of its own.
    Raises `ConfigError` if they name files that cannot be used.
    """
    refused: AccessRefused | None = None
    context = _context(options) if options.get("security_protocol", "PLAINTEXT").endswith("SSL") else None
    for server in options["bootstrap_servers"]:
        try:
            with _Door(server, options, names, context, has_certificate) as door:
                door.enter()
            return
        except AccessRefused as error:
            refused = refused or error
        except (OSError, ValueError, _Closed):  # no answer, or none of a broker
            continue
    if refused is not None:
        raise refused


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    given = options.get("ssl_context")
    if isinstance(given, ssl.SSLContext):
        return given
    context = tls_context(
        ca_file=options.get("ssl_cafile") or "",
        certificate_file=options.get("ssl_certfile") or "",
        key_file=options.get("ssl_keyfile") or "",
        key_password=options.get("ssl_password") or "",
        option="ssl_",
    )
    context.check_hostname = options.get("ssl_check_hostname", True)
    return context


class _Door:
    """One connection to one listener."""

    def __init__(
        self,
        server: str,
        options: Mapping[str, Any],
        names: OptionNames,
        context: ssl.SSLContext | None,
        has_certificate: bool,
    ) -> None:
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        self._address = (host.removeprefix("[").removesuffix("]"), int(port))
        self._server, self._options, self._names, self._context = server.strip(), options, names, context
        self._has_certificate = has_certificate
        self._protocol = options.get("security_protocol", "PLAINTEXT")
        self._parser = KafkaProtocol(client_id="curatord-access")
        self._socket = socket.create_connection(self._address, timeout=STEP_S)

    def __enter__(self) -> _Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def enter(self) -> None:
        """As a client does. Raises `AccessRefused`, OSError if the broker goes away."""
        if self._context is not None:
            self._shake_hands(self._context)
        is_broker = False
        try:
            self._ask(ApiVersionsRequest(version=0, client_software_name="", client_software_version=""))
            is_broker = True
            if self._protocol.startswith("SASL"):
                self._log_in()
            self._ask(MetadataRequest(version=1, topics=[]))
        except ssl.SSLError as error:
            raise self._certificate_refused(error) from error
        except (_Closed, ConnectionError, TimeoutError) as error:
            if self._context is None and self._speaks_tls():
                wanted = "SASL_SSL" if self._protocol.startswith("SASL") else "SSL, or SASL_SSL with a login"
                raise self._refused(
                    f"speaks TLS, and {self._names.protocol} is {self._protocol}: set it to {wanted}"
                ) from error
            if is_broker and not self._protocol.startswith("SASL"):
                wanted = "SASL_SSL" if self._context is not None else "SASL_PLAINTEXT"
                raise self._refused(
                    f"asks for a login, and {self._names.protocol} is {self._protocol}: set it to {wanted}, with "
                    f"{self._names.mechanism} and {self._names.user}"
                ) from error
            raise

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=self._address[0].rstrip("."))
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from error
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                raise self._certificate_refused(error) from error
            raise self._without_tls() from error
        except ConnectionError as error:
            raise self._without_tls() from error

    def _without_tls(self) -> AccessRefused:
        wanted = "SASL_PLAINTEXT" if self._protocol.startswith("SASL") else "PLAINTEXT"
        return self._refused(
            f"does not speak TLS, and {self._names.protocol} is {self._protocol}: name the address of a listener that "
            f"does in {self._names.servers}, or set it to {wanted}"
        )

    def _not_trusted(self, error: ssl.SSLCertVerificationError) -> AccessRefused:
        if error.verify_code in _NAME_MISMATCH:
            return self._refused(
                f"shows a certificate for other names than {self._address[0]}: name the broker in "
                f"{self._names.servers} as its certificate does, or have the certificate issued for this name"
            )
        if error.verify_code == _EXPIRED:
            return self._refused(
                "shows a certificate that has expired: it must be renewed at the broker (or this clock is wrong)"
            )
        if error.verify_code == _NOT_YET_VALID:
            return self._refused("shows a certificate that is not valid yet: is the clock of this machine right?")
        return self._refused(
            f"shows a certificate that {self._names.ca} does not vouch for ({error.verify_message}): name the file "
            "with the certificate of the authority that signed it"
        )

    def _certificate_refused(self, error: ssl.SSLError) -> AccessRefused:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        if not self._has_certificate:
            return self._refused(
                f"asks for a certificate of the client ({reason}): set {self._names.certificate}, with its key"
            )
        return self._refused(
            f"does not take the certificate in {self._names.certificate} ({reason}): is it signed by an authority that "
            "the broker trusts, and still valid?"
        )

    def _speaks_tls(self) -> bool:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(self._address, timeout=STEP_S) as plain, context.wrap_socket(plain):
                return True
        except OSError:
            return False

    def _log_in(self) -> None:
        mechanism = str(self._options.get("sasl_mechanism"))
        answer = self._ask(SaslHandshakeRequest(version=1, mechanism=mechanism))
        kind = for_code(answer.error_code)
        if kind is IllegalSaslStateError:
            wanted = "SSL" if self._context is not None else "PLAINTEXT"
            raise self._refused(f"takes no login, and {self._names.protocol} is {self._protocol}: set it to {wanted}")
        if kind is UnsupportedSaslMechanismError or mechanism not in answer.mechanisms:
            raise self._refused(
                f"does not know {self._names.mechanism} = {mechanism}: set it to one of {', '.join(answer.mechanisms)}"
            )
        login = get_sasl_mechanism(mechanism)(host=self._address[0], **self._options)
        step = 0
        said = ""
        while not login.is_done():
            answer = self._ask(SaslAuthenticateRequest(login.auth_bytes(), version=0))
            if for_code(answer.error_code) is not NoError:
                raise self._login_refused(mechanism, step, said or str(answer.error_message or ""))
            step += 1
            if mechanism == "OAUTHBEARER":
                said = bytes(answer.auth_bytes or b"").decode(errors="replace")
            try:
                login.receive(answer.auth_bytes)
            except ValueError as error:
                raise self._refused(
                    f"does not prove that it knows the password of {self._options['sasl_plain_username']}: "
                    "is this the right cluster?"
                ) from error

    def _login_refused(self, mechanism: str, step: int, said: str) -> AccessRefused:
        names, user = self._names, self._options.get("sasl_plain_username")
        if mechanism == "OAUTHBEARER":
            return self._refused(
                f"does not take the token of {names.token} ({said[:300]}): has it expired, and is it of the issuer, "
                "audience and scope that the broker asks for?"
            )
        if mechanism.startswith("SCRAM"):
            if step == 0:
                return self._refused(
                    f"knows no user {user!r} with {mechanism}: is {names.user} right, and was the user made for "
                    f"this mechanism ({names.mechanism})?"
                )
            return self._refused(f"does not take the password of user {user!r}: set {names.password}")
        return self._refused(
            f"does not let user {user!r} in with {mechanism}: the user is unknown, or the password is another; set "
            f"{names.user} and {names.password}"
        )

    def _refused(self, why: str) -> AccessRefused:
        return AccessRefused(f"the broker at {self._server} {why}")

    def _ask(self, request: Any) -> Any:
        """The answer to one request. Raises `_Closed`, OSError."""
        self._parser.send_request(request)
        self._socket.sendall(self._parser.send_bytes())
        while True:
            received = self._socket.recv(1 << 16)
            if not received:
                raise _Closed
            try:
                for _, response in self._parser.receive_bytes(received):
                    return response
            except (KafkaError, ValueError) as error:  # not Kafka's protocol: TLS, or HTTP
                raise _Closed from error
