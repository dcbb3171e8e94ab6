"""Mask: placeholders, pseudonyms that need the key, and names that stay apart."""

from __future__ import annotations

import random

import msgspec
import pytest

from curation.acquisition.findings import Kind
from curation.acquisition.mask import Mask, MaskConfig
from kernels.columns import join_texts

KEY = b"0123456789abcdef"
TEXT = "Write to John@Example.com, call +49 (0)30 901820 or pay DE89 3704 0044 0532 0130 00 from 8.8.8.8."


def masked(text: str, config: MaskConfig, key: bytes = KEY) -> str:
    return Mask(config, key).texts(join_texts([text])).texts[0]


def test_every_kind_becomes_its_placeholder() -> None:
    assert masked(TEXT, MaskConfig()) == "Write to <EMAIL>, call <PHONE> or pay <IBAN> from <IP>."


def test_a_kind_that_is_kept_stays() -> None:
    assert masked(TEXT, MaskConfig(email="keep", iban="keep")) == TEXT.replace("+49 (0)30 901820", "<PHONE>").replace(
        "8.8.8.8", "<IP>"
    )


def test_masking_again_changes_nothing() -> None:
    for config in (MaskConfig(), MaskConfig(email="pseudonym", phone="pseudonym", iban="pseudonym", ip="pseudonym")):
        once = masked(TEXT, config)
        assert masked(once, config) == once


def test_one_value_has_one_pseudonym_however_it_is_written_and_wherever() -> None:
    mask = Mask(MaskConfig(phone="pseudonym", email="pseudonym"), KEY)
    texts = mask.texts(join_texts(["+49 (0)30 901820", "call +4930901820", "a John@Example.com"])).texts
    (url, name), _ = mask.names(["https://x.org/?mail=john%40example.com", "john@example.com"])

    assert texts[1] == f"call {texts[0]}"
    assert url == f"https://x.org/?mail={name}"
    assert texts[2] == f"a {name}"
    assert len(name) == len("<EMAIL-") + 16 + 1


def test_another_key_gives_other_pseudonyms_and_another_identity() -> None:
    config = MaskConfig(email="pseudonym")

    assert masked(TEXT, config) != masked(TEXT, config, b"another key, as long")
    identities = {Mask(config, KEY).identity, Mask(config, b"another key, as long").identity}
    identities |= {Mask(MaskConfig(), KEY).identity}
    assert len(identities) == 3
    assert not any(KEY.decode() in identity for identity in identities)
    assert Mask(msgspec.structs.replace(config, key_file="elsewhere"), KEY).identity in identities


def test_names_stay_apart_and_others_stay_as_they_are() -> None:
    names = ["mail/a@b.example/1", "mail/c@d.example/1", "https://x.org/a%20b", "", "caf\u00e9", "half \ud800"]
    changed, found = Mask(MaskConfig(), KEY).names(names)

    assert changed[2:] == names[2:]
    assert len({*changed[:2], *names[:2]}) == 4
    assert changed[0].startswith("mail/<EMAIL-")
    assert found == {0: {Kind.EMAIL: 1}, 1: {Kind.EMAIL: 1}}


def test_any_company_of_texts_gives_the_same() -> None:
    draw = random.Random(3)
    mask = Mask(MaskConfig(phone="pseudonym"), KEY)
    texts = [" ".join(draw.choices([*TEXT.split(", "), "and", "so on", "\u65e5\u672c"], k=9)) for _ in range(200)]

    together = mask.texts(join_texts(texts))
    apart = [mask.texts(join_texts([text])) for text in texts]

    assert list(together.texts) == [each.texts[0] for each in apart]
    assert together.found == {at: each.found[0] for at, each in enumerate(apart) if each.found}


def test_bytes_are_masked_where_another_reading_of_them_finds_something() -> None:
    raw = rb"call\n4111 1111 1111 1111"
    shown = rb"call  4111 1111 1111 1111"
    mask = Mask(MaskConfig(), KEY)

    assert mask.beside(raw, raw) is raw
    assert mask.beside(raw, shown).startswith(rb"call\n<CARD-")


def test_a_national_id_is_looked_for_only_where_one_is_named() -> None:
    assert masked("cpf 390.533.447-05", MaskConfig()) == "cpf 390.533.447-05"
    assert masked("cpf 390.533.447-05", MaskConfig(national_ids=("br.cpf",))) == "cpf <ID>"


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"national_ids": ["us.ssn"]}, MaskConfig)
