"""Certificates for tests, made by openssl: an authority, and what it signs."""

from __future__ import annotations

import subprocess
from pathlib import Path

LOCAL = "IP:127.0.0.1,DNS:localhost"


class Authority:
    """An authority with a folder of its own. All files are PEM; `ca` is its certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}"],
            *["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self._key, "-out", self.ca],
        )

    def issue(self, name: str, *, names: str = LOCAL, days: int = 30, password: str = "") -> tuple[Path, Path]:
        """A certificate and its key, in PKCS #8; with `days` below 0 it has expired."""
        certificate, key, request = (self._folder / f"{name}{ending}" for ending in (".pem", ".key", ".csr"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nkeyUsage=digitalSignature,keyEncipherment\n")
        protection = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        _openssl("req", "-newkey", "rsa:2048", *protection, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            *["x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"],
            *["-days", str(days), "-extfile", extensions, "-out", certificate],
        )
        return certificate, key

    def keystore(self, name: str, **options: str) -> Path:
        """Key and certificate in one file, as Kafka takes them."""
        certificate, key = self.issue(name, **options)  # type: ignore[arg-type]
        store = self._folder / f"{name}.keystore.pem"
        store.write_text(key.read_text() + certificate.read_text())
        return store


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
