"""Gather real documents from this machine's own Python packages, for the demonstration.

    python -m tools.gather_documents OUTPUT.jsonl [--max-documents N]

Docstrings of modules, classes and functions, the descriptions that packages carry in their metadata, their READMEs
and their licences. Nothing is downloaded. Licences and vendored copies give real near-duplicates; the order mixes
packages by hash, as a crawl would.
"""

from __future__ import annotations

import argparse
import ast
import email
import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import distributions
from pathlib import Path

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

MIN_CHARACTERS = 300
# A file beyond this size is generated, and slow to parse.
MAX_FILE_BYTES = 400_000
PROSE_SUFFIXES = (".md", ".rst", ".txt")
# Licences and READMEs are few: they come often enough that all are among the first documents.
PYTHON_FILES_PER_PROSE_FILE = 4


class GatheredDocument(msgspec.Struct, frozen=True):
    """One line of the output."""

    id: str
    text: str
    source: str  # the kind of document
    package: str


def docstrings(path: Path, package: str, name: str) -> Iterator[GatheredDocument]:
    """The long docstrings of one Python file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's escape sequences
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, UnicodeDecodeError, OSError, RecursionError):
            return
    stack: list[tuple[str, ast.AST]] = [(name, tree)]
    while stack:
        qualified, node = stack.pop()
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text and len(text) >= MIN_CHARACTERS:
                yield GatheredDocument(qualified, text, "docstring", package)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                stack.append((f"{qualified}.{child.name}", child))


def prose(path: Path, package: str, name: str) -> Iterator[GatheredDocument]:
    """A README, a licence, or the description in a package's metadata."""
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return
    kind = "licence" if is_licence(path.name) else "readme"
    if path.name == "METADATA":
        payload = email.message_from_string(text).get_payload()
        text, kind = payload if isinstance(payload, str) else "", "description"
    if len(text) >= MIN_CHARACTERS:
        yield GatheredDocument(name, text, kind, package)


def is_licence(name: str) -> bool:
    """Whether a file of this name holds a licence."""
    return any(word in name.upper() for word in ("LICENSE", "LICENCE", "COPYING", "NOTICE"))


def candidates() -> list[tuple[Path, str, str]]:
    """Files of the installed packages that can hold documents, mixed: (path, package, name)."""
    found = {}
    for distribution in distributions():
        package = distribution.metadata["Name"] or "unknown"
        for file in distribution.files or ():
            name = str(file)
            wanted = file.suffix == ".py" or file.name == "METADATA" or is_licence(file.name)
            if wanted or (file.suffix in PROSE_SUFFIXES and "README" in file.name.upper()):
                found[name] = (Path(str(distribution.locate_file(file))), package, name)
    ordered = [found[name] for name in sorted(found, key=lambda name: hashlib.blake2b(name.encode()).digest())]
    prose_files = [candidate for candidate in ordered if candidate[0].suffix != ".py"]
    mixed = []
    for place, candidate in enumerate(candidate for candidate in ordered if candidate[0].suffix == ".py"):
        mixed.append(candidate)
        if place % PYTHON_FILES_PER_PROSE_FILE == 0 and prose_files:
            mixed.append(prose_files.pop())
    return mixed


def read(candidate: tuple[Path, str, str]) -> list[GatheredDocument]:
    """All documents of one file."""
    path, package, name = candidate
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return []
    except OSError:
        return []
    reader = docstrings if path.suffix == ".py" else prose
    return list(reader(path, package, name.removesuffix(".py").replace("/", ".") if path.suffix == ".py" else name))


def main() -> None:
    """Write documents until there are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-documents", type=int, default=24_000)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    num_documents = num_bytes = 0
    unfinished = options.output.with_suffix(".unfinished")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        unfinished.open("wb") as file,
        ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        Progress(*columns, disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task("Gathering documents", total=options.max_documents)
        for documents in pool.map(read, candidates(), chunksize=32):
            for document in documents:
                file.write(encode(document) + b"\n")
                num_documents += 1
                num_bytes += len(document.text.encode())
            progress.update(task, completed=min(num_documents, options.max_documents))
            if num_documents >= options.max_documents:
                pool.shutdown(cancel_futures=True)
                break
    unfinished.replace(options.output)
    print(f"Gathered {num_documents:,} documents, {num_bytes / 1e6:.1f} MB, from the Python packages of this machine.")


if __name__ == "__main__":
    main()
