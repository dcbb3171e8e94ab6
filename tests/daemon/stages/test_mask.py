"""Arrivals without personal data: documents, names, retractions and dead letters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.formats.fields import MAX_ID_BYTES
from curation.acquisition.mask import KEY_VARIABLE, MaskConfig
from curatord.errors import ConfigError, Undecodable
from curatord.records import DeadLetter, Document, Retraction
from daemon.stages.mask import MaskArrivals, open_mask, short_id
from tests.arrived import arrivals_of, each


@pytest.fixture
def stage(tmp_path: Path) -> MaskArrivals:
    key = tmp_path / "mask.key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    opened = open_mask(MaskConfig(enabled=True, key_file=str(key)))
    assert opened is not None
    return opened


def letter_of(stage: MaskArrivals, original: bytes, *, truncated: bool = False, message: str = "no") -> DeadLetter:
    letter = DeadLetter(
        reason="no_text", message=message, source="f", position=1, index=None, original=original, truncated=truncated
    )
    return stage.letter(letter)


def test_off_there_is_no_stage_and_without_a_key_a_way_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert open_mask(MaskConfig()) is None
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        open_mask(MaskConfig(enabled=True))
    (tmp_path / "short").write_text("abc")
    with pytest.raises(ConfigError, match="3 bytes"):
        open_mask(MaskConfig(enabled=True, key_file=str(tmp_path / "short")))
    monkeypatch.setenv(KEY_VARIABLE, "0123456789abcdef")
    assert open_mask(MaskConfig(enabled=True)) is not None


def test_nothing_of_a_document_stays_raw_and_edits_say_where_it_was(stage: MaskArrivals) -> None:
    record = {
        "id": "u/ann@example.com/7",
        "text": "ann@example.com and bob@example.com, 8.8.8.8",
        "url": "https://x.org/?m=ann%40example.com",
        "source": "box of ann@example.com",
        "language": "ann@example.com",
    }
    plain = {"id": "7", "text": "nothing here"}

    arrivals = stage.masked(arrivals_of([json.dumps(record).encode(), json.dumps(plain).encode()]))

    (first, second) = (arrived.value for arrived in each(arrivals))
    assert "example.com" not in repr(first)
    assert isinstance(first, Document)
    assert first.text == "<EMAIL> and <EMAIL>, <IP>"
    assert second == Document(id="7", text="nothing here")
    assert arrivals.documents.edits == (
        "text email 2, text ip 1, id email 1, url email 1, source email 1, language email 1",
        "",
    )


def test_where_nothing_is_found_nothing_is_noted(stage: MaskArrivals) -> None:
    assert stage.masked(arrivals_of([b'{"text": "a"}'])).documents.edits == ()
    assert stage.masked(arrivals_of([])).documents.edits == ()


def test_a_retraction_by_the_id_of_the_producer_is_one_of_the_masked_document(stage: MaskArrivals) -> None:
    rows = [b'{"id": "u/ann@example.com/7", "text": "a"}', Retraction(id="u/ann@example.com/7", timestamp_us=1)]

    document, retraction = (arrived.value for arrived in each(stage.masked(arrivals_of(rows))))

    assert isinstance(document, Document)
    assert isinstance(retraction, Retraction)
    assert document.id == retraction.id == stage.doc_id("u/ann@example.com/7")


@pytest.mark.parametrize(
    "original",
    [
        rb'{"body": "ann@example.com"}',
        rb'{"body": "ann\u0040example.com", "more": "\\"}',
        rb'{"body": "x\n4111 1111 1111 1111\n"}',
        rb'{"body": "key\nAKIAIOSFODNN7EXAMPLE"}',
        rb'{"a": "aws_secret_access_key=wJalrXUtnFEMI\/K7MDENG\/bPxRfiCYEXAMPLEKEY"}',
        rb'{"a": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7\n-----END RSA PRIVATE KEY-----\n"}',
        b"call +49 30 901820 now",
    ],
)
def test_a_dead_letter_shows_nothing_and_is_json_if_it_was(stage: MaskArrivals, original: bytes) -> None:
    letter = letter_of(stage, original)

    for secret in (b"ann", b"4111", b"AKIAIOS", b"wJalr", b"MIIEpAI", b"901820"):
        assert secret not in letter.original
    assert letter.original != b""
    assert letter.truncated == (not original.startswith(b"{"))
    if original.startswith(b"{"):
        assert json.loads(letter.original).keys() == json.loads(original).keys()


def test_a_dead_letter_without_anything_stays_as_it_came(stage: MaskArrivals) -> None:
    original = rb'{"tex": "a \/ b \u0041 \ud83d\ude00"}'

    assert letter_of(stage, original).original == original


def test_what_cannot_be_read_as_text_stays_away(stage: MaskArrivals) -> None:
    for original in (b"caf\xe9 ann@example.com", "ann@example.com".encode("utf-16-le"), b"\x1f\x8b\x08\x00\xff"):
        letter = letter_of(stage, original)
        assert (letter.original, letter.truncated) == (b"", True)


def test_a_word_that_was_cut_is_not_kept(stage: MaskArrivals) -> None:
    assert letter_of(stage, b'{"a": "ann@exam', truncated=True).original == b'{"a": "'
    assert letter_of(stage, "aé ann@exé".encode()[:-1], truncated=True).original == "aé ".encode()
    by_producer = letter_of(stage, b'{"a": "b", "c": "ghp_q1W2e3')
    assert (by_producer.original, by_producer.truncated) == (b'{"a": "b", "c": "', True)


def test_messages_and_keys_are_masked_too(stage: MaskArrivals) -> None:
    letter = letter_of(stage, b"", message="the fields are 'ann@example.com', 'bob.with.a.long.name@cut.off.ex")

    assert "ann" not in letter.message
    assert "bob" not in letter.message
    assert letter.message.startswith("the fields are '<EMAIL")


def test_rows_that_are_no_documents_are_masked_in_arrivals(stage: MaskArrivals) -> None:
    (arrived,) = each(stage.masked(arrivals_of([Undecodable("not_json", "ann@example.com is no JSON")])))

    assert isinstance(arrived.value, DeadLetter)
    assert "ann@" not in arrived.value.message


def test_a_pseudonym_does_not_make_an_id_too_long(stage: MaskArrivals) -> None:
    doc_id = stage.doc_id(" ".join(["a@b.co"] * 140))

    assert len(doc_id) <= MAX_ID_BYTES
    assert doc_id != short_id(" ".join(["a@b.co"] * 140))
