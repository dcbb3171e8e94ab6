"""The identity of prepared rows: every option and every version that a number in them hangs on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import xxhash

from consumers.formats.prepared import EVALUATION_SETS, MASK, PASSAGES, encode_identity
from curation.acquisition import page
from curation.dedup import passages
from curation.dedup.near import IDENTITY_OPTIONS
from curation.quality.rules import RULES
from daemon.config import Config
from daemon.evaluation_sets import open_questions
from daemon.models import open_models
from daemon.stages.mask import open_mask
from kernels import words
from packing.tokenizer import Tokenizer


def prepared_identity(config: Config, tokenizer: Tokenizer) -> str:
    """Everything that worker and lane must agree on, as one string.

    A preset, languages to keep, similarities and all that is decided later may differ; thresholds may not, since the
    score of a document is made of its distances from them.
    """
    near, mask = config.dedup.near, open_mask(config.mask)
    rules = [(rule.name, rule.value, rule.fails, rule.threshold, rule.languages) for rule in RULES]
    return encode_identity(
        {
            **{f"input.{name}": _value(config.input, name) for name in config.input.__struct_fields__},
            "dead_letters.max_bytes": str(config.dead_letters.max_bytes),
            "dedup.near.enabled": str(near.enabled),
            **{f"dedup.near.{name}": str(getattr(near, name)) for name in IDENTITY_OPTIONS if near.enabled},
            **({PASSAGES: passages.DEFINITION} if config.dedup.passages.enabled else {}),
            **({EVALUATION_SETS: questions.digest} if (questions := open_questions(config)) is not None else {}),
            "words": words.DEFINITION,
            "rules": xxhash.xxh3_64_hexdigest(repr(rules).encode()),
            "quality.strict_published": str(config.quality.strict_published),
            "quality.thresholds": _value(config.quality, "thresholds"),
            "pages": page.DEFINITION,
            "language.enabled": str(config.language.enabled),
            # A file of vocabulary may lie elsewhere on another machine.
            **{f"model {name}": digest for name, digest in open_models(config).digests().items()},
            **({MASK: mask.mask.identity} if mask is not None else {}),
            "tokenizer": f"{Path(tokenizer.name).name} ({tokenizer.digest:016x})",
        }
    )


def _value(section: msgspec.Struct, name: str) -> str:
    return msgspec.json.encode(getattr(section, name), order="deterministic").decode()
