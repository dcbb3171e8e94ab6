"""USR1 shows where every thread is, and never costs the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

MANY_SIGNALS = 1500

# The main thread is in a library that holds nothing, other threads change their frames all the time.
HANGING = """
import hashlib, signal, sys, threading
from ops.stacks import stacks_on

def deeper(level):
    return level and deeper(level - 1)

def busy():
    while True:
        deeper(50)

for number in range(4):
    threading.Thread(target=busy, name=f"busy-{number}", daemon=True).start()
with stacks_on(signal.SIGUSR1, sys.stderr):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha512", b"", b"", (1 << 31) - 1)
"""


def test_stacks_are_written_while_the_main_thread_is_in_a_library_and_threads_run(tmp_path: Path) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            seen: list[str] = []
            for _ in range(MANY_SIGNALS):
                process.send_signal(signal.SIGUSR1)
                if len(seen) < 5:
                    while "pbkdf2_hmac" not in (line := process.stderr.readline()):
                        assert line, "the process ended"
                        seen.append(line)
                    seen.append(line)
            assert process.poll() is None
        finally:
            process.kill()
    assert any("Thread MainThread" in line for line in seen)
    assert any("Thread busy-0" in line for line in seen)
