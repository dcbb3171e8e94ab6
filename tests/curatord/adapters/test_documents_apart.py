"""Documents that share a row do not see each other: a real model gives them the logits that it gives them alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from curatord.adapters.pytorch import tensors
from curatord.sequence import NO_LOSS
from tests.curatord.adapters.streams import marked, tiny_llama

SEEN = 0.05  # logits; a document that sees another differs by more
SAME = 1e-5

SEQUENCES = [marked(seq_no) for seq_no in range(7, 15)]


def difference(attention: str, **changes: Any) -> float:
    """Largest, of any logit, between documents in rows and the same documents alone."""
    model = tiny_llama(attention).eval()
    with torch.no_grad():
        batch = {**tensors(SEQUENCES), "use_cache": False, **changes}
        batch.pop("labels")
        packed = model(**{name: value for name, value in batch.items() if value is not None}).logits
        worst = 0.0
        for number, sequence in enumerate(SEQUENCES):
            start = 0
            for length in sequence.segment_lengths_S.tolist():
                tokens = batch["input_ids"][number : number + 1, start : start + length]
                alone = model(input_ids=tokens, use_cache=False).logits[0]
                worst = max(worst, float((packed[number, start : start + length] - alone).abs().max()))
                start += length
    return worst


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_documents_in_a_row_are_alone(attention: str) -> None:
    assert difference(attention) < SAME


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "trap",
    [
        {"use_cache": True},
        {"attention_mask": torch.ones(len(SEQUENCES), 32, dtype=torch.int64)},
        {"position_ids": None},
    ],
    ids=["cache", "mask", "positions"],
)
def test_the_comparison_would_notice(attention: str, trap: dict[str, Any]) -> None:
    assert difference(attention, **trap) > SEEN


@pytest.mark.parametrize("shifted", [False, True])
def test_the_loss_is_that_of_the_documents(shifted: bool) -> None:
    model = tiny_llama().eval()
    batch = tensors(SEQUENCES, shifted=shifted)
    labels = batch.pop("labels")

    with torch.no_grad():
        if shifted:
            logits = model(**batch, use_cache=False).logits
            packed = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="mean")
        else:
            packed = model(**batch, labels=labels, use_cache=False).loss
        total, targets = 0.0, 0
        for sequence in SEQUENCES:
            tokens = torch.from_numpy(sequence.tokens_T.astype("int64"))
            lengths = sequence.segment_lengths_S.tolist()
            for document, flags in zip(tokens.split(lengths), sequence.segment_flags_S.tolist(), strict=True):
                if not flags & NO_LOSS:
                    alone = model(input_ids=document[None], labels=document[None], use_cache=False).loss
                    total += float(alone) * (len(document) - 1)
                    targets += len(document) - 1

    assert float(packed) == pytest.approx(total / targets, abs=1e-5)
