"""Mask arrivals: what is personal goes from documents, retractions and dead letters before any stage sees them.

What a run keeps is made of arrivals alone: keys, verdicts, examples, the holdout, tokens, prepared rows. So nothing
behind this place needs to know of it. Names of inputs are the operator's, and stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from consumers.formats.documents import Arrivals, Documents
from consumers.formats.fields import MAX_ID_BYTES
from consumers.kafka.connection import secret
from curation.acquisition.findings import Kind
from curation.acquisition.mask import KEY_VARIABLE, MIN_KEY_BYTES, Mask, MaskConfig
from curatord.errors import ConfigError
from curatord.records import DeadLetter, Retraction
from state.edits import encode_edits

# What JSON may write otherwise, and what stands between words there.
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9A-Fa-f])|(.))", re.DOTALL)
_BETWEEN = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|[nrtbf\"\\])")
_KEPT_ESCAPES = b'"\\\x7f'
_BEFORE_WORDS = b" \t\n\r\"'<>"
MAX_CUT_WORD = 4096
_PART_OF_EMAIL = re.compile(r"[^\s'\",]*@[^\s'\",]*")  # a message may show a name in part

Found = dict[tuple[str, str], int]  # by place and kind


def open_mask(config: MaskConfig) -> MaskArrivals | None:
    """The stage; None where nothing is masked. Raises `ConfigError` without a key."""
    if not config.enabled:
        return None
    key = secret(config.key_file, "mask.key_file", KEY_VARIABLE).strip().encode()
    if len(key) < MIN_KEY_BYTES:
        where = config.key_file or KEY_VARIABLE
        problem = f"{where} has {len(key)} bytes" if key else "there is none"
        raise ConfigError(
            f"[mask] needs a key of {MIN_KEY_BYTES} bytes or more for the pseudonyms of ids, and {problem}. Make one "
            'once and keep it: openssl rand -hex 32 > mask.key, and mask.key_file = "mask.key"'
        )
    return MaskArrivals(Mask(config, key))


def ids_as_kept(doc_ids: Sequence[str], config: MaskConfig) -> list[str]:
    """The ids under which documents are known that came with these. Raises `ConfigError` without a key."""
    mask = open_mask(config)
    return list(doc_ids) if mask is None else list(map(mask.doc_id, doc_ids))


@dataclass(frozen=True, slots=True)
class MaskArrivals:
    """The stage."""

    mask: Mask

    def masked(self, arrivals: Arrivals) -> Arrivals:
        """The same rows; `Documents.edits` says what was found."""
        return replace(
            arrivals,
            documents=self._documents(arrivals.documents),
            others={place: self._other(other) for place, other in arrivals.others.items()},
            id_problems={place: self._name(why) for place, why in arrivals.id_problems.items()},
        )

    def _documents(self, documents: Documents) -> Documents:
        found: dict[int, Found] = {}
        texts = self.mask.texts(documents.texts)
        _note(found, "text", texts.found)
        columns: dict[str, tuple[str, ...]] = {}
        for place, names in (("id", documents.ids), ("url", documents.urls)):
            masked, kinds = self.mask.names(names)
            _note(found, place, kinds)
            columns[place] = tuple(masked) if kinds else names
        for place, names in (("source", documents.sources), ("language", documents.languages)):
            columns[place] = self._repeated(place, names, found)
        return replace(
            documents,
            texts=texts.texts,
            ids=tuple(map(short_id, columns["id"])),
            urls=columns["url"],
            sources=columns["source"],
            languages=columns["language"],
            edits=tuple([encode_edits(found.get(b, {})) for b in range(len(documents))]) if found else (),
        )

    def _repeated(self, place: str, names: tuple[str, ...], found: dict[int, Found]) -> tuple[str, ...]:
        """Names that many documents share."""
        distinct = list(dict.fromkeys(names))
        masked, kinds = self.mask.names(distinct)
        if not kinds:
            return names
        places = {name: number for number, name in enumerate(distinct)}
        _note(found, place, {b: kinds[places[name]] for b, name in enumerate(names) if places[name] in kinds})
        return tuple([masked[places[name]] for name in names])

    def _other(self, other: Retraction | DeadLetter) -> Retraction | DeadLetter:
        if isinstance(other, Retraction):
            return msgspec.structs.replace(other, id=self.doc_id(other.id))
        return self.letter(other)

    def doc_id(self, doc_id: str) -> str:
        """The id of the document that came with this one."""
        return short_id(self._name(doc_id))

    def letter(self, letter: DeadLetter) -> DeadLetter:
        """The same dead letter.

        An original that is no UTF-8, or binary, stays away: it may be packed, so there is no telling what is in it.
        """
        original, truncated = letter.original, letter.truncated
        shown, is_text = _as_text(original, is_cut=truncated)
        if is_text:
            plain = _ESCAPE.sub(_unescaped, shown)
            masked = self.mask.beside(plain, _BETWEEN.sub(lambda escape: b" " * len(escape[0]), plain))
            original = masked if masked is not plain else shown
            if truncated or not original.rstrip().endswith((b"}", b"]")):  # else it may have been cut by its producer
                whole = _without_cut_word(original)
                original, truncated = whole, truncated or whole != original
        else:
            original, truncated = b"", True
        return msgspec.structs.replace(
            letter,
            original=original,
            truncated=truncated,
            message=_PART_OF_EMAIL.sub("<EMAIL>", self._name(letter.message)),
            key=self.doc_id(letter.key),
        )

    def _name(self, name: str) -> str:
        return self.mask.names([name])[0][0]


def short_id(doc_id: str) -> str:
    """An id as long as ids may be: pseudonyms may be longer than what they stand for.

    >>> short_id("a")
    'a'
    """
    if 4 * len(doc_id) <= MAX_ID_BYTES or len(doc_id.encode("utf-8", "surrogatepass")) <= MAX_ID_BYTES:
        return doc_id
    from hashlib import blake2b

    return blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _note(found: dict[int, Found], place: str, kinds: Mapping[int, Mapping[Kind, int]]) -> None:
    for b, counts in kinds.items():
        for kind, count in counts.items():
            found.setdefault(b, {})[place, kind] = count


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """A character that JSON need not write as an escape, as it is."""
    digits, other = escape.groups()
    if digits is None:
        return b"/" if other == b"/" else escape[0]
    character = bytes([int(digits, 16)])
    return escape[0] if character in _KEPT_ESCAPES else character


def _as_text(original: bytes, *, is_cut: bool) -> tuple[bytes, bool]:
    """The bytes, without a character that was cut, and whether they are text."""
    try:
        original.decode()
    except UnicodeDecodeError as error:
        if not is_cut or error.start < len(original) - 3:
            return original, False
        original = original[: error.start]
    return original, b"\0" not in original


def _without_cut_word(original: bytes) -> bytes:
    """The same without its last word, of which a piece may be left that no expression knows."""
    first = max(0, len(original) - MAX_CUT_WORD)
    return original[: max(first, *(original.rfind(byte, first) + 1 for byte in _BEFORE_WORDS))]
