"""Shapes of personal data: where they begin and end, and where there are none."""

from __future__ import annotations

import random
import re
import string

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.pii import Candidate
from tests.kernels.pii_candidates import found, lengths_of_accounts

# That of datatrove 0.10, without the form in brackets. Of letters only those of ASCII are words, as in the kernel.
LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
EMAIL = re.compile(rf"\b{LOCAL}(?:\.{LOCAL})*@(?:{LABEL}\.)+{LABEL}", re.ASCII)


@pytest.fixture(scope="module")
def lengths() -> NDArray[np.int64]:
    return lengths_of_accounts()


@pytest.mark.parametrize("seed", range(40))
def test_addresses_are_those_of_the_expression(seed: int, lengths: NDArray[np.int64]) -> None:
    draw = random.Random(seed)
    alphabet = "ab1-._@@+ ![]é日\n" if seed % 2 else string.ascii_lowercase[:4] + ".@-"
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(200))) for _ in range(200)]

    addresses = [(at, text) for at, kind, text in found(texts, lengths) if kind is Candidate.EMAIL]

    assert addresses == [(at, match[0]) for at, text in enumerate(texts) for match in EMAIL.finditer(text)]
    assert seed % 2 or len(addresses) > 50


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Candidate.IPV4, "v1.2.3.4-5", ["1.2.3.4"]),
        (Candidate.IPV4, "on 1.2.2004, 3.50 and 7", []),
        (Candidate.IPV6, "at 2a00:1450:4001:81b::200e: up", ["2a00:1450:4001:81b::200e"]),
        (Candidate.IPV6, "in 2006:: and 12:30:45, std::x, 2001:db8", []),
        (Candidate.IBAN, "an DE89 3704 0044 0532 0130 00.", ["DE89 3704 0044 0532 0130 00"]),
        (Candidate.IBAN, "GB82WEST12345698765432", ["GB82WEST12345698765432"]),
        (Candidate.IBAN, "DE88370400440532013000 XDE89370400440532013000", []),  # check digits, a letter before
        (Candidate.CARD, "4111 1111 1111 1111, 378282246310005", ["4111 1111 1111 1111", "378282246310005"]),
        (Candidate.CARD, "3782-822463-10005 and 5555-5555-5555-4444", ["3782-822463-10005", "5555-5555-5555-4444"]),
        (Candidate.CARD, "a,4111111111111111,b u/4111111111111111/1 no.4111111111111111", ["4111111111111111"] * 3),
        (
            Candidate.CARD,
            "a-4111111111111111 4111111111111112 0.4111111111111111 x4111111111111111 4111111111111111.5",
            [],
        ),
        (Candidate.PHONE, "tel +49 (0)30 901820, ok", ["+49 (0)30 901820"]),
        (Candidate.PHONE, "1+2345678 a+4930901820 ++4930901820 + 4930901820 +12345", []),
        (Candidate.PHONE, "\uff08+86\u00a010\u20106552\u20119988\uff09", ["+86\u00a010\u20106552\u20119988"]),
        (Candidate.TOKEN, "key=AKIAIOSFODNN7EXAMPLE;", ["AKIAIOSFODNN7EXAMPLE"]),
        (Candidate.TOKEN, "internationalization-AKIA and AKIA_short", []),
        (Candidate.KEY_BLOCK, "--\n-----BEGIN RSA PRIVATE KEY-----", ["-----BEGIN RSA PRIVATE KEY-----"]),
    ],
)
def test_a_kind_is_found_where_it_is(
    kind: Candidate, text: str, expected: list[str], lengths: NDArray[np.int64]
) -> None:
    assert [part for _, other, part in found([text], lengths) if other is kind] == expected
