"""A real S3 API on this machine: moto's server, behind faults that a store may show."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import fsspec
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


@dataclass(slots=True)
class FaultyStore:
    """The application, and how often it fails: before a request took effect, after it did, or within an answer."""

    application: Application
    share: float = 0.0
    writes_left: float = math.inf  # until all fail
    seen: int = 0  # faults
    _draw: random.Random = field(default_factory=lambda: random.Random(0))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.writes_left -= environ["REQUEST_METHOD"] in ("PUT", "POST")
        if self._draw.random() >= self.share and self.writes_left >= 0:
            return self.application(environ, start_response)
        self.seen += 1
        kind = self._draw.choice(("before", "after", "cut"))
        if kind == "cut" and environ["REQUEST_METHOD"] == "GET":
            return self._cut(self.application(environ, start_response))
        if kind == "after" and self.writes_left >= 0:
            list(self.application(environ, lambda status, headers, error=None: lambda data: None))
        start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
        return [ERROR]

    def _cut(self, answer: Iterable[bytes]) -> Iterator[bytes]:
        content = b"".join(answer)
        yield content[: len(content) // 2]
        raise ConnectionResetError("cut")


@contextmanager
def store_server() -> Iterator[FaultyStore]:
    """A server with an empty bucket, to which the environment points."""
    store = FaultyStore(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # the client's own attempts wait for seconds
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        files: Any = fsspec.filesystem("s3", skip_instance_cache=True)
        files.makedirs(BUCKET, exist_ok=True)  # buckets are the process's, not the server's
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
