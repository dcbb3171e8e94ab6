"""The `curatord` command: put the application root first on the path, as a zipapp does, and run `daemon`."""

import runpy
import sys
from importlib.util import find_spec
from typing import NoReturn

from curatord import __version__
from curatord.errors import install_with
from curatord.root import application_root

# One light package and one heavy one of the `daemon` extra: enough to tell that it is not installed.
REQUIRED = ("click", "rocksdict", "numba", "faiss")


def main() -> None:
    """Run the application."""
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        _say_what_is_missing(missing, sys.argv[1:])
    sys.path.insert(0, str(application_root()))
    runpy.run_module("daemon", run_name="__main__", alter_sys=True)


def _say_what_is_missing(missing: list[str], arguments: list[str]) -> NoReturn:
    """An installation for trainers knows its version, and how to become one with all commands."""
    why = f"This installation serves trainers only: the packages of the commands are not there ({', '.join(missing)})"
    if arguments == ["--version"]:
        print(f"curatord, version {__version__}")
        sys.exit(0)
    if arguments in (["--help"], ["-h"]):
        print(f"curatord {__version__}: streaming curation of training data\n\n{why}. {install_with('daemon')}")
        print("Then: curatord --help. Reading a stream needs none of it: from curatord import PackedStream")
        sys.exit(0)
    sys.exit(f"curatord: {why}. {install_with('daemon')}")


if __name__ == "__main__":
    main()
