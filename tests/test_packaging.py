"""One installed package, light to import, with the application inside."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
APPLICATION = ("daemon", "consumers", "curation", "kernels", "state", "packing", "ops")


def test_no_installed_distribution_owns_a_folder_name_of_ours() -> None:
    owners = {name: packages_distributions().get(name) for name in APPLICATION}

    assert {name: owner for name, owner in owners.items() if owner and set(owner) != {"curatord"}} == {}


def test_the_wheel_installs_one_package_which_runs_from_anywhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    tops = {name.split("/")[0] for name in names}

    result = subprocess.run(
        [sys.executable, "-c", "from curatord.__main__ import main; main()", "--version"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True,
    )  # fmt: skip

    assert {top for top in tops if not top.endswith(".dist-info")} == {"curatord"}
    assert all(f"curatord/_app/{folder}/__init__.py" in names for folder in APPLICATION)
    assert result.stdout.startswith("curatord, version"), result.stderr


def test_importing_the_package_loads_nothing_of_the_daemon() -> None:
    code = (
        "import curatord, curatord.sequence, curatord.records, curatord.errors, sys\n"
        "heavy = {'torch', 'numba', 'faiss', 'rocksdict', 'pyarrow', 'kafka', 'click', 'daemon', 'curation'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


def test_without_the_daemon_the_command_names_what_to_install() -> None:
    code = "import curatord.__main__ as command\ncommand.REQUIRED = ('click', 'no_such_package')\ncommand.main()"

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert result.returncode == 1
    assert "pip install '.[daemon]'" in result.stderr
    assert "no_such_package" in result.stderr
    for option, told in (("--version", "curatord, version"), ("--help", "pip install '.[daemon]'"), ("-h", "serves")):
        result = subprocess.run([sys.executable, "-c", code, option], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0
        assert told in result.stdout
