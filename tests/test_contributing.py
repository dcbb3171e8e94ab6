"""The walks of CONTRIBUTING.md, done as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()

# In a process of its own: the table of rules is read when the judge is imported.
ADD_A_RULE = """
import sys
from curation.quality import rules
from state.outcomes import RuleName

scope = {{"Rule": rules.Rule, "RuleName": RuleName}}
exec({code!r}, scope)
(rule,) = [value for value in scope.values() if isinstance(value, rules.Rule)]
rules.RULES = (*rules.RULES, rule)
rules.RULE_NAMES = (*rules.RULE_NAMES, rule.name)

from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from kernels.columns import join_texts

quality = Quality(QualityConfig(preset="fineweb"), LanguageConfig())
line = open({text!r}).read()
middle = line.index(". ", len(line) // 2) + 1
texts = join_texts([line, line[:middle] + "\\n" + line[middle:]])
print(*(reason or "kept" for reason in quality.judge(quality.measure(texts, ("en", "en"))).reasons_B))
"""


# In a copy of the sources; the kernels stay where they are compiled.
COPIED = ("consumers", "curation", "curatord", "daemon", "ops", "packing", "state", "tests/simulation")
RUN_THE_STAGE = """
import sys
from pathlib import Path
import daemon
import msgspec
from consumers.memory import CrashPoint
from state.ledger import Ledger
from tests.simulation.world import make_config, new_world, outcome, run

folder = Path(sys.argv[1])
assert Path(daemon.__file__).is_relative_to(folder), daemon.__file__
config = make_config(source_quota={"max_documents": 60}, daemon={"epoch_documents": 40})
found = []
every = tuple(CrashPoint)
for name, crashes, wipes in (("whole", (), False), ("killed", every, False), ("lost", every, True)):
    world = new_world(1, 300, folder / name)
    first = len(world.journal) + 2
    died = run(world, config, folder / name, crashes=dict(enumerate(crashes, first)), wipes=wipes)
    assert died == len(crashes), (name, died)
    found.append(outcome(world))
assert found[0] == found[1] == found[2]
print(msgspec.msgpack.decode(found[0].ledger, type=Ledger).rejections["source_quota quota_used"])
"""


def section(heading: str) -> str:
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_first_rule_decides(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", section("Your first rule"), re.MULTILINE | re.DOTALL)
    license_words = (ROOT / "LICENSE").read_text().split("TERMS AND CONDITIONS FOR USE", 1)[1].split()
    text = tmp_path / "one-line.txt"
    text.write_text(" ".join(license_words[60:700]).rpartition(". ")[0] + ".")

    done = subprocess.run(
        [sys.executable, "-c", ADD_A_RULE.format(code=code, text=str(text))], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["one_line", "kept"]


def apply_changes(diff: str, root: Path) -> None:
    """Make the changes of a diff: each hunk's old lines stand in the file once, and become its new lines."""
    head, *hunks = re.split(r"^@@\n", diff, flags=re.MULTILINE)
    (name,) = re.findall(r"^\+\+\+ b/(.*)$", head, re.MULTILINE)
    text = (root / name).read_text()
    for hunk in hunks:
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"{name} has {text.count(old)} places like this:\n{old}"
        text = text.replace(old, new)
    (root / name).write_text(text)


def test_the_first_stage_goes_on_after_crashes_and_lost_disks(tmp_path: Path) -> None:
    page = section("Your first stage")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    diffs = re.findall(r"^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests/__init__.py", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "curation" / "selection" / "source_quota.py").write_text(code)
    for diff in diffs:
        apply_changes(diff, tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", RUN_THE_STAGE, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
    assert len(diffs) <= 4
