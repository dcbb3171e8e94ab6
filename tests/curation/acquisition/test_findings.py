"""Findings: equal to datatrove on addresses, true to the numbering plans, and silent on texts without any."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from collections import Counter

import phonenumbers
import pytest

from curation.acquisition.findings import KINDS, MAX_ASKED, Finder, Kind, iban_lengths, same_value
from kernels.columns import Texts, join_texts
from kernels.pii import find_candidates
from kernels.spans import with_pieces
from tests.corpus import CORPORA, read_zst_jsonl

ALL = Finder(set(Kind))
COUNTRIES = (
    *("US", "CA", "GB", "DE", "FR", "IT", "ES", "PT", "NL", "BE", "CH", "AT", "PL", "CZ", "SE", "NO", "DK", "FI", "IE"),
    *("GR", "TR", "RU", "UA", "IN", "PK", "CN", "JP", "KR", "TW", "HK", "SG", "MY", "ID", "AU", "NZ", "ZA", "NG", "EG"),
    *("BR", "MX", "AR", "CL", "CO", "IL", "SA", "AE"),
)
FORMS = (
    phonenumbers.PhoneNumberFormat.E164,
    phonenumbers.PhoneNumberFormat.INTERNATIONAL,
    phonenumbers.PhoneNumberFormat.RFC3966,
)
DAMAGED = "corpora are not here"


def found(text: str, finder: Finder = ALL) -> list[tuple[Kind, str]]:
    texts = join_texts([text])
    spans = finder.find(texts).tolist()
    return [(KINDS[kind], texts.buffer_N[start:end].tobytes().decode()) for _, kind, start, end in spans]


def numbers_of(country: str, draw: random.Random, count: int) -> list[phonenumbers.PhoneNumber]:
    """Valid numbers: the example of each kind, with other last digits."""
    numbers: list[phonenumbers.PhoneNumber] = []
    kinds = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    for _ in range(4 * count):
        if len(numbers) == count:
            break
        example = e164(phonenumbers.example_number_for_type(country, kinds[len(numbers) % 2]))
        number = phonenumbers.parse(f"{example[:-4]}{draw.randrange(10_000):04}")
        if phonenumbers.is_valid_number(number):
            numbers.append(number)
    return numbers


def test_planted_numbers_of_46_countries_are_found_in_every_form() -> None:
    draw, missed, planted = random.Random(17), [], 0
    for country in COUNTRIES:
        for number in numbers_of(country, draw, 12):
            for form in FORMS:
                written = phonenumbers.format_number(number, form).removeprefix("tel:")
                for text in (written, written.replace(" ", "."), written.replace("-", " "), f"({written})"):
                    planted += 1
                    sentence = f"Call us at {text}, 24 hours. Tel:{text}\nOrder 12 of 2024"
                    if [same_value(kind, part) for kind, part in found(sentence)] != [e164(number)] * 2:
                        missed.append((country, text))
    assert planted == 46 * 12 * 3 * 4
    assert len(missed) <= planted / 100, missed[:20]


def e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize(
    "text",
    [
        "\u202a+972 2-123-4567\u202c",  # as Hebrew and Arabic pages wrap numbers
        "\u7535\u8bdd+86 10 6552 9988\u3002",  # no space before, none behind
        "\u0442\u0435\u043b.+7 (495) 123-45-67",
        "tel:+1-212-555-2368",
        "+44 (0)20 7946 0018",
    ],
)
def test_numbers_are_found_between_letters_of_any_script(text: str) -> None:
    assert [kind for kind, _ in found(text)] == [Kind.PHONE]


def test_a_number_ends_where_the_numbering_plan_says() -> None:
    assert found("Fax +1 212 555 2368 2024 was a year") == [(Kind.PHONE, "+1 212 555 2368")]
    assert found("+12125552368999 +121255523689999x") == []


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "A1" * 11 + "_" + "b" * 59,
        "glpat-" + "x1Y2z3W4" * 3,
        "xoxb-123456789012-1234567890123-" + "AbCd" * 6,
        "AIza" + "Sy_-123" * 5,
        "GOCSPX-" + "a1B2" * 7,
        "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
        "sk-proj-" + "aB3" * 20,
        "hf_" + "aZ" * 17,
        "npm_" + "a1" * 18,
        "SG." + "a1" * 11 + "." + "b" * 43,
        "ya29." + "a0-Z" * 8,
        ".".join(
            urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890"}, {"not": "a signature"})
        ),
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7+9z5Pad7Oejecs\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQOYBFqZ\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUA\nAAAAtzc2gtcnNhAAAAAwEAAQ",  # was cut
    ],
)
def test_secrets_of_known_shape_are_found_whole(secret: str) -> None:
    for text in (secret, f'{{"key": "{secret}"}}', f"export KEY={secret}\n", "x" * 100 + f"\n{secret}\n"):
        assert found(text) == [(Kind.SECRET, secret)]


def test_an_aws_secret_is_known_by_the_name_before_it() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

    assert found(f"aws_secret_access_key = {secret}") == [(Kind.SECRET, secret)]
    assert found(f'"SecretAccessKey": "{secret}"') == [(Kind.SECRET, secret)]
    assert found(f"something else = {secret}") == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
        "sk-a-very-long-name-of-a-class-in-a-style-sheet-that-goes-on",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "10.0.0.1, 192.168.1.1 and 127.0.0.1 are private; 01.2.3.4 is no address",
        "fe80::1:2:3 and 2001:db8::1:2 are private",
        "DE89 3704 0044 0532 0130 01",
        "4111 1111 1111 1112 and 1609459200000 and 9780306406157",
        "a@b, @name, mAP @ 0.5, x@localhost",
    ],
)
def test_what_only_looks_like_it_is_not_found(text: str) -> None:
    assert found(text) == []


def test_where_two_overlap_one_is_found() -> None:
    assert found("8.8.8.8@example.com") == [(Kind.EMAIL, "8.8.8.8@example.com")]
    token = "glpat-" + "x1Y2z3W4" * 3
    assert found(f"{token}@example.com") == [(Kind.SECRET, token)]


def test_of_a_long_list_all_are_taken_as_they_look() -> None:
    bad = "+999 1234567"
    texts = join_texts([f"{bad}; " * (MAX_ASKED + 5), f"{bad}; +4930901820"])

    spans = Finder({Kind.PHONE}).find(texts)

    assert spans[:, 0].tolist() == [0] * 5 + [1]


def test_tokens_without_a_length_are_looked_for_once_a_run() -> None:
    assert len(find_candidates(join_texts(["eyJa-" * 10_000]), iban_lengths())) == 1


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("br.cpf", "390.533.447-05", "390.533.447-06"),
        ("pl.pesel", "44051401359", "44051401358"),
        ("es.dni", "54362315-K", "54362315-Z"),
        ("fr.nir", "2 95 10 99 126 111 93", "2 95 10 99 126 111 94"),
        ("in_.aadhaar", "2341 2341 2346", "2341 2341 2347"),
        ("se.personnummer", "880320-0016", "880320-0018"),
        ("cn.ric", "36042619910101008X", "360426199101010003"),
    ],
)
def test_national_ids_are_found_where_their_country_is_named(name: str, good: str, bad: str) -> None:
    finder = Finder({Kind.NATIONAL_ID}, [name])

    assert found(f"no. {good}, of {bad}", finder) == [(Kind.NATIONAL_ID, good)]
    assert found(good, Finder(set(Kind))) == []


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (Kind.PHONE, ("+49 (0)30 901820", "+4930901820")),
        (Kind.EMAIL, ("John@Example.com", "users?mail=john@example.com")),
        (Kind.IBAN, ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000")),
        (Kind.CARD, ("4111-1111-1111-1111", "4111111111111111")),
        (Kind.IP, ("2a00:1450:4001:81b::200e", "2A00:1450:4001:081b:0:0:0:200e")),
    ],
)
def test_all_ways_of_writing_have_one_value(kind: Kind, texts: tuple[str, str]) -> None:
    assert same_value(kind, texts[0]) == same_value(kind, texts[1])


@pytest.mark.skipif(not CORPORA.is_dir(), reason=DAMAGED)
@pytest.mark.parametrize("name", ["labelled/20newsgroups", "web/peps", "crawl/warc-responses"])
def test_addresses_of_corpora_are_replaced_as_datatrove_replaces_them(name: str) -> None:
    from datatrove.pipeline.formatters import PIIFormatter

    texts = [record["text"] for record in read_zst_jsonl(CORPORA / f"{name}.jsonl.zst")][:1500]
    formatter = PIIFormatter(email_replacement="<EMAIL>", ip_replacement="<IP>")
    expected = [formatter.format(text) for text in texts]

    finder, joined = Finder({Kind.EMAIL, Kind.IP}), join_texts(texts)
    spans = finder.find(joined)
    is_ipv6 = [b":" in joined.buffer_N[start:end].tobytes() for _, _, start, end in spans.tolist()]  # ours alone
    spans = spans[[not ipv6 for ipv6 in is_ipv6]]
    pieces = [f"<{kind.upper()}>".encode() for kind in KINDS]
    replaced: Texts = with_pieces(joined, spans, pieces, spans[:, 1].copy())

    assert sum(text != other for text, other in zip(texts, expected, strict=True)) > 10
    assert list(replaced) == expected


@pytest.mark.skipif(not CORPORA.is_dir(), reason=DAMAGED)
def test_nothing_but_addresses_is_found_in_ten_thousand_documents_without_any() -> None:
    texts = [record["text"] for record in read_zst_jsonl(CORPORA / "web" / "arxiv-abstracts.jsonl.zst")][:10_000]
    spans = Finder({Kind.SECRET, Kind.IBAN, Kind.CARD, Kind.PHONE}).find(join_texts(texts))

    assert len(texts) == 10_000
    assert Counter(KINDS[kind] for kind in spans[:, 1].tolist()) == {}
