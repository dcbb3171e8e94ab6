"""The walks of CONTRIBUTING.md, done as they are written."""

from __future__ import annotations

import re
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
