"""The `curatord` command: put the application root first on the path, as a zipapp does, and run `daemon`."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

# One light package and one heavy one of the `daemon` extra: enough to tell that it is not installed.
REQUIRED = ("click", "rocksdict", "numba", "faiss")


def main() -> None:
    """Run the application from `curatord/_app` when installed, from the checkout otherwise."""
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"curatord: the daemon's dependencies are not installed (missing: {', '.join(missing)}). "
            "This installation serves trainers only. Install the rest with: pip install 'curatord[daemon]'"
        )
    installed = Path(__file__).parent / "_app"
    root = installed if installed.is_dir() else Path(__file__).parent.parent
    sys.path.insert(0, str(root))
    runpy.run_module("daemon", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
