"""Tar: members in their order, damage that is told, nothing that leads out of the archive."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from consumers.files.tar import members
from curatord.errors import Undecodable

CONTENTS = {"a.txt": b"one", "folder/b.jsonl": b'{"text":"two"}\n' * 5000, "c" * 200 + ".txt": b"", "ä.txt": b"four"}


def _packed(contents: dict[str, bytes], **options: Any) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", **options) as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


def _read(raw: bytes, size: int = 700) -> list[tuple[str, bytes] | Undecodable]:
    found: list[tuple[str, bytes] | Undecodable] = []
    for member in members(raw[at : at + size] for at in range(0, len(raw), size)):
        if isinstance(member, Undecodable):
            found.append(member)
            continue
        blocks = list(member[1])
        found.append((member[0], b"".join(block for block in blocks if isinstance(block, bytes))))
        found += [block for block in blocks if isinstance(block, Undecodable)]
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_come_in_order_in_every_form(form: int) -> None:
    contents = dict(list(CONTENTS.items())[: 4 if form != tarfile.USTAR_FORMAT else 2])
    assert _read(_packed(contents, format=form)) == list(contents.items())


def test_links_hidden_files_and_devices_are_passed_over() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, kind in (
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("d", tarfile.DIRTYPE),
            ("p", tarfile.FIFOTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "../../etc/passwd"
            tar.addfile(entry)
        for name in (".hidden.txt", "._a.txt", "./seen.txt", ".git/b.txt"):
            tar.addfile(tarfile.TarInfo(name))
    assert _read(sink.getvalue()) == [("./seen.txt", b"")]


@pytest.mark.parametrize("cut", [100, 512, 600, 1024, 1536, 20_000])
def test_a_tar_that_is_cut_gives_what_came_before_and_says_so(cut: int) -> None:
    *whole, last = _read(_packed(CONTENTS)[:cut])
    assert isinstance(last, Undecodable)
    assert last.reason == "damaged_file"
    found = [member for member in whole if isinstance(member, tuple)]
    assert [name for name, _ in found] == list(CONTENTS)[: len(found)]
    assert all(content.startswith(part) for (_, part), content in zip(found, CONTENTS.values(), strict=False))
    assert len(found) == (0 if cut < 512 else 1 if cut < 1536 else 2)


def test_a_header_that_is_damaged_is_not_taken_for_the_end() -> None:
    raw = bytearray(_packed(CONTENTS))
    raw[1024:1100] = b"x" * 76
    first, last = _read(bytes(raw))
    assert first == ("a.txt", b"one")
    assert isinstance(last, Undecodable)


def test_a_problem_of_the_stream_ends_the_tar_with_its_reason() -> None:
    problem = Undecodable("damaged_file", "the gzip data ends early")
    blocks: list[bytes | Undecodable] = [_packed(CONTENTS)[:3000], problem]
    found = [member if isinstance(member, Undecodable) else list(member[1]) for member in members(iter(blocks))]
    assert found[-1] is problem
