"""The toy's influence as kronfluence computes it, layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task

from curation.scoring.influence import BATCH_TOKENS
from tests.curation.scoring.toy import LENGTH, Toy

BATCH = BATCH_TOKENS // (LENGTH + 1)


class _Task(Task):  # type: ignore[misc]
    """Losses of the toy, with the labels that ours draws for one batch of all documents."""

    def compute_train_loss(self, batch, model, sample=False) -> torch.Tensor:
        ids = batch["ids"]
        logits, labels = model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten()
        if sample:
            chance = torch.Generator().manual_seed(0)
            labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=chance).flatten()
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch, model) -> torch.Tensor:
        return self.compute_train_loss(batch, model)

    def get_influence_tracked_modules(self) -> list[str]:
        return ["q_proj", "k_proj", "v_proj", "o_proj", "up", "down"]

    def get_attention_mask(self, batch) -> None:
        return None


def pairwise_scores(
    model: Toy, documents: np.ndarray, reference: np.ndarray, damping: float, folder: Path
) -> np.ndarray:
    """Scores of at most `BATCH` documents for the sum of losses of the reference."""
    assert len(documents) <= BATCH
    double = torch.float64
    task = _Task()
    analyzer = Analyzer("toy", prepare_model(model, task), task, cpu=True, output_dir=str(folder), disable_tqdm=True)
    analyzer.fit_all_factors(
        "factors",
        [{"ids": torch.from_numpy(ids)} for ids in documents],
        per_device_batch_size=BATCH,
        factor_args=FactorArguments(
            strategy="ekfac",
            activation_covariance_dtype=double,
            gradient_covariance_dtype=double,
            per_sample_gradient_dtype=double,
            lambda_dtype=double,
        ),
    )
    analyzer.compute_pairwise_scores(
        "scores",
        "factors",
        [{"ids": torch.from_numpy(ids)} for ids in reference],
        [{"ids": torch.from_numpy(ids)} for ids in documents],
        per_device_query_batch_size=len(reference),
        per_device_train_batch_size=BATCH,
        score_args=ScoreArguments(
            damping_factor=damping,
            aggregate_query_gradients=True,
            score_dtype=double,
            per_sample_gradient_dtype=double,
            precondition_dtype=double,
        ),
    )
    return analyzer.load_pairwise_scores("scores")["all_modules"].numpy().ravel()
