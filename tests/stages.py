"""Every stage that reads text, as a function of one text: what it does with a single document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

from consumers.broker import RawDocument
from consumers.formats.documents import decode_rows
from consumers.formats.input_config import InputConfig
from curation.acquisition.main_text import main_text
from curation.acquisition.mask import Mask, MaskConfig
from curation.decontamination.questions import Question, Questions
from curation.dedup.exact import text_keys, url_keys
from curation.dedup.near import NearDedup, NearDedupConfig
from curation.dedup.passages import Passages, PassagesConfig, bytes_of_words, fingerprint
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig, identify_languages
from curation.vectors.student import Student
from daemon.commands.summary import NearDuplicate, _near_duplicate_lines
from kernels.columns import Ragged, join_texts
from packing.fast_encoder import EXPRESSIONS, FastEncoder
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from packing.vocabularies import read_tiktoken
from tests.kept import Kept

Stage = Callable[[str], object]
RANKS = {bytes([b]): b for b in range(256)} | {
    b"th": 256,
    b"the": 257,
    b" the": 258,
    b"aa": 259,
    b"aaaa": 260,
    b"  ": 261,
}
OTHER_EXPRESSION = r"\p{L}+|\s+(?!\S)|\s+|[^\p{L}\s]+"


def kernel_stages() -> dict[str, Stage]:
    """The stages whose work is that of our kernels, and of Python."""
    near_dedup = NearDedup(NearDedupConfig())
    sets = [
        Question(set="set", id=str(n), text=f"{n} a b the quick brown fox jumps over lazy dogs and some more words")
        for n in range(9)
    ]
    questions = Questions([*sets, Question(set="set", id="x", text=" ".join("abcdefghijklmnopq"))], "sampled")
    passages = Passages(PassagesConfig(enabled=True, mask=True, memory_mib=16), Kept())
    quality = Quality(QualityConfig(preset="fineweb"), LanguageConfig())
    tokenizer = open_tokenizer(TokenizerConfig())
    student = Student(
        np.arange(512, dtype=np.uint32), np.ones((512, 16), np.int8), vocabulary_size=1 << 17, max_tokens=512
    )

    mask = Mask(MaskConfig(phone="pseudonym", national_ids=("br.cpf", "cl.rut")), b"0123456789abcdef")

    def embed(text: str) -> object:
        return student.embed(encoding(tokenizer)(text))

    return {
        "decode": lambda text: decoded(json.dumps({"id": "a", "text": text, "url": text, "time": text}).encode()),
        "decode what is no JSON": lambda text: decoded(b'{"text": ' + text.encode()),
        "decode what is nested": lambda text: decoded(b'{"text": "a", "b": ' + text.encode() + b"}"),
        "hash": lambda text: text_keys(join_texts([text])),
        "hash an address": lambda text: url_keys([text]),
        "passages": lambda text: passages.judge(np.array([0]), ("",), fingerprint(join_texts([text]))),
        "questions": lambda text: questions.find(join_texts([text])),
        "mask passages": lambda text: bytes_of_words(join_texts([text]), 0, np.array([[0, len(text)]])),
        "sign": lambda text: near_dedup.sign(join_texts([text])),
        "rules": lambda text: quality.judge(quality.measure(join_texts([text]), ("en",))),
        "mask": lambda text: mask.texts(join_texts([text])),
        "mask an address": lambda text: mask.names([text]),
        "language": lambda text: identify_languages(join_texts([text])),
        "embed": embed,
        "decode tokens": lambda text: tokenizer.decode(encoding(tokenizer)(text)[0]),
        "print": printed,
        "main text": lambda text: main_text(f"<html><body><div class=menu>{text}</div><p>{text}</p></body></html>"),
    }


def library_stages(folder: Path) -> dict[str, Stage]:
    """Tokenizers that go through their own libraries; `folder` is for their files."""
    from tokenizers import normalizers, pre_tokenizers

    from tests.packing.test_tokenizer import byte_level, saved, sentencepiece_like, unigram_like, wordpiece_like

    bert = wordpiece_like()
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    composed = byte_level()
    composed.normalizer = normalizers.NFKC()
    extended = byte_level()
    extended.add_tokens(["library", "the", "aa"])
    references = {
        "byte-level of another expression": byte_level(r"\s+(?!\S)|\s+|\S+"),
        "byte-level after NFKC": composed,
        "byte-level with added words": extended,
        "BPE of SentencePiece": sentencepiece_like(),
        "Unigram": unigram_like(),
        "WordPiece": wordpiece_like(),
        "BERT": bert,
    }
    stages: dict[str, Stage] = {"tiktoken of another expression": of_ranks(OTHER_EXPRESSION)}
    stages |= {f"fastokens, expression {n}": of_ranks(expression) for n, expression in enumerate(EXPRESSIONS)}
    for name, reference in references.items():
        own = folder / name.replace(" ", "-")
        own.mkdir()
        stages[name] = encoding(open_tokenizer(TokenizerConfig(name=str(saved(reference, own)), eos=False)))
    return stages


def decoded(row: bytes) -> object:
    """One row of an input."""
    return decode_rows([RawDocument(value=row, source="a", position=0)], 0, InputConfig(), 1 << 20)


def printed(text: str) -> object:
    """Lines of the screen about two documents that differ at their ends, with ids as long as ids may be."""
    example = NearDuplicate(
        doc_id=text[:256], match_id=text[:256], similarity=0.9, text=text[:256] + " a", match_text=text[:256] + " b"
    )
    return _near_duplicate_lines((example,), 100)


def encoding(tokenizer: Tokenizer) -> Callable[[str], Ragged[Any]]:
    """Text to tokens."""
    return lambda text: tokenizer.encode_batch(join_texts([text]))


def of_ranks(expression: str) -> Stage:
    """A small vocabulary of tiktoken's kind."""
    codec = read_tiktoken(
        tiktoken.Encoding("small", pat_str=expression, mergeable_ranks=RANKS, special_tokens={"<|endoftext|>": 300})
    ).codec
    if isinstance(codec.encoder, FastEncoder):
        codec.encoder.settle()
    return lambda text: codec.encode(join_texts([text]), -1, -1)
