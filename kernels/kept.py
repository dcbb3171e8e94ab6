"""Tables that are computed once a machine: they say something of Unicode or of a library, and nothing of documents.

Going through a million code points in Python takes a second, and so does a library that is imported for a hundred
numbers. A table is kept beside the compiled kernels, as long as they are; a file that is damaged is made again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.cache import digest, folder

Made = TypeVar("Made", NDArray[Any], tuple[NDArray[Any], ...])
Arguments = ParamSpec("Arguments")

# What a damaged file, or one of another kind, makes the reader raise.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def kept(make: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """A function that reads an array, or two and more, which cannot be written to. Its arguments have a repr."""

    @functools.wraps(make)
    def load(*arguments: Arguments.args, **options: Arguments.kwargs) -> Made:
        path = _path(f"{make.__module__}.{make.__name__}", repr((arguments, options)))
        arrays = _read(path)
        if arrays is None:
            made = make(*arguments, **options)
            arrays = made if isinstance(made, tuple) else (made,)
            _write(path, arrays)
        for array in arrays:
            array.setflags(write=False)
        return arrays[0] if len(arrays) == 1 else arrays  # type: ignore[return-value]

    return load


def _path(name: str, arguments: str) -> Path:
    of = hashlib.sha256(repr((digest(), unicodedata.unidata_version, np.__version__, arguments)).encode())
    return folder() / f"{name}-{of.hexdigest()[:16]}.npz"


def _read(path: Path) -> tuple[NDArray[Any], ...] | None:
    """The arrays, whose checksums are looked at; None if there are none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(file[name] for name in file.files)
    except _DAMAGED:
        return None


def _write(path: Path, arrays: tuple[NDArray[Any], ...]) -> None:
    """As far as there is a place for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            np.savez(file, *arrays)
        os.replace(file.name, path)
    except OSError:
        return
