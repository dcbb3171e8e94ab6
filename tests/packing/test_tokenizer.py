"""Ids are the reference's, text is always text, and decoding gives it back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from curatord.errors import ConfigError
from kernels.columns import join_texts
from packing import vocabularies
from packing.added_tokens import control_tokens
from packing.fast_encoder import CL100K, EXPRESSIONS, FastEncoder
from packing.probes import SENTENCES
from packing.tokenizer import Tokenizer, TokenizerConfig, example_of_loss, loss_of_text, open_tokenizer
from tests.corpus import read_zst_jsonl

# Oniguruma, the engine of the tokenizers library, reads `{1,3}+` and `$` differently.
ONIGURUMA_EXPRESSIONS = frozenset(EXPRESSIONS) - {CL100K}
CONTROL_LOOKALIKES = [
    "</s>", "<s>", "<unk>", "[INST] hi [/INST]", "<|endoftext|>", "a<|im_start|>b", "<pad></s></s>", "[UNK][SEP][CLS]",
    "<think>no</think>", " </s> ", "<SPECIAL_20>",
]  # fmt: skip
TEXTS = [
    "", "Hello, world!", "\0", "\0\0a\0", "\u0301\u0301", "e\u0301", "a\r\nb\r\n\r\n", "  lead and trail  ",
    "👩‍👩‍👧‍👦🇩🇪", "\ufeffbom",
    "日本語のテキスト", "tab\tand\u00a0nbsp", "don't won't I'LL", "3.14159 and 1,000,000", *CONTROL_LOOKALIKES,
]  # fmt: skip
TRAINING = [
    "the quick brown fox jumps over the lazy dog, don't they? 12345 ",
    "Straße über Äpfel — 日本語 naïve </s> <s>",
] * 50


@cache
def tekken(bos: bool = False, eos: bool = True) -> Tokenizer:
    tokenizer = open_tokenizer(TokenizerConfig(bos=bos, eos=eos))
    return tokenizer if bos else fast(tokenizer)


def fast(tokenizer: Tokenizer) -> Tokenizer:
    """The same from where fastokens encodes; a run comes there by itself after some megabytes."""
    assert isinstance(tokenizer.codec.encoder, FastEncoder)
    assert tokenizer.settle().name.startswith("fastokens"), tokenizer.library
    return tokenizer


@cache
def tekkenizer() -> Tekkenizer:
    return Tekkenizer.from_file(str(resources.files("mistral_common") / "data" / "tekken_240911.json"))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    encoded = tokenizer.encode_batch(join_texts(texts))
    assert encoded.values_T.dtype == tokenizer.dtype
    assert encoded.bounds_B1.dtype == np.int64
    assert len(encoded) == len(texts)
    return [tokens.tolist() for tokens in encoded]


def assert_same_as_tekkenizer(texts: Sequence[str]) -> None:
    tokenizer, reference = tekken(), tekkenizer()
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert ids == reference.encode(text, bos=False, eos=True), text[:80]
        assert tokenizer.decode(ids) == text


# ---- Tekken


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
def test_tekken_ids_are_mistrals_with_and_without_bos_and_eos(bos: bool, eos: bool) -> None:
    tokenizer = tekken(bos, eos)
    for text, ids in zip(TEXTS, encode(tokenizer, TEXTS), strict=True):
        assert ids == tekkenizer().encode(text, bos=bos, eos=eos)
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < tokenizer.vocabulary_size == 131_072


def test_tekken_ids_are_mistrals_on_every_corpus(corpora: Path) -> None:
    for path in sorted((corpora / "web").glob("*.jsonl.zst")):
        texts: list[str] = []
        for n, record in enumerate(read_zst_jsonl(path)):
            if n % 17 == 0:
                texts.append(record["text"][:20_000])
            if len(texts) == 60:
                break
        assert_same_as_tekkenizer(texts)


def test_tekken_ids_are_mistrals_in_every_language(corpora: Path) -> None:
    assert_same_as_tekkenizer(
        [record["text"][:6_000] for record in read_zst_jsonl(corpora / "labelled" / "udhr-languages.jsonl.zst")]
    )


def test_tekken_ids_are_mistrals_on_hostile_text(corpora: Path) -> None:
    texts = [record.get("text") for record in read_zst_jsonl(corpora / "hostile" / "cases.jsonl.zst")]
    assert_same_as_tekkenizer([text for text in texts if text and len(text) < 200_000])


@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=50), max_size=4))
@settings(max_examples=300, deadline=None)
def test_tekken_ids_are_mistrals_on_any_text(texts: list[str]) -> None:
    assert_same_as_tekkenizer(texts)


def test_a_line_of_20_megabytes_comes_back_exactly() -> None:
    line = "The law of 1907, § 3 Äußerung. " * 650_000
    [ids] = encode(tekken(), [line])
    assert tekken().decode(ids) == line


def test_documents_of_a_batch_may_lie_anywhere_in_its_buffer() -> None:
    encoded = tekken().encode_batch(join_texts(["first", "second one", "third"]).take([2, 0]))
    assert [tokens.tolist() for tokens in encoded] == encode(tekken(), ["third", "first"])


def test_no_documents_are_no_tokens() -> None:
    encoded = tekken().encode_batch(join_texts([]))
    assert len(encoded.values_T) == 0
    assert encoded.bounds_B1.tolist() == [0]


def test_threads_give_the_same_ids() -> None:
    texts = [f"{text} number {n} Donaudampfschifffahrtsgesellschaft{n}" for n in range(200) for text in TEXTS]
    alone = encode(tekken(), texts)
    parts = [texts[i : i + 50] for i in range(0, len(texts), 50)]
    with ThreadPoolExecutor(4) as pool:
        assert [ids for part in pool.map(lambda part: encode(tekken(), part), parts) for ids in part] == alone


def test_a_part_of_a_document_decodes_though_it_cuts_a_character() -> None:
    [ids] = encode(tekken(False, False), ["\U0001f9ff\U00012345"])
    assert tekken().decode(ids[:1]).strip("\ufffd") == ""


# ---- identity


def test_the_digest_names_vocabulary_and_framing() -> None:
    digests = [tekken(bos, eos).digest for bos in (False, True) for eos in (False, True)]
    assert len(set(digests)) == 4
    assert all(0 <= digest < 1 << 64 for digest in digests)
    assert open_tokenizer(TokenizerConfig()).digest == tekken().digest
    path = resources.files("mistral_common") / "data" / "tekken_240718.json"
    assert open_tokenizer(TokenizerConfig(name=str(path))).digest != tekken().digest


def test_a_path_to_the_same_file_is_the_same_tokenizer(tmp_path: Path) -> None:
    content = (resources.files("mistral_common") / "data" / "tekken_240911.json").read_bytes()
    (tmp_path / "tekken.json").write_bytes(content)
    assert open_tokenizer(TokenizerConfig(name=str(tmp_path))).digest == tekken().digest


# ---- tiktoken


@pytest.mark.parametrize("expression", [sorted(EXPRESSIONS)[0], r"\p{L}+|\P{L}+"], ids=["known", "unknown"])
def test_a_tiktoken_encoding_keeps_its_ids_and_its_control_tokens_to_itself(expression: str) -> None:
    ranks = {bytes([b]): b for b in range(256)} | {b"th": 256, b"the": 257, b" the": 259}  # 258 is a gap
    reference = tiktoken.Encoding(
        "small", pat_str=expression, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 300, "<|x|>": 301}
    )
    vocabulary = vocabularies.read_tiktoken(reference)
    assert (vocabulary.eos_id, vocabulary.bos_id, vocabulary.size) == (300, None, 302)
    for text, ids in zip(TEXTS, vocabulary.codec.encode(join_texts(TEXTS), -1, 300), strict=True):
        assert ids.tolist() == [*reference.encode_ordinary(text), 300]
        assert vocabulary.codec.decode(ids.astype(np.int64)) == text


# ---- Hugging Face


def byte_level(expression: str | None = None, **options: Any) -> HuggingFaceTokenizer:
    """A small tokenizer trained here, as Llama 3, Qwen or (without an expression) GPT-2 have theirs."""
    tokenizer = HuggingFaceTokenizer(models.BPE(**options))
    if expression is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(expression), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<unk>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    return tokenizer


def saved(tokenizer: HuggingFaceTokenizer, folder: Path, settings: dict[str, Any] | None = None) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def bare_ids(tokenizer: HuggingFaceTokenizer, text: str) -> list[int]:
    """The library's ids of a text without anything that looks like a control token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


PLAIN = [text for text in TEXTS if not any(mark in text for mark in "<[")]


@pytest.mark.parametrize("ignore_merges", [False, True])
@pytest.mark.parametrize("expression", [None, *sorted(EXPRESSIONS), r"\s+|\S+"])
def test_byte_level_tokenizers_keep_their_ids(tmp_path: Path, expression: str | None, ignore_merges: bool) -> None:
    reference = byte_level(expression, ignore_merges=ignore_merges)
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference, tmp_path)), eos=False))
    if expression is None or expression in ONIGURUMA_EXPRESSIONS:
        fast(tokenizer)
    else:
        assert tokenizer.settle().name.startswith("tokenizers")
    assert tokenizer.lossless
    assert tokenizer.dtype is np.uint16
    rng = np.random.default_rng(5)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "över",
        "Straße",
        "日本語",
        "don't",
        "12345",
        "\n",
        "\t",
        "",
        "  ",
    ]
    words += ["\u0301", "'s", "\n\n"]
    texts = [*PLAIN, *("".join(rng.choice(words, 40)) + " ".join(rng.choice(words, 40)) for _ in range(100))]
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert ids == bare_ids(reference, text), repr(text)
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("expression", [None, *sorted(ONIGURUMA_EXPRESSIONS)])
@given(
    text=st.text(st.sampled_from(" \n\r\t'/.-aSstLlrRevdmM12\u0301ʰǅ語ßſİ") | st.characters(exclude_categories=("Cs",)))
)
@settings(max_examples=100, deadline=None)
def test_byte_level_ids_are_the_librarys_on_any_text(expression: str | None, text: str) -> None:
    text = text.replace("<", "")  # the library finds its control tokens in there
    tokenizer, reference = opened(expression)
    assert encode(tokenizer, [text]) == [bare_ids(reference, text)]


@cache
def opened(expression: str | None) -> tuple[Tokenizer, HuggingFaceTokenizer]:
    reference = byte_level(expression)
    with TemporaryDirectory() as folder:
        return fast(open_tokenizer(TokenizerConfig(name=str(saved(reference, Path(folder))), eos=False))), reference


def sentencepiece_like() -> HuggingFaceTokenizer:
    """As Llama 2: control tokens are in the vocabulary, and merges lead to them."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<": 3, "/": 4, "s": 5, ">": 6, "</": 7, "s>": 8, "▁": 9, "a": 10}
    vocab |= {f"<0x{b:02X}>": 11 + b for b in range(256)}
    merges = [("<", "/"), ("s", ">"), ("</", "s>"), ("<", "s>")]
    tokenizer = HuggingFaceTokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    return tokenizer


def unigram_like() -> HuggingFaceTokenizer:
    """As T5: control tokens are in the lattice with the best scores."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -3.0) for c in "▁</s>abcdehilnoprtuk[]|_")]
    tokenizer = HuggingFaceTokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer


def wordpiece_like() -> HuggingFaceTokenizer:
    """As BERT, but split at white space only, so that `[SEP]` is a word that the vocabulary has."""
    vocab = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "</s>": 3, "hello": 4, "<": 5, "##/": 6, "##s": 7, "##>": 8}
    tokenizer = HuggingFaceTokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "</s>"])
    tokenizer.enable_truncation(4)
    return tokenizer


@pytest.mark.parametrize(
    "reference",
    [byte_level(), sentencepiece_like(), unigram_like(), wordpiece_like()],
    ids=["byte", "bpe", "uni", "word"],
)
def test_text_that_looks_like_a_control_token_never_becomes_one(
    tmp_path: Path, reference: HuggingFaceTokenizer
) -> None:
    reference.add_special_tokens(["<|endoftext|>", "[INST]", "<think>"])
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference, tmp_path)), eos=False))
    control = control_tokens(json.loads(reference.to_str()), {})
    unknown = {control[name] for name in ("<unk>", "[UNK]") if name in control}
    assert {"</s>", "[INST]"} <= control.keys()
    for text, ids in zip(TEXTS, encode(tokenizer, TEXTS), strict=True):
        allowed = unknown if not tokenizer.lossless else set()
        assert not (set(ids) & set(control.values())) - allowed, text
    assert control["</s>"] == reference.token_to_id("</s>")


def test_long_documents_are_not_truncated(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(wordpiece_like(), tmp_path)), eos=True))
    assert encode(tokenizer, ["hello " * 100]) == [[4] * 100 + [tokenizer.eos_id]]


def test_added_tokens_of_white_space_stay_ordinary(tmp_path: Path) -> None:
    reference = byte_level()
    reference.add_tokens([AddedToken("    ", special=False)])
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference, tmp_path)), eos=False))
    text = "if x:\n    the fox"
    assert encode(tokenizer, [text]) == [bare_ids(reference, text)]
    assert reference.token_to_id("    ") in encode(tokenizer, [text])[0]


WORDS = [
    AddedToken("library", special=False),
    AddedToken("newspaper", single_word=True, special=False),
    AddedToken("<think>", lstrip=True, special=False),
    AddedToken("<tool>", rstrip=True, special=False),
    AddedToken("Äpfel", normalized=False, special=False),
    AddedToken("日本", special=False),
    AddedToken("\n\n", special=False),
]
ADDED_TEXTS = [
    "the library", "a library of newspapers", "newspaper", "newspaper, newspapers", "liblibraryrary",
    "fox <think> the ", "<tool>   fox", "Straße Äpfel ÄPFEL A\u0308pfel äpfel", "日本語 日本", "a\n\nb\n\n\n",
    "LIBRARY Library", "the fox", "é",
    "library</s>library<s>", "", "  <think>", "<think", "</think>library",
]  # fmt: skip


@pytest.mark.parametrize("words", [WORDS, WORDS[:1], [*WORDS, *(f"w{n}" for n in range(64))]], ids=len)
@pytest.mark.parametrize(
    "reference",
    [byte_level, lambda: byte_level(r"\s+|\S+"), lambda: lower(byte_level()), sentencepiece_like, unigram_like,
     wordpiece_like, lambda: lower(wordpiece_like())],
    ids=["byte", "other byte", "lower byte", "bpe", "uni", "word", "lower word"],
)  # fmt: skip
def test_words_that_were_added_to_a_tokenizer_keep_the_librarys_ids(
    tmp_path: Path, reference: Callable[[], HuggingFaceTokenizer], words: list[AddedToken | str]
) -> None:
    library = reference()
    library.no_truncation()
    library.add_tokens(words)
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(library, tmp_path)), eos=False))
    for library_is_fast in (False, True):
        for text, ids in zip(ADDED_TEXTS, encode(tokenizer, ADDED_TEXTS), strict=True):
            if "s>" not in text:
                assert ids == bare_ids(library, text), (text, library_is_fast)
        tokenizer.settle()
    spelled = encode(tokenizer, ["library</s>library<s>"])[0]
    assert library.token_to_id("library") in spelled
    assert not {library.token_to_id("</s>"), library.token_to_id("<s>")} & set(spelled)


def lower(tokenizer: HuggingFaceTokenizer) -> HuggingFaceTokenizer:
    tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


@pytest.mark.parametrize(("words", "lossless"), [(WORDS, False), ([WORDS[0], WORDS[1], *WORDS[4:]], True)])
@pytest.mark.parametrize("expression", [None, r"\s+|\S+"])
def test_byte_level_tokenizers_with_added_words_give_texts_back_unless_a_word_takes_its_spaces(
    tmp_path: Path, expression: str | None, words: list[AddedToken], lossless: bool
) -> None:
    reference = byte_level(expression)
    reference.add_tokens(words)
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference, tmp_path)), eos=False))
    assert tokenizer.settle().name.startswith("tokenizers" if expression else "fastokens")
    assert tokenizer.lossless == lossless
    texts = [*ADDED_TEXTS, *TEXTS]
    decoded = [tokenizer.decode(ids) for ids in encode(tokenizer, texts)]
    assert (decoded == texts) == lossless


def test_what_the_settings_or_the_configuration_call_a_control_token_is_one(tmp_path: Path) -> None:
    reference = byte_level()
    reference.add_tokens(["<end>", "<pad>", "<img>", "<old>", "<stop>"])
    folder = str(saved(reference, tmp_path, {
        "eos_token": {"content": "<end>"}, "pad_token": "<pad>", "additional_special_tokens": ["<img>"],
        "added_tokens_decoder": {"9": {"content": "<old>", "special": True}},
    }))  # fmt: skip
    names = ["<end>", "<pad>", "<img>", "<old>", "<stop>"]
    for stop in ("", "<stop>"):
        tokenizer = open_tokenizer(TokenizerConfig(name=folder, eos_token=stop))
        assert tokenizer.eos_id == reference.token_to_id(stop or "<end>")
        ids = {token for ids in encode(tokenizer, names) for token in ids[:-1]}
        assert [name for name in names if reference.token_to_id(name) in ids] == ([] if stop else ["<stop>"])


LOSSY = {
    "white space": (lambda: pre_tokenized(pre_tokenizers.Whitespace()), "Hello, World!"),
    "bert": (lambda: pre_tokenized(pre_tokenizers.BertPreTokenizer()), "Hello, World!"),
    "lower case": (lambda: lower(byte_level()), "Hello, World!"),
    "nfc": (lambda: normalized(normalizers.NFC()), "e\u0301 Café"),
    "nfkc": (lambda: normalized(normalizers.NFKC()), "½ ﬁ ①"),
    "strip": (lambda: normalized(normalizers.Strip()), " a "),
}


def normalized(normalizer: Any) -> HuggingFaceTokenizer:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizer
    return tokenizer


def pre_tokenized(pre_tokenizer: Any) -> HuggingFaceTokenizer:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = None
    return tokenizer


@pytest.mark.parametrize("kind", LOSSY)
def test_a_tokenizer_that_loses_text_gives_an_example_of_it(tmp_path: Path, kind: str) -> None:
    reference, text = LOSSY[kind]
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference(), tmp_path))))
    loss = example_of_loss(tokenizer)
    assert loss is not None
    assert not tokenizer.lossless
    assert (loss.text == text) or kind in ("nfkc", "nfc", "strip")
    assert loss.decoded != loss.text
    assert tokenizer.decode(encode(tokenizer, [loss.text])[0]) == loss.decoded
    assert repr(loss.decoded) in loss_of_text(tokenizer)


def test_a_tokenizer_that_loses_nothing_has_no_example() -> None:
    assert example_of_loss(tekken()) is None


def test_a_normalizer_makes_a_tokenizer_lossy(tmp_path: Path) -> None:
    reference = byte_level()
    reference.normalizer = normalizers.NFC()
    tokenizer = open_tokenizer(TokenizerConfig(name=str(saved(reference, tmp_path)), eos=False))
    assert not tokenizer.lossless
    [ids] = encode(tokenizer, ["e\u0301"])
    assert ids == bare_ids(reference, "e\u0301")
    assert tokenizer.decode(ids) == "é"


def test_eos_comes_from_the_settings_beside_the_file_or_from_the_option(tmp_path: Path) -> None:
    reference = byte_level()
    reference.add_special_tokens(["<stop>"])
    stop = reference.token_to_id("<stop>")
    folder = str(saved(reference, tmp_path))
    assert open_tokenizer(TokenizerConfig(name=folder)).eos_id == reference.token_to_id("</s>")
    assert open_tokenizer(TokenizerConfig(name=folder, eos_token="<stop>")).eos_id == stop
    saved(reference, tmp_path, {"eos_token": {"content": "<stop>"}})
    tokenizer = open_tokenizer(TokenizerConfig(name=folder, bos=True))
    assert (tokenizer.bos_id, tokenizer.eos_id) == (reference.token_to_id("<s>"), stop)
    assert encode(tokenizer, ["the"]) == [[tokenizer.bos_id, *bare_ids(reference, "the"), stop]]
    assert tokenizer.decode(encode(tokenizer, ["the"])[0]) == "the"


# ---- SentencePiece


def test_a_model_of_sentencepiece_keeps_its_ids_and_its_control_tokens_to_itself(tmp_path: Path) -> None:
    content = (resources.files("mistral_common") / "data" / "mistral_instruct_tokenizer_240323.model.v3").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(content)
    reference = SentencePieceProcessor(model_proto=content)
    control = {token for token in range(reference.get_piece_size()) if reference.is_control(token)}
    assert len(control) > 700

    tokenizer = open_tokenizer(TokenizerConfig(name=str(tmp_path), bos=True))

    assert (tokenizer.vocabulary_size, tokenizer.bos_id, tokenizer.eos_id) == (32_768, 1, 2)
    assert open_tokenizer(TokenizerConfig(name=str(tmp_path), eos_token="[INST]")).eos_id == 3
    assert tokenizer.settle().name.startswith("sentencepiece")
    texts = [*TEXTS, *SENTENCES]
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert ids == [1, *reference.encode(text), 2]
        assert not control & set(ids[1:-1])
        assert tokenizer.decode(ids) == reference.decode(ids)
    assert not tokenizer.lossless
    assert example_of_loss(tokenizer) is not None
    assert tokenizer.decode([5, 1 << 20]) == ""

    text = "Maß und «déjà vu» 東京, and the rest"
    [ids] = encode(tokenizer, [text])
    first = text.encode().index("東".encode())
    [[begin, end]] = tokenizer.ranges_of_tokens(np.array(ids), text, np.array([[first, first + 6]])).tolist()
    assert tokenizer.decode(ids[begin:end]) == "東京"
    assert tokenizer.ranges_of_tokens(np.array(ids), text[1:], np.array([[0, 1]])).tolist() == [[0, len(ids)]]


def test_without_the_package_a_model_of_sentencepiece_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(SENTENCEPIECE)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match="package sentencepiece is not installed: install it, or name the tokenizer"):
        open_tokenizer(TokenizerConfig(name=str(tmp_path)))


# ---- what cannot be


SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\x9a\xff"
OTHER_FILES = {
    "cut/tokenizer.model": (SENTENCEPIECE, "damaged model of SentencePiece"),
    "spiece.bin": (SENTENCEPIECE, "damaged model of SentencePiece"),
    "ranks/tokenizer.model": (b"IQ== 0\nIg== 1\n", "ranks of tiktoken's"),
    "words/vocab.txt": (b"[PAD]\n[UNK]\nthe\n", "only tokenizer"),
    "o200k.tiktoken": (b"IQ== 0\nIg== 1\n", "ranks of tiktoken's"),
    "ranks.txt": (b"IQ== 0\nIg== 1\n", "ranks of tiktoken's"),
    "nothing.json": (b"", "it is empty"),
    "tokenizer.json.gz": (b"\x1f\x8b\x08\0\0", "compressed with gzip: unpack it"),
    "tokenizer.json.zst": (b"\x28\xb5\x2f\xfd\0", "compressed with zstd: unpack it"),
    "model.gguf": (b"GGUF\x03\0\0\0", "GGUF"),
    "pointer.json": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "vocab.json": (b'{"a": 0, "b": 1}', r"bare vocabulary \(vocab\.json\)"),
    "tokenizer_config.json": (b'{"tokenizer_class": "LlamaTokenizer"}', "settings of a tokenizer"),
    "list.json": (b"[1, 2]", "of another kind"),
    "vocab.txt": (b"[PAD]\n[UNK]\nthe\n", "only tokenizer"),
    "latin.json": (b"\xe9\xff", "it is no JSON"),
}  # fmt: skip


def test_every_mistake_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_end = HuggingFaceTokenizer(models.WordLevel({"a": 0, "<none>": 1}, unk_token="<none>"))
    (tmp_path / "bare").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"a": 1}')
    bare = str(saved(without_end, tmp_path / "bare"))
    for name, content in OTHER_FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content[0])
    for name, message in {
        **{str(tmp_path / name): message for name, (_, message) in OTHER_FILES.items()},
        str(tmp_path / "cut"): "damaged model of SentencePiece",
        str(tmp_path / "words"): r"it holds vocab\.txt; make one .*save_pretrained",
        bare: r"name it with tokenizer\.eos_token, or set tokenizer\.eos = false",
        str(tmp_path / "empty"): "holds no tokenizer.json",
        str(tmp_path / "missing.json"): "no such file or folder",
        str(tmp_path / "broken.json"): "cannot be read as a tokenizer",
        str(tmp_path / "other.json"): "no `model`",
    }.items():
        with pytest.raises(ConfigError, match=message):
            open_tokenizer(TokenizerConfig(name=name))
    with pytest.raises(ConfigError, match=r"'<end>' is no control token of tekken"):
        open_tokenizer(TokenizerConfig(eos_token="<end>"))


def test_without_a_network_names_say_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="TIKTOKEN_CACHE_DIR"):
        open_tokenizer(TokenizerConfig(name="p50k_edit"))
    monkeypatch.setattr("time.sleep", _must_not_sleep)
    with pytest.raises(ConfigError, match=r"download its tokenizer\.json"):
        open_tokenizer(TokenizerConfig(name="no-one/no-such-model"))


def _must_not_sleep(seconds: float) -> None:
    raise AssertionError(f"the hub was waited for: {seconds} s")


def test_the_section_refuses_unknown_keys() -> None:
    with pytest.raises(msgspec.ValidationError, match="eod"):
        msgspec.convert({"eod": True}, TokenizerConfig)
