"""Child: a process that prepares rows for its parent, and dies with it."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing.connection import Connection

from consumers.formats.prepared import encode_message
from consumers.trial import become_expendable
from curatord.errors import CuratordError
from daemon.prepared.preparer import open_preparer

READY, FAILED = b"ready", b"!"  # answers that are no batch; an error may stand behind the second


def main(descriptor: int) -> None:
    """Get a configuration, say that all is there, then answer lists of rows with batches until the parent leaves."""
    become_expendable()
    with Connection(descriptor) as parent, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            preparer = open_preparer(parent.recv())
        except CuratordError as error:
            parent.send_bytes(FAILED + str(error).encode("utf-8", "replace"))
            return
        parent.send_bytes(READY)
        while True:
            rows = parent.recv()
            try:
                answer = encode_message(preparer.prepare(rows), compressed=False)
            except Exception:  # the loop finds it, too, and says what it was
                answer = FAILED
            parent.send_bytes(answer)
