"""TLS: the certificates that a client shows and trusts, read at once, so that each mistake is named with its file."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from curatord.errors import ConfigError

PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def tls_context(
    *, ca_file: str = "", certificate_file: str = "", key_file: str = "", key_password: str = "", option: str = ""
) -> ssl.SSLContext:
    """TLS of a client: the authorities that it trusts, those of a file or of the system, and a certificate of its own.

    `option` begins the names of the options in messages: `kafka.ssl_` where the file is `kafka.ssl_ca_file`.
    Raises `ConfigError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        _trust(context, ca_file, f"{option}ca_file")
    else:
        context.load_default_certs()
    if certificate_file:
        _show(context, certificate_file, key_file, key_password, option)
    return context


def _trust(context: ssl.SSLContext, file: str, option: str) -> None:
    content = read_file(file, option)
    with suppress(ssl.SSLError):
        context.load_verify_locations(cafile=file)
    if context.cert_store_stats()["x509"]:
        return
    if not content.strip():
        raise ConfigError(f"{option}: {file} is empty: name the file with the certificates of the cluster's authority")
    is_der = content.startswith(b"\x30\x82")
    way_out = (
        f"it is binary (DER): `openssl x509 -inform der -in {file}` prints it as PEM"
        if is_der
        else f"a PEM file is needed, with {PEM_CERTIFICATE.decode()}"
    )
    raise ConfigError(f"{option}: {file} holds no certificate that can be read: {way_out}")


def _show(context: ssl.SSLContext, certificate_file: str, key_file: str, key_password: str, option: str) -> None:
    certificate = read_file(certificate_file, f"{option}certificate_file")
    key = read_file(key_file, f"{option}key_file") if key_file else certificate
    holder = f"{option}key_file" if key_file else f"{option}certificate_file"
    if PEM_CERTIFICATE not in certificate:
        raise ConfigError(f"{option}certificate_file: {certificate_file} holds no certificate: a PEM file is needed")
    if b"PRIVATE KEY-----" not in key:
        raise ConfigError(f"{holder}: {key_file or certificate_file} holds no private key: a PEM file is needed")
    asked = []

    def password() -> str:
        asked.append(True)  # without this OpenSSL would ask at the terminal
        return key_password

    try:
        context.load_cert_chain(certificate_file, key_file or None, password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{holder}: the key in {key_file or certificate_file} is not that of the certificate in "
                f"{certificate_file}: name the two that were made together"
            ) from error
        if asked:
            raise ConfigError(
                f"{holder}: the key in {key_file or certificate_file} is encrypted, and "
                + (
                    "its password is another"
                    if key_password
                    else f"no password was given: set {option}key_password_file"
                )
            ) from error
        raise ConfigError(f"{holder}: {certificate_file} and its key cannot be used: {reason}") from error


def read_file(file: str, option: str) -> bytes:
    """The content of a file that an option names. Raises `ConfigError`."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: cannot read {file}: {error.strerror}") from error
