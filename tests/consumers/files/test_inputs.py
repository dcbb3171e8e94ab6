"""Expanding INPUT arguments: what is read, in which order, and what the user hears when something is wrong."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from consumers.files.inputs import InputFile, expand, kind_of
from curatord.errors import UsageError


def _make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}\n")


def _names(files: list[InputFile], folder: Path) -> list[str]:
    return [str(Path(file.uri).relative_to(folder)) for file in files]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", ("jsonl", "")),
        ("A.JSONL.GZ", ("jsonl", "gzip")),
        ("a.ndjson.zst", ("jsonl", "zstd")),
        ("c4-train.00000-of-01024.json.gz", ("json", "gzip")),
        ("dump.gz", ("jsonl", "gzip")),
        ("dump.zstd", ("jsonl", "zstd")),
        ("a.parquet", ("parquet", "")),
        ("a.txt.gz", ("text", "gzip")),
        ("README.md", ("text", "")),
        ("a.rst", ("text", "")),
        ("a.parquet.gz", None),
        ("a.tar.gz", ("tar", "gzip")),
        ("a.tgz", ("tar", "gzip")),
        ("a.csv.xz", ("csv", "xz")),
        ("a.tsv.lz4", ("tsv", "lz4")),
        ("a.jsonl.bz2", ("jsonl", "bzip2")),
        ("a.warc.gz", ("warc", "gzip")),
        ("a.html", ("html", "")),
        ("a.pdf", None),
        ("a", None),
    ],
)
def test_the_name_says_what_a_file_holds(name: str, expected: tuple[str, str] | None) -> None:
    assert kind_of(name) == expected


def test_the_order_is_argument_then_path(tmp_path: Path) -> None:
    _make(tmp_path, "b/2.jsonl", "b/10.jsonl", "b/sub/1.txt", "a.jsonl", "c.parquet")
    files = expand([str(tmp_path / "c.parquet"), str(tmp_path / "b"), str(tmp_path / "a.jsonl")])
    assert _names(files, tmp_path) == ["c.parquet", "b/10.jsonl", "b/2.jsonl", "b/sub/1.txt", "a.jsonl"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl", "b.jsonl")
    files = expand(
        [str(tmp_path / "b.jsonl"), str(tmp_path), f"file://{tmp_path}/a.jsonl", f"{tmp_path}/../{tmp_path.name}"]
    )
    assert _names(files, tmp_path) == ["b.jsonl", "a.jsonl"]


def test_hidden_files_are_not_read_and_unknown_suffixes_are_counted(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl", ".b.jsonl", ".git/c.jsonl", "d.pdf", "e/f.pdf", "_SUCCESS")
    skipped: Counter[str] = Counter()
    assert _names(expand([str(tmp_path)], skipped=skipped), tmp_path) == ["a.jsonl"]
    assert skipped == {".pdf": 2, "(no suffix)": 1}


def test_links_to_files_are_read_and_links_to_folders_are_counted(tmp_path: Path) -> None:
    _make(tmp_path, "data/a.jsonl", "in/b.jsonl")
    (tmp_path / "in/a.jsonl").symlink_to(tmp_path / "data/a.jsonl")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    skipped: Counter[str] = Counter()
    assert _names(expand([str(tmp_path / "in")], skipped=skipped), tmp_path) == ["in/a.jsonl", "in/b.jsonl"]
    assert skipped == {"(linked folder)": 1}


def test_globs_match_files_and_folders_at_any_depth(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl", "x/b.jsonl", "x/y/c.jsonl", "x/y/d.txt", "x/y/e.pdf", "x/.h.jsonl", "part.jsonl/0.json")
    assert _names(expand([f"{tmp_path}/**/*.jsonl"]), tmp_path) == [
        "a.jsonl",
        "part.jsonl/0.json",
        "x/b.jsonl",
        "x/y/c.jsonl",
    ]
    assert _names(expand([f"{tmp_path}/x/*"]), tmp_path) == ["x/b.jsonl", "x/y/c.jsonl", "x/y/d.txt"]
    assert _names(expand([f"{tmp_path}/?.jsonl"]), tmp_path) == ["a.jsonl"]


def test_a_name_that_looks_like_a_glob_is_a_name_if_the_file_exists(tmp_path: Path) -> None:
    _make(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert _names(expand([f"{tmp_path}/a[1].jsonl"]), tmp_path) == ["a[1].jsonl"]


def test_relative_paths_and_the_home_folder_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path, "a.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (from_here,) = expand(["a.jsonl"])
    (from_home,) = expand(["~/a.jsonl"])
    assert from_here.uri == from_home.uri == str(tmp_path / "a.jsonl")
    assert from_here.size == 3
    assert from_here.mtime_ns == os.stat(tmp_path / "a.jsonl").st_mtime_ns


def test_the_output_folder_is_never_input(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl", "out/shard.parquet", "out/holdout/b.parquet", "outside.jsonl")
    out = tmp_path / "out"
    assert _names(expand([str(tmp_path)], exclude=out), tmp_path) == ["a.jsonl", "outside.jsonl"]
    assert _names(expand([f"{tmp_path}/**"], exclude=out), tmp_path) == ["a.jsonl", "outside.jsonl"]
    for argument in (out, out / "shard.parquet", out / "holdout"):
        with pytest.raises(UsageError, match="output folder"):
            expand([str(argument)], exclude=out)


def test_shuffling_permutes_files_by_seed_and_path_alone(tmp_path: Path) -> None:
    _make(tmp_path, *(f"{number:02}.jsonl" for number in range(20)))
    plain = _names(expand([str(tmp_path)]), tmp_path)
    first = _names(expand([str(tmp_path)], 1), tmp_path)
    assert first == _names(expand([f"{tmp_path}/1*", f"{tmp_path}/0*"], 1), tmp_path)
    assert first != plain != _names(expand([str(tmp_path)], 2), tmp_path) != first
    assert sorted(first) == plain
    (tmp_path / first[3]).unlink()
    assert _names(expand([str(tmp_path)], 1), tmp_path) == first[:3] + first[4:]
    expand([str(tmp_path)], -1)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl", "b.pdf", "pdfs/c.pdf")
    (tmp_path / "empty").mkdir()
    arguments = ["missing.jsonl", "b.pdf", "empty", "pdfs", "nothing*.jsonl", "a.jsonl"]
    with pytest.raises(UsageError) as caught:
        expand([*(str(tmp_path / argument) for argument in arguments), "nosuch://a", "gs://bucket/a.jsonl"])
    message = str(caught.value)
    assert message.startswith("7 inputs cannot be used:")
    assert f"{tmp_path}/missing.jsonl: no such file" in message
    assert f"{tmp_path}/b.pdf: files ending in .pdf are not read; readable: .jsonl" in message
    assert f"{tmp_path}/empty: holds no file" in message
    assert f"{tmp_path}/pdfs: holds no file that can be read (but 1 .pdf)" in message
    assert f"{tmp_path}/nothing*.jsonl: nothing matches" in message
    assert "nosuch://a: unknown protocol" in message
    assert "gs://bucket/a.jsonl: the protocol gs:// needs one more package" in message
    assert "gcsfs" in message
    assert caught.value.exit_code == 2


def test_no_argument_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="no input"):
        expand([])


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """An open folder, and no right to read everything: a superuser gives its rights up for the test."""
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        if superuser:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        yield Path(folder)
        if superuser:
            os.seteuid(0)


def test_what_may_not_be_read_is_named(ordinary_user: Path) -> None:
    _make(ordinary_user, "a.jsonl", "locked/b.jsonl", "c.jsonl")
    (ordinary_user / "c.jsonl").chmod(0)
    (ordinary_user / "locked").chmod(0)
    with pytest.raises(UsageError) as caught:
        expand([str(ordinary_user)])
    (ordinary_user / "locked").chmod(0o700)
    assert f"{ordinary_user}/c.jsonl: Permission denied" in str(caught.value)
    assert f"{ordinary_user}/locked: Permission denied" in str(caught.value)


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(UsageError, match=r"b\.jsonl: No such file"):
        expand([str(tmp_path)])


def test_a_name_that_can_be_no_id_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))).write_bytes(b"")
    with pytest.raises(UsageError, match="not UTF-8"):
        expand([str(tmp_path)])


def test_pipes_in_a_folder_do_not_block(tmp_path: Path) -> None:
    _make(tmp_path, "a.jsonl")
    os.mkfifo(tmp_path / "b.jsonl")
    skipped: Counter[str] = Counter()
    assert _names(expand([str(tmp_path)], skipped=skipped), tmp_path) == ["a.jsonl"]
    assert skipped == {"(not a regular file)": 1}


def test_urls_name_files_folders_and_patterns() -> None:
    filesystem = fsspec.filesystem("memory")
    for name in ("b.jsonl", "a.txt", "sub/c.parquet", ".hidden.jsonl", "d.pdf"):
        filesystem.pipe(f"/inputs/{name}", b"12345")
    try:
        skipped: Counter[str] = Counter()
        found = expand(["memory://inputs"], skipped=skipped)
        assert [file.uri.rpartition("inputs/")[2] for file in found] == ["a.txt", "b.jsonl", "sub/c.parquet"]
        assert skipped == {".pdf": 1}
        assert all(file.is_remote and file.size == 5 and file.mtime_ns > 0 for file in found)
        assert expand(["memory://inputs/*.jsonl"]) == expand(["memory://inputs/b.jsonl"]) == [found[1]]
        with pytest.raises(UsageError, match="no such file"):
            expand(["memory://inputs/none.jsonl"])
        with pytest.raises(UsageError, match="no file here"):
            expand(["memory://inputs/*.csv"])
    finally:
        filesystem.rm("/inputs", recursive=True)


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_standard_input_is_known_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    def expanded(content: bytes) -> InputFile:
        monkeypatch.setattr("sys.stdin", _Stdin(content))
        (file,) = expand(["-"])
        return file

    assert expanded(b"a" * 100_000).uri == expanded(b"a" * 200_000).uri != expanded(b"b" * 100_000).uri
    assert expanded(b"a").is_stdin
    assert expanded(b"\x1f\x8b\x08...").compression == "gzip"
    assert expanded(b"\x28\xb5\x2f\xfd...").compression == "zstd"
    with pytest.raises(UsageError, match="Parquet"):
        expanded(b"PAR1")
