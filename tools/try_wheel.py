"""Build the wheel, install it into an environment of its own, and run it: `make wheel`.

First for trainers: the wheel and what it requires, from uv's cache, so that no index is asked. Then for the daemon: its
packages are lent from the environment that runs this, the application is the wheel's. At last as `light`, in earnest:
documents are curated without vectors, and where a teacher is wanted, the command says how to get one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
REQUIRED = ("numpy", "msgspec", "crc32c")
MAX_LIGHT_BYTES = 1_000_000_000


def main() -> None:
    """Raise `CalledProcessError` or `AssertionError` where something is missing from the wheel."""
    with TemporaryDirectory() as folder:
        clean = Path(folder) / "venv"
        venv.create(clean, symlinks=True)
        wheel = _build(Path(folder))
        install: list[str | Path] = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline"]
        install += ["--python", clean / "bin/python"]
        _run([*install, "--no-deps", wheel])
        _run([*install, "--constraint", ROOT / "requirements.lock", *REQUIRED])
        for_trainers = _run([clean / "bin/curatord", "--help"], cwd=Path(folder))
        assert "pip install '.[daemon]'" in for_trainers, for_trainers
        _run([clean / "bin/python", "-c", "from curatord import PackedSequence, PackedStream"], cwd=Path(folder))

        lent = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
        place = _run(
            [clean / "bin/python", "-c", "import curatord; print(curatord.__file__)"], cwd=Path(folder), env=lent
        )
        assert place.startswith(str(clean)), place
        for_all = _run([clean / "bin/curatord", "--help"], cwd=Path(folder), env=lent)
        assert "inspect" in for_all, for_all
        _run([clean / "bin/curatord", "config", "new"], cwd=Path(folder), env=lent)
        _try_light(wheel, Path(folder))
    print(f"{wheel.name} installs and runs")


def _try_light(wheel: Path, folder: Path) -> None:
    light = folder / "light"
    venv.create(light, symlinks=True)
    install: list[str | Path] = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline"]
    _run([*install, "--python", light / "bin/python", "--constraint", ROOT / "requirements.lock", f"{wheel}[light]"])
    size = sum(path.lstat().st_size for path in light.rglob("*"))
    assert size < MAX_LIGHT_BYTES, f"{size / 1e6:,.0f} MB"
    documents, config = folder / "documents.jsonl", folder / "best_fit.toml"
    documents.write_text('{"text": "one document"}\n{"text": "another one"}\n')
    config.write_text('[packing]\nmode = "best_fit"\n')
    command: list[str | Path] = [light / "bin/curatord", "curate", documents]
    told = _run([*command, "-o", folder / "without", "-c", config], cwd=folder)
    assert "no vectors and no clusters" in told, told
    wanting = subprocess.run([*command, "-o", folder / "with"], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert wanting.returncode == 78, wanting.returncode
    assert "its packages are not installed (torch, sentence_transformers)" in wanting.stderr, wanting.stderr
    assert "extra `daemon`" in wanting.stderr, wanting.stderr


def _build(folder: Path) -> Path:
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"], cwd=ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def _run(command: list[str | Path], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Its standard output; its errors go to ours."""
    return subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
