"""Influence: how much the loss on a reference set falls if a model trains on a document (Quad's reward).

The influence of a document z on a reference r is `g_r' (H + λ)^-1 g_z` (Koh & Liang, 2017), with gradients g of the
mean loss of a token and H the Fisher matrix of the weights of the linear layers. H is approximated by EK-FAC (George et
al., 2018; Grosse et al., 2023): block by block it is diagonal in the basis Q_A ⊗ Q_S of the eigenvectors of the
covariances of a layer's inputs and of the gradients of its outputs, and its eigenvalues are measured there. The
projections to queries, keys and values of one attention see the same input, so that they are one block (Zhang et al.,
2025: joint QKV). The damping λ is a share of the mean eigenvalue of all blocks.

The reference is put through `(H + λ)^-1` once, and becomes a matrix D a block; a document then costs one pass forward
and backward, and `Σ_t δ_t' D a_t` over its tokens: no gradient of a weight is ever made.

Left out: embeddings, the output layer (its covariance is as large as the vocabulary), and layers that see other rows
than one a token, as experts do.

Shape legend: B documents, T tokens, O outputs, I inputs of a block, one more where it has a bias.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

BATCH_TOKENS = 4096  # of documents that go through the model together, padding included
MAX_LOGITS = 1 << 26  # of all these tokens, where a vocabulary is large
LIKE = 1.25  # the longest of them, over the shortest
PAD = 0
_PROJECTION = re.compile(r"w?[qkv](_?(proj|lin|head))?|(query|key|value)(_?(proj|layer))?")

Documents = Sequence[NDArray[np.integer[Any]]]  # token ids, at least two each


@dataclass(slots=True)
class Block:
    """Layers that share their input, whose weights are stacked to one matrix [O, I]."""

    layers: list[torch.nn.Module]
    inputs: torch.Tensor  # eigenvectors Q_A [I, I]
    outputs: torch.Tensor  # eigenvectors Q_S [O, O]
    eigenvalues: torch.Tensor  # of H in their basis [O, I]


@dataclass(slots=True)
class Batch:
    """Documents of about one length, padded at their ends."""

    places: list[int]  # among all documents
    ids_BT: torch.Tensor  # all tokens but the last
    targets_BT: torch.Tensor  # the token after each
    is_target_BT: torch.Tensor  # whether there is one


def batches(documents: Documents, model: Any) -> Iterator[Batch]:
    """All documents on the model's device, those of one length together.

    Raises ValueError if one has fewer than two tokens.
    """
    device, vocabulary = model.get_input_embeddings().weight.device, len(model.get_output_embeddings().weight)
    num_tokens = min(BATCH_TOKENS, MAX_LOGITS // vocabulary)
    lengths = [len(document) for document in documents]
    if lengths and min(lengths) < 2:
        raise ValueError("a document of one token has no next token, and so no loss: leave it out")
    order = sorted(range(len(documents)), key=lambda place: (lengths[place], place))
    while order:
        most = max(1, num_tokens // lengths[order[0]])
        places = [place for place in order[:most] if lengths[place] <= LIKE * lengths[order[0]]]
        order = order[len(places) :]
        ids = np.full((len(places), lengths[places[-1]]), PAD, np.int64)
        is_token = np.zeros(ids.shape, np.bool_)
        for row, place in enumerate(places):
            ids[row, : lengths[place]] = documents[place]
            is_token[row, : lengths[place]] = True
        whole, there = torch.from_numpy(ids).to(device), torch.from_numpy(is_token).to(device)
        yield Batch(places, whole[:, :-1], whole[:, 1:], there[:, 1:])


def token_losses(model: Any, batch: Batch, chance: torch.Generator | None = None) -> torch.Tensor:
    """Loss in nats of every target [B, T], 0 where there is none; with `chance` of labels that the model samples."""
    mask_BT = batch.is_target_BT.long()
    logits_BTV = model(input_ids=batch.ids_BT, attention_mask=mask_BT, use_cache=False).logits
    logits_BTV = logits_BTV.to(_wide(logits_BTV.dtype))
    labels_BT = batch.targets_BT
    if chance is not None:
        chances = logits_BTV.detach().softmax(-1).flatten(0, 1)
        labels_BT = torch.multinomial(chances, 1, generator=chance).view(labels_BT.shape)
    losses_BT: torch.Tensor = cross_entropy(logits_BTV.transpose(1, 2), labels_BT, reduction="none")
    return losses_BT * batch.is_target_BT


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def linear_layers(model: Any) -> list[list[Any]]:
    """The linear layers of a causal model, but for that of its output; queries, keys and values of one parent together.

    `Conv1D` of GPT-2 is a linear layer, whose weight is transposed.
    """
    output, found = model.get_output_embeddings(), []
    for parent in model.modules():
        joint: list[Any] = []
        for name, layer in parent.named_children():
            if layer is output or not (isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Conv1D"):
                continue
            if _PROJECTION.fullmatch(name):
                joint.append(layer)
            else:
                found.append([layer])
        is_one = len({(layer.weight.shape[-1], layer.bias is None) for layer in joint}) == 1
        found += [joint] if is_one else [[layer] for layer in joint]
    return found


# What is done with a block whose gradients have come: its inputs [B, T, I], gradients of its outputs [B, T, O].
Take = Callable[[int, torch.Tensor, torch.Tensor], None]


@contextmanager
def traced(model: Any, layers: list[list[torch.nn.Module]], batch: Batch, take: Take) -> Iterator[None]:
    """Within, a pass forward and backward hands over inputs and gradients of each block of layers."""
    inputs: dict[int, torch.Tensor] = {}
    gradients: dict[torch.nn.Module, torch.Tensor] = {}
    seen: set[torch.nn.Module] = set()
    shape = batch.ids_BT.shape

    def arrived(block: int, layer: torch.nn.Module, gradient: torch.Tensor) -> None:
        gradients[layer] = gradient.to(_wide(gradient.dtype))
        if all(member in gradients for member in layers[block]):
            together = torch.cat([gradients.pop(member) for member in layers[block]], -1)
            take(block, inputs.pop(block), together)

    def passed(block: int, layer: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        if made.shape[:2] != shape or made.dim() != 3 or not made.requires_grad:
            return
        if layer in seen:
            raise ValueError(f"{type(model).__name__} uses a layer twice in one pass, whose influence is not computed")
        seen.add(layer)
        made.register_hook(partial(arrived, block, layer))  # type: ignore[no-untyped-call]
        if block in inputs:  # all members of a block have the same
            return
        is_target = batch.is_target_BT[..., None]
        inputs_BTI = given[0].detach().to(_wide(given[0].dtype)) * is_target
        if layer.bias is not None:
            inputs_BTI = torch.cat([inputs_BTI, is_target.to(inputs_BTI.dtype)], -1)
        inputs[block] = inputs_BTI

    handles = [model.get_input_embeddings().register_forward_hook(lambda *call: call[2].requires_grad_(True))]
    for block, members in enumerate(layers):
        handles += [layer.register_forward_hook(partial(passed, block)) for layer in members]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Influence:
    """EK-FAC of one checkpoint of a causal language model, and the direction in which its reference pulls.

    The model is taken over: its weights are frozen. `damping` is λ over the mean eigenvalue. Each of `fit`, `aim` and
    `score` needs the ones before.
    """

    def __init__(self, model: Any, *, damping: float = 0.1, seed: int = 0) -> None:
        self._model = model.eval().requires_grad_(False)
        self._layers = linear_layers(model)
        self._device = model.get_input_embeddings().weight.device
        self._damping, self._seed = damping, seed
        self._blocks: dict[int, Block] = {}
        self._directions: dict[int, torch.Tensor] = {}
        self.of_reference = 0.0  # the mean influence of a token of the reference itself

    def fit(self, documents: Documents, *, draws: int = 1) -> None:
        """The factors of H, from documents as the model trains on, with labels that it samples, `draws` a position."""
        sums: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def add(block: int, inputs_BTI: torch.Tensor, gradients_BTO: torch.Tensor) -> None:
            flat_I, flat_O = inputs_BTI.flatten(0, 1), gradients_BTO.flatten(0, 1)
            both = flat_I.T @ flat_I, flat_O.T @ flat_O
            known = sums.get(block)
            sums[block] = both if known is None else (known[0] + both[0], known[1] + both[1])

        num_tokens = self._sampled(documents, draws, add)
        self._blocks = {}
        for block, (of_inputs, of_gradients) in sorted(sums.items()):
            self._blocks[block] = Block(
                layers=self._layers[block],
                inputs=_eigenvectors(of_inputs / num_tokens),
                outputs=_eigenvectors(of_gradients / num_tokens),
                eigenvalues=torch.zeros(len(of_gradients), len(of_inputs), dtype=of_inputs.dtype, device=self._device),
            )
        if not self._blocks:
            raise ValueError(f"{type(self._model).__name__} has no linear layer that sees every token")

        def measure(block: int, inputs_BTI: torch.Tensor, gradients_BTO: torch.Tensor) -> None:
            of_it = self._blocks[block]
            for inputs_TI, gradients_TO in zip(inputs_BTI @ of_it.inputs, gradients_BTO @ of_it.outputs, strict=True):
                of_it.eigenvalues += (gradients_TO.T @ inputs_TI) ** 2

        self._sampled(documents, draws, measure)
        for of_it in self._blocks.values():
            of_it.eigenvalues /= draws * len(documents)

    @property
    def blocks(self) -> list[Block]:
        """The blocks of H."""
        return list(self._blocks.values())

    @property
    def damping(self) -> float:
        """λ."""
        total = sum(float(block.eigenvalues.sum()) for block in self._blocks.values())
        return self._damping * total / sum(block.eigenvalues.numel() for block in self._blocks.values())

    def aim(self, reference: Documents) -> None:
        """Turn to a reference: documents on which the loss is to fall."""
        sums = {block: torch.zeros_like(of_it.eigenvalues) for block, of_it in self._blocks.items()}

        def add(block: int, inputs_BTI: torch.Tensor, gradients_BTO: torch.Tensor) -> None:
            sums[block] += gradients_BTO.flatten(0, 1).T @ inputs_BTI.flatten(0, 1)

        num_targets = 0
        for batch in batches(reference, self._model):
            num_targets += int(batch.is_target_BT.sum())
            with traced(self._model, self._layers, batch, add):
                torch.autograd.backward(token_losses(self._model, batch).sum())
        damping, self.of_reference = self.damping, 0.0
        for block, of_it in self._blocks.items():
            pull = sums[block] / num_targets
            turned = of_it.outputs.T @ pull @ of_it.inputs
            self._directions[block] = of_it.outputs @ (turned / (of_it.eigenvalues + damping)) @ of_it.inputs.T
            self.of_reference += float((pull * self._directions[block]).sum())

    def score(self, documents: Documents) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Influence of each document for a token of it, and its mean loss in nats.

        Positive where to train on it lowers the loss on the reference.
        """
        scores_B, losses_B = np.zeros(len(documents)), np.zeros(len(documents))
        for batch in batches(documents, self._model):
            sums_B = torch.zeros(len(batch.places), dtype=torch.float64, device=self._device)

            def add(block: int, inputs: torch.Tensor, gradients: torch.Tensor, sums: torch.Tensor = sums_B) -> None:
                sums += ((gradients @ self._directions[block]) * inputs).sum((1, 2))

            with traced(self._model, self._layers, batch, add):
                losses_BT = token_losses(self._model, batch)
                torch.autograd.backward(losses_BT.sum())
            num_targets_B = batch.is_target_BT.sum(1)
            scores_B[batch.places] = (sums_B / num_targets_B).cpu().numpy()
            losses_B[batch.places] = (losses_BT.detach().sum(1) / num_targets_B).cpu().numpy()
        return scores_B, losses_B

    def _sampled(self, documents: Documents, draws: int, take: Take) -> int:
        """Pass documents through with labels that the model samples; the number of all labels."""
        num_targets = 0
        for draw in range(draws):
            for number, batch in enumerate(batches(documents, self._model)):
                chance = torch.Generator(self._device).manual_seed((self._seed * 1009 + draw) * 100_003 + number)
                num_targets += int(batch.is_target_BT.sum())
                with traced(self._model, self._layers, batch, take):
                    torch.autograd.backward(token_losses(self._model, batch, chance).sum())
        return num_targets


def _eigenvectors(covariance: torch.Tensor) -> torch.Tensor:
    """In double precision, as their small eigenvalues matter."""
    vectors: torch.Tensor = torch.linalg.eigh(covariance.double())[1]
    return vectors.to(covariance.dtype)
