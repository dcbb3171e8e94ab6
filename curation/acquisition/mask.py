"""Mask: personal data and secrets are replaced in everything that a document brings along, before anything is kept.

In texts each kind is replaced by a placeholder, or by a pseudonym: the same for the same value wherever it is written,
made by a keyed hash (BLAKE2b, RFC 7693), so that no reader without the key can try out all telephone numbers. In names
(ids, addresses, sources) it is always a pseudonym, for two documents must not become one by losing what tells them
apart, and a retraction by the id that the producer knows must find its document.

Pure: what becomes of a document hangs on its content, the options, the key and the versions of the libraries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal
from urllib.parse import unquote

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.acquisition.findings import KINDS, Finder, Kind, NationalId, same_value, versions, without_path
from kernels.columns import PADDING, Texts, join_texts
from kernels.spans import with_pieces

Action = Literal["placeholder", "pseudonym", "keep"]
KEY_VARIABLE = "CURATORD_MASK_KEY"
MIN_KEY_BYTES = 16
PLACEHOLDERS = {
    Kind.SECRET: "<SECRET>",
    Kind.EMAIL: "<EMAIL>",
    Kind.IBAN: "<IBAN>",
    Kind.CARD: "<CARD>",
    Kind.PHONE: "<PHONE>",
    Kind.IP: "<IP>",
    Kind.NATIONAL_ID: "<ID>",
}


class MaskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[mask]: personal data and secrets, replaced before anything is kept. docs/privacy.md says what is found.

    For each kind "placeholder" (`<EMAIL>`), "pseudonym" (`<EMAIL-1f0c5e9ab2d47c36>`, the same for the same value) or
    "keep". In ids, addresses and sources it is always a pseudonym, unless the kind is kept.
    """

    enabled: bool = False
    """Whether anything is masked."""
    key_file: str = ""
    """File that holds the secret of the pseudonyms, 16 bytes or more; else the variable CURATORD_MASK_KEY does. All
    that prepare, and all later runs over a state, need the same."""
    email: Action = "placeholder"
    """E-mail addresses, in texts."""
    ip: Action = "placeholder"
    """Public addresses of IPv4 and IPv6."""
    phone: Action = "placeholder"
    """Telephone numbers in international form, with + before the country."""
    iban: Action = "placeholder"
    """Numbers of bank accounts (IBAN)."""
    card: Action = "placeholder"
    """Numbers of payment cards."""
    secret: Action = "placeholder"
    """Keys and tokens of known shape: of AWS, GitHub, GitLab, Google, Slack, Stripe and others, JWT, private keys."""
    national_ids: tuple[NationalId, ...] = ()
    """National ids that are looked for, by their modules in python-stdnum: "br.cpf", "pl.pesel". One in ten numbers of
    the length passes the check digit of most, so name those of the countries that the documents come from."""
    national_id: Action = "placeholder"
    """Of those national ids."""

    def actions(self) -> dict[Kind, Action]:
        """By kind."""
        return {kind: getattr(self, kind.value) for kind in Kind}


@dataclass(frozen=True, slots=True)
class Masked:
    """Texts after masking, and what was found in those that changed."""

    texts: Texts
    found: dict[int, dict[Kind, int]]  # by text: how many of each kind


class Mask:
    """Replaces what is found. Safe to share between threads."""

    def __init__(self, config: MaskConfig, key: bytes) -> None:
        actions = config.actions()
        wanted = [kind for kind, action in actions.items() if action != "keep"]
        self._pseudonymous = frozenset(kind for kind, action in actions.items() if action == "pseudonym")
        self._finder = Finder(wanted, config.national_ids)
        self._key = blake2b(key, person=b"curatord mask").digest()
        self._placeholders = [PLACEHOLDERS[kind].encode() for kind in KINDS]
        options = msgspec.json.encode(msgspec.structs.replace(config, key_file=""), order="deterministic").decode()
        key_digest = blake2b(b"identity", key=self._key, digest_size=8).hexdigest()
        self.identity = f"{options}, key {key_digest}, {versions()}"
        self.pseudonym = lru_cache(maxsize=1 << 16)(self._pseudonym)

    def _pseudonym(self, kind: Kind, text: str) -> bytes:
        """A name for a found text, the same for all ways of writing it."""
        value = f"{kind} {same_value(kind, text)}".encode()
        return f"{PLACEHOLDERS[kind][:-1]}-{blake2b(value, key=self._key, digest_size=8).hexdigest()}>".encode()

    def texts(self, texts: Texts) -> Masked:
        """Texts as documents have them."""
        return self._replaced(texts, texts, self._pseudonymous)

    def names(self, names: Sequence[str]) -> tuple[list[str], dict[int, dict[Kind, int]]]:
        """Ids, addresses and other names, and what was found. One that quotes characters (`%40`) is read unquoted."""
        texts = join_texts([_whole(unquote(name) if "%" in name else name) for name in names])
        masked = self._replaced(texts, texts, frozenset(Kind), are_names=True)
        if not masked.found:
            return list(names), {}
        changed = {place: masked.texts[place] for place in masked.found}
        return [changed.get(place, name) for place, name in enumerate(names)], masked.found

    def beside(self, raw: bytes, shown: bytes) -> bytes:
        """Bytes with pseudonyms where personal data stands in `shown`, which is UTF-8 and as long."""
        masked = self._replaced(_as_one(raw), _as_one(shown), frozenset(Kind))
        return masked.texts.buffer_N[: masked.texts.ends_B[0]].tobytes() if masked.found else raw

    def _replaced(
        self, texts: Texts, shown: Texts, pseudonymous: Collection[Kind], *, are_names: bool = False
    ) -> Masked:
        spans_S4 = self._finder.find(shown)
        if not len(spans_S4):
            return Masked(texts, {})
        pieces, piece_S = self._placeholders, spans_S4[:, 1].copy()
        if pseudonymous:
            buffer, pieces = shown.buffer_N.data, list(pieces)
            for s, (_, rank, start, end) in enumerate(spans_S4.tolist()):
                if KINDS[rank] in pseudonymous:
                    found = str(buffer[start:end], "utf-8")
                    if are_names and KINDS[rank] is Kind.EMAIL:
                        spans_S4[s, 2] += len(found) - len(without_path(found))
                    piece_S[s] = len(pieces)
                    pieces.append(self.pseudonym(KINDS[rank], found))
        return Masked(with_pieces(texts, spans_S4, pieces, piece_S), _counted(spans_S4))


def _whole(name: str) -> str:
    """The same with a question mark for half a surrogate pair, which no UTF-8 can hold."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def _as_one(raw: bytes) -> Texts:
    """Bytes as one text."""
    return Texts(np.frombuffer(raw + PADDING, np.uint8), np.zeros(1, np.int64), np.array([len(raw)], np.int64))


def _counted(spans_S4: NDArray[np.int64]) -> dict[int, dict[Kind, int]]:
    keys, counts = np.unique(spans_S4[:, 0] * len(KINDS) + spans_S4[:, 1], return_counts=True)
    found: dict[int, dict[Kind, int]] = {}
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        found.setdefault(key // len(KINDS), {})[KINDS[key % len(KINDS)]] = count
    return found
