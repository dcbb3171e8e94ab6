"""INPUT arguments to input files: files, folders, globs, URLs of fsspec and `-`, in an order that a later run repeats.

The order is argument, then path (by code points), then row. All mistakes of all arguments are told at once.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import xxhash

from consumers.files.unpacking import Compression, compression_of
from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.timestamps import parse_timestamp
from curatord.errors import UsageError

Kind = Literal["jsonl", "json", "parquet", "arrow", "text", "csv", "tsv", "tar", "warc", "arc", "html"]

KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tar": "tar",
    ".warc": "warc",
    ".wet": "warc",
    ".arc": "arc",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
COMPRESSIONS: dict[str, Compression] = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".lz4": "lz4",
}
_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_TABLES: tuple[Kind, ...] = ("parquet", "arrow")
READABLE = f"{', '.join(KINDS)}; all but tables also compressed ({', '.join(COMPRESSIONS)})"

STDIN = "-"
STDIN_HEAD_BYTES = 64 << 10
MAX_URI_BYTES = MAX_ID_BYTES - len(":18446744073709551615")  # a row's default id must be a possible id
_DATASETS = "dataset_dict.json"  # of several splits, each in a folder of its own
_MODIFIED_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class Part(msgspec.Struct, frozen=True):
    """A file with prepared rows of an input, from position `first` on, before `next`."""

    path: str
    first: int
    next: int
    is_last: bool


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to read. `uri` is its identity: documents without an id are called `uri:row`.

    For standard input the uri carries a digest of its first 64 KiB, which are kept in `head`: the same stream piped in
    again is the same input, another stream is another.
    """

    uri: str  # absolute path, or URL
    kind: Kind
    compression: Compression = ""
    size: int = 0  # bytes when it was listed; 0 if unknown
    mtime_ns: int = 0  # last change in nanoseconds since 1970; 0 if unknown
    head: bytes = b""  # what was already read of standard input
    parts: tuple[Part, ...] = ()  # where its rows lie prepared; none: it is read itself

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.uri.startswith("stdin:")

    @property
    def is_remote(self) -> bool:
        """Whether fsspec has to open it."""
        return "://" in self.uri


def expand(
    arguments: Sequence[str],
    shuffle_seed: int | None = None,
    *,
    exclude: Path | None = None,
    skipped: Counter[str] | None = None,
    left_out: list[str] | None = None,
    literal: bool = False,
) -> list[InputFile]:
    """The files behind `arguments`, each once. Raises UsageError, listing every argument that cannot be used.

    If `literal`, every argument is a file or a URL as it was listed before: no pattern.

    With `shuffle_seed`, files (not their rows) are permuted by a hash of seed and uri. Nothing under `exclude`, the
    folder that the run writes to, is read. Files that were passed over for their suffix are counted in `skipped`. What
    is wrong with a single file of a folder or pattern goes to `left_out`, if there are other files, and into the error
    if there is no such list.
    """
    passed_over: Counter[str] = Counter() if skipped is None else skipped
    problems: list[str] = []
    of_files: list[str] = []  # found in folders
    files: dict[str, InputFile] = {}
    excluded = os.path.realpath(exclude) if exclude is not None else None
    for argument in arguments:
        try:
            if argument == STDIN:
                found = [_stdin()]
            elif "://" in argument and not argument.startswith("file://"):
                found = _expand_url(argument, passed_over, literal=literal)
            else:
                found = _expand_path(argument.removeprefix("file://"), excluded, passed_over, of_files)
        except UsageError as error:
            problems.append(f"{argument}: {error}")
        except OSError as error:
            problems.append(f"{argument}: {error.strerror or error}")
        else:
            for file in found:
                files.setdefault(file.uri, file)
    if not arguments:
        problems.append("no input was given; name files, folders, globs, URLs, or - for standard input")
    if left_out is None or not files:
        problems += of_files
    else:
        left_out += of_files
    if len(problems) > 1:
        raise UsageError(f"{len(problems)} inputs cannot be used:\n  " + "\n  ".join(problems))
    if problems:
        raise UsageError(problems[0])
    if shuffle_seed is None:
        return list(files.values())
    return sorted(files.values(), key=lambda file: (_shuffle_key(shuffle_seed, file.uri), file.uri))


def kind_of(name: str) -> tuple[Kind, Compression] | None:
    """Kind and compression by the name of a file; None if curatord does not read such. `dump.gz` is JSON lines."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix in _SHORT:
        stem, suffix = os.path.splitext(stem + _SHORT[suffix])
    compression = COMPRESSIONS.get(suffix, "")
    if compression:
        stem, suffix = os.path.splitext(stem)
    kind = KINDS.get(suffix) if suffix or not compression else "jsonl"
    if kind is None or (kind in _TABLES and compression):
        return None
    return kind, compression


def _shuffle_key(seed: int, uri: str) -> int:
    return xxhash.xxh3_64_intdigest(uri.encode(), seed=seed & (2**64 - 1))


def _expand_path(argument: str, excluded: str | None, skipped: Counter[str], problems: list[str]) -> list[InputFile]:
    """The files of a path or a glob; problems with single files are added to `problems`."""
    path = os.path.abspath(os.path.expanduser(argument))
    if os.path.lexists(path):
        if _is_inside(path, excluded):
            raise UsageError("lies in the output folder of this run; choose another --output")
        if not os.path.isdir(path):
            if kind_of(path) is None:
                raise UsageError(_unknown_kind(path))
            wrong: list[str] = []
            found_file = _described([path], skipped, wrong)
            if wrong:
                raise UsageError(wrong[0].removeprefix(f"{path}: "))
            return found_file
        paths = _walk(path, excluded, skipped, problems)
    elif glob.has_magic(argument):
        matches = glob.glob(path, recursive=True)
        if not matches:
            raise UsageError("nothing matches this pattern")
        found: set[str] = set()
        for match in matches:
            if not _is_inside(match, excluded):
                found.update(_walk(match, excluded, skipped, problems) if os.path.isdir(match) else [match])
        paths = sorted(found)
    else:
        raise UsageError("no such file or folder")
    already_skipped = skipped.copy()
    num_problems = len(problems)
    files = _described(paths, skipped, problems)
    if not files and len(problems) == num_problems:
        raise UsageError(f"holds no file that can be read{_listed(skipped - already_skipped)}; readable: {READABLE}")
    return files


def _walk(folder: str, excluded: str | None, skipped: Counter[str], problems: list[str]) -> list[str]:
    """All files under a folder, sorted; hidden ones and the excluded folder left out, linked folders not followed."""
    paths: list[str] = []

    def cannot_list(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=cannot_list):
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                skipped["(linked folder)"] += 1
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _is_inside(os.path.join(parent, name), excluded)
        ]
        not_data = _not_data(parent, names)
        if not_data:
            skipped["(description of a saved dataset)"] += len(not_data)
        paths += [os.path.join(parent, name) for name in names if not name.startswith(".") and name not in not_data]
    return sorted(paths)


def _not_data(parent: str, names: list[str]) -> set[str]:
    """The files of a folder that `datasets` saved which are not its rows: descriptions, and caches of `map`."""
    if _DATASETS in names and not any(name.endswith(".arrow") for name in names):
        return {_DATASETS}
    if not {"state.json", "dataset_info.json"} <= set(names):
        return set()
    try:
        with open(os.path.join(parent, "state.json"), "rb") as file:
            data = {entry["filename"] for entry in json.load(file)["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    caches = {name for name in names if name.endswith(".arrow") and name not in data}
    return {"state.json", "dataset_info.json", *caches}


def _described(paths: list[str], skipped: Counter[str], problems: list[str]) -> list[InputFile]:
    """Local files with their kind and size. Unknown kinds are counted, files that cannot be opened are problems."""
    files: list[InputFile] = []
    for path in paths:
        found = kind_of(path)
        if found is None:
            skipped[_suffix(path)] += 1
            continue
        try:
            if len(path.encode()) > MAX_URI_BYTES:
                problems.append(f"{path}: a path of more than {MAX_URI_BYTES:,} bytes cannot be part of an id")
                continue
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                open(path, "rb").close()
        except UnicodeEncodeError:
            problems.append(f"{path!a}: the name is not UTF-8, so it cannot be part of an id; rename the file")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        else:
            if stat.S_ISREG(status.st_mode):
                files.append(_file(path, found, status.st_size, status.st_mtime_ns))
            else:
                skipped["(not a regular file)"] += 1
    return files


def _expand_url(url: str, skipped: Counter[str], *, literal: bool = False) -> list[InputFile]:
    """The files behind a URL, which may be a folder or a pattern where the protocol can list."""
    import fsspec

    protocol = url.partition("://")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # fsspec's message names the package
        raise UsageError(f"the protocol {protocol}:// needs one more package: {error}") from None
    except ValueError:
        raise UsageError(f"unknown protocol {protocol}://") from None
    try:
        # A question mark is no wildcard in a URL: it starts the query.
        if not literal and ("*" in path or "[" in path):
            listed = filesystem.glob(path, detail=True)
        elif filesystem.isdir(path):
            listed = filesystem.find(path, detail=True)
        else:
            if kind_of(path.partition("?")[0]) is None:
                raise UsageError(_unknown_kind(path))
            listed = {path: filesystem.info(path)}
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError("no such file or folder") from None
    except Exception as error:  # every protocol has errors of its own
        raise UsageError(f"cannot be listed: {type(error).__name__}: {error}") from None
    files: list[InputFile] = []
    base = re.split(r"[*\[]", path, maxsplit=1)[0]  # what the user wrote may well be hidden
    for name in sorted(listed):
        info = listed[name]
        below = name.removeprefix(base)
        if info.get("type") == "directory" or any(part.startswith(".") for part in below.split("/")):
            continue
        found = kind_of(name.partition("?")[0])
        if found is None:
            skipped[_suffix(name)] += 1
        else:
            files.append(_file(filesystem.unstrip_protocol(name), found, info.get("size") or 0, _mtime_ns(info)))
    if not files:
        raise UsageError(f"no file here can be read; readable: {READABLE}")
    return files


def _stdin() -> InputFile:
    head = sys.stdin.buffer.read(STDIN_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        raise UsageError("Parquet cannot be read from standard input, since its index is at its end; name the file")
    uri = f"stdin:{xxhash.xxh3_64_hexdigest(head)}"
    return InputFile(uri=uri, kind="jsonl", compression=compression_of(head), head=head)


def _file(uri: str, found: tuple[Kind, Compression], size: int, mtime_ns: int) -> InputFile:
    return InputFile(uri=uri, kind=found[0], compression=found[1], size=size, mtime_ns=mtime_ns)


def _is_inside(path: str, folder: str | None) -> bool:
    if folder is None:
        return False
    real = os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


def _mtime_ns(info: dict[str, Any]) -> int:
    return 1000 * next((us for us in (parse_timestamp(info.get(key)) for key in _MODIFIED_KEYS) if us), 0)


def _suffix(path: str) -> str:
    """The ending that says what a file holds, with that of its compression behind it."""
    stem, suffix = os.path.splitext(os.path.basename(path).lower())
    if suffix in COMPRESSIONS:
        suffix = os.path.splitext(stem)[1] + suffix
    return suffix or "(no suffix)"


def _unknown_kind(path: str) -> str:
    return f"files ending in {_suffix(path)} are not read; readable: {READABLE}. JSON lines can also be piped into -"


def _listed(skipped: Counter[str]) -> str:
    if not skipped:
        return ""
    return f" (but {', '.join(f'{count} {suffix}' for suffix, count in skipped.most_common(5))})"
