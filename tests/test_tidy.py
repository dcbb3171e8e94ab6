"""The rules of the house that can be decided by reading the sources: arrows, lengths, dead code, tests, words.

A list of exceptions may only shrink: a name that is no exception any more fails the test, as a new one does.
"""

from __future__ import annotations

import ast
import functools
import gc
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import LONGEST
from tests.tidy_exceptions import (
    ARROWS_TO_GO,
    CALLED_FROM_OUTSIDE,
    CIRCLES_TO_GO,
    DEAD,
    LONG_FUNCTIONS,
    LONG_MODULES,
    MANY_PARAMETERS,
    WITHOUT_TESTS,
)

ROOT = Path(__file__).parents[1]

# Each folder of the application, and the folders that it may import.
FOUNDATION = {"state", "ops", "kernels", "curatord"}
ARROWS = {
    "daemon": {"packing", "curation", "consumers"} | FOUNDATION,
    "packing": FOUNDATION,
    "curation": FOUNDATION,
    "consumers": FOUNDATION,
    "state": {"curatord"},
    "ops": {"curatord"},
    "kernels": set(),
    "curatord": set(),
}
# Words that name nobody and nothing, and what to write in their place.
BANNED_WORDS = {
    "whoever": "the role: the trainer, the producer, the owner",
    "whosever": "of every rank, of every owner",
    "whomever": "the role",
    "whatever": "every, any, or the noun itself",
    "somebody": "the role: another client, an operator",
    "someone": "the role",
    "anybody": "the role",
    "everybody": "all, with the noun",
    "nobody": "no, with the noun: no reader, no trainer",
    "mend": "repair",
    "mends": "repairs",
    "mended": "repaired, or Fixed in a changelog",
}
BANNED_WORD = re.compile(rf"(?<![a-z])({'|'.join(BANNED_WORDS)})(?![a-z])", re.IGNORECASE)
# "What it read last" is a noun that the reader must guess; "The last offset read" names it.
NOUN_CLAUSE = re.compile(r"(What|Whatever|Whoever|Who)\b(?!.*\?)")
# The same as the beginning of a sentence; a question, a heading of a column and "what it is: [page]" are none.
CLAUSE_IN_PROSE = re.compile(r"(?:^|[.:] )(?:What|Whatever|Whoever|Who) (?![^.|]*[?:|])")

MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 400
MAX_PARAMETERS = 7

BRANCHES = (
    ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.comprehension, ast.Match, ast.BoolOp,
)  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its path from the root, its dotted name, its syntax by type of node."""

    path: str
    name: str
    num_lines: int
    body: list[ast.stmt]
    nodes: dict[type[ast.AST], list[Any]]

    def all(self, *types: type[ast.AST]) -> Iterator[Any]:
        """Nodes of these types, wherever they stand."""
        return itertools.chain.from_iterable(self.nodes[each] for each in types if each in self.nodes)


@functools.cache
def application() -> tuple[Module, ...]:
    return _read_all(ARROWS)


@functools.cache
def everything_else() -> tuple[Module, ...]:
    return _read_all(("tests", "tools", "benchmarks", "examples"))


def _read_all(folders: Iterable[str]) -> tuple[Module, ...]:
    gc.disable()  # every node stays: to look for garbage among them takes three times as long as to read them
    try:
        return tuple(_read(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    finally:
        gc.enable()


def _read(path: Path) -> Module:
    text = path.read_text()
    relative = path.relative_to(ROOT)
    tree = ast.parse(text)
    nodes = defaultdict[type[ast.AST], list[Any]](list)
    for node in ast.walk(tree):
        nodes[type(node)].append(node)
    return Module(
        path=str(relative),
        name=".".join(relative.with_suffix("").parts).removesuffix(".__init__"),
        num_lines=text.count("\n"),
        body=tree.body,
        nodes=dict(nodes),
    )


@functools.cache
def imports() -> dict[str, set[str]]:
    """For each module of the application those that it imports, wherever in the file."""
    names = {module.name for module in application()}
    found: dict[str, set[str]] = {}
    for module in application():
        imported = {alias.name for node in module.all(ast.Import) for alias in node.names}
        for node in module.all(ast.ImportFrom):
            # `from folder import module` imports the module; `from module import name` stays the module.
            paths = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= paths & names or {node.module}
        found[module.name] = imported & names
    return found


def test_arrows_between_folders_lead_down() -> None:
    crossing = {
        f"{module} -> {imported}"
        for module, all_imported in imports().items()
        for imported in all_imported
        if (top := module.split(".")[0]) != (other := imported.split(".")[0]) and other not in ARROWS[top]
    }

    _only_shrinks(crossing, ARROWS_TO_GO, "ARROWS_TO_GO")


def test_no_modules_import_each_other() -> None:
    reached = {name: _reachable(name) for name in imports()}
    circles = {
        " ".join(sorted(other for other in reached[name] if name in reached[other]))
        for name in reached
        if name in reached[name]
    }

    _only_shrinks(circles, CIRCLES_TO_GO, "CIRCLES_TO_GO")


def _reachable(name: str) -> set[str]:
    """All modules that an import of `name` leads to; itself only through a circle."""
    reached = set[str]()
    waiting = list(imports()[name])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += imports()[module]
    return reached


def test_functions_are_short() -> None:
    long = {
        f"{module.path} {function.name}"
        for module in application()
        for function in module.all(*FUNCTIONS)
        if function.end_lineno - function.lineno + 1 > MAX_FUNCTION_LINES
    }

    _only_shrinks(long, LONG_FUNCTIONS, "LONG_FUNCTIONS")


def test_modules_are_short() -> None:
    long = {module.path for module in application() if module.num_lines > MAX_MODULE_LINES}

    _only_shrinks(long, LONG_MODULES, "LONG_MODULES")


def test_functions_outside_kernels_have_few_parameters() -> None:
    many = {
        f"{module.path} {function.name}"
        for module in application()
        for function in module.all(*FUNCTIONS)
        if not module.path.startswith("kernels/") and _num_parameters(function) > MAX_PARAMETERS
    }

    _only_shrinks(many, MANY_PARAMETERS, "MANY_PARAMETERS")


def _num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def test_every_definition_is_used() -> None:
    in_tests = [module for module in everything_else() if module.path.startswith("tests/")]
    elsewhere = [module for module in everything_else() if not module.path.startswith("tests/")]
    read = _read_names([*application(), *elsewhere])
    # Trainers call what the application does not: of the installed package, a test's use counts.
    read_by_trainers = read | _read_names(in_tests)
    unused = {
        f"{module.path} {name}"
        for module in application()
        for name in _defined(module)
        if name not in (read_by_trainers if module.path.startswith("curatord/") else read)
    }

    assert unused >= CALLED_FROM_OUTSIDE, f"used, or gone: {sorted(CALLED_FROM_OUTSIDE - unused)}"
    _only_shrinks(unused - CALLED_FROM_OUTSIDE, DEAD, "DEAD")


def _defined(module: Module) -> Iterator[str]:
    """Functions, methods, classes, and the names that a module gives to values and types."""
    for node in module.all(*DEFINITIONS):
        if not node.name.endswith("_") and not any(_makes_command(each) for each in node.decorator_list):
            yield node.name
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = (target.id for target in targets if isinstance(target, ast.Name))
            yield from (name for name in names if not name.endswith("_"))


def _makes_command(decorator: ast.expr) -> bool:
    """Whether it is one like `@cli.command()`."""
    return ast.unparse(decorator).split("(")[0].endswith(".command")


def _read_names(modules: Iterable[Module]) -> set[str]:
    """Names that are read; a string that could be a name is one, for `getattr` and `__all__`."""
    found = set[str]()
    for module in modules:
        found.update(node.id for node in module.all(ast.Name) if isinstance(node.ctx, ast.Load))
        found.update(node.attr for node in module.all(ast.Attribute))
        found.update(node.name for node in module.all(ast.alias))
        found.update(node.value for node in module.all(ast.Constant) if isinstance(node.value, str))
    return found


def test_every_module_with_logic_has_tests_of_its_own() -> None:
    missing = {module.path for module in application() if _has_logic(module) and not _test_file(module).exists()}

    _only_shrinks(missing, WITHOUT_TESTS, "WITHOUT_TESTS")


def _has_logic(module: Module) -> bool:
    return any(isinstance(node, BRANCHES) for each in module.all(*FUNCTIONS) for node in ast.walk(each))


def _test_file(module: Module) -> Path:
    path = Path(module.path)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


def test_prose_names_its_subjects() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number} {word}: {BANNED_WORDS[word.lower()]}"
        for path in _prose()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in BANNED_WORD.findall(line)
    ]

    assert not found, "\n".join(found)


def _prose() -> Iterator[Path]:
    """Sources, with their names, comments and messages, and pages; but for this file, which names the words."""
    sources = (ROOT / module.path for module in (*application(), *everything_else()))
    yield from (path for path in sources if path != Path(__file__))
    yield from sorted(ROOT.glob("*.md"))
    for folder in (*ARROWS, "docs", "tests", "tools", "benchmarks", "examples"):
        yield from sorted((ROOT / folder).rglob("*.md"))


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    found = [
        f"{module.path}:{getattr(node, 'lineno', 1)} {text.splitlines()[0]}"
        for module in (*application(), *everything_else())
        for node in module.all(ast.Module, *DEFINITIONS)
        if (text := ast.get_docstring(node)) and NOUN_CLAUSE.match(text)
    ]

    assert not found, "docstrings that begin with a clause:\n" + "\n".join(found)


def test_the_longest_files_exist() -> None:
    assert [path for path in LONGEST if not (ROOT / path).exists()] == []


def test_pages_name_their_subjects() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[a-z]*/README.md")]
    generated = {ROOT / "docs" / f"{name}.md" for name in ("commands", "configuration", "metrics", "reasons")}
    found = [
        f"{page.relative_to(ROOT)}:{number} {line[clause.start() :][:80]}"
        for page in sorted(set(pages) - generated)
        for number, line in enumerate(page.read_text().splitlines(), 1)
        for clause in CLAUSE_IN_PROSE.finditer(line)
    ]

    assert not found, "sentences whose subject is a clause:\n" + "\n".join(found)


def test_every_room_has_a_page_that_names_its_modules_truly() -> None:
    rooms = {path.parent for folder in ARROWS for path in (ROOT / folder).rglob("__init__.py")}
    for room in (*sorted(rooms), *(ROOT / name for name in ("tests", "tools", "benchmarks", "examples"))):
        page = room / "README.md"
        assert page.exists(), f"{room.relative_to(ROOT)} has no README.md"
        for name in re.findall(r"`([\w/]+\.py)`", page.read_text()):
            assert (room / name).exists() or (ROOT / name).exists(), f"{page.relative_to(ROOT)}: {name} is gone"


def test_every_decision_record_has_a_date_and_a_status() -> None:
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        heading, blank, dated, *_ = page.read_text().splitlines()
        assert heading.startswith(f"# {int(page.name[:4])}. "), page.name
        assert not blank, page.name
        assert re.match(r"Date: \d{4}-\d\d-\d\d · Status: (accepted|replaced by )", dated), page.name


def _only_shrinks(found: set[str], allowed: set[str], name: str) -> None:
    assert not found - allowed, "new:\n" + "\n".join(sorted(found - allowed))
    assert not allowed - found, f"gone, so strike it from {name}:\n" + "\n".join(sorted(allowed - found))
