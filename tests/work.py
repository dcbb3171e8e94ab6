"""Counts the work of the stages: instructions of compiled kernels, and calls of Python.

`python -m tests.work BYTES` puts every text of `tests.shapes` through every stage of ours at that size and at two and
four times it, and prints the counts as JSON: {stage: {shape: [[kernels, Python], ...]}}.

Machines under a hypervisor have no counters of instructions, and seconds differ from run to run. So each basic block of
a kernel adds the number of its instructions, LLVM's before they are optimised, to one sum as it ends: the same text
gives the same sum anywhere. Kernels have to be compiled for that, with a cache of their own (NUMBA_CACHE_DIR), which
takes half a minute once.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import re
import sys
from typing import Any

import llvmlite.binding
from numba.core import cgutils, codegen

SYMBOL = "curatord_executed_instructions"
_executed = ctypes.c_int64(0)
_END_OF_BLOCK = re.compile(r"  (br|ret|switch|unreachable)\b")


def count_kernels() -> None:
    """Count from now on, in all kernels that are compiled or loaded later."""
    llvmlite.binding.add_symbol(SYMBOL, ctypes.addressof(_executed))

    def add_counted(library: Any, ir_module: Any) -> None:
        library._raise_if_finalized()
        module = llvmlite.binding.parse_assembly(counted(cgutils.normalize_ir_text(str(ir_module))))
        module.name = ir_module.name
        module.verify()
        library.add_llvm_module(module)

    codegen.CPUCodeLibrary.add_ir_module = add_counted


def counted(assembly: str) -> str:
    """The same module; each of its blocks adds its number of instructions before it ends."""
    names = itertools.count()
    lines: list[str] = []
    length = 0
    for line in assembly.splitlines():
        length = length + 1 if line.startswith("  ") else 0
        if _END_OF_BLOCK.match(line):
            n = next(names)
            lines += [
                f'  %".work.{n}" = load i64, ptr @{SYMBOL}',
                f'  %".more.{n}" = add i64 %".work.{n}", {length}',
                f'  store i64 %".more.{n}", ptr @{SYMBOL}',
            ]
            length = 0
        lines.append(line)
    return "\n".join([*lines, f"@{SYMBOL} = external global i64", ""])


def work_of(stage: Any, text: str) -> tuple[int, int]:
    """(instructions of kernels, calls of Python functions and of C functions by them) of a stage on a text."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = _executed.value
    sys.setprofile(count)
    try:
        stage(text)
    finally:
        sys.setprofile(None)
    return _executed.value - before, calls


def main() -> None:
    """Print the counts."""
    count_kernels()
    from tests.shapes import SHAPES
    from tests.stages import kernel_stages

    num_bytes = int(sys.argv[1])
    stages = kernel_stages()
    found: dict[str, dict[str, list[tuple[int, int]]]] = {name: {} for name in stages}
    for name, stage in stages.items():
        stage(SHAPES["sigma and marks"](1000))  # tables are built once
        for shape, text_of in SHAPES.items():
            found[name][shape] = [work_of(stage, text_of(size)) for size in (num_bytes, 2 * num_bytes, 4 * num_bytes)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
