from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from curation.scoring import influence
from curation.scoring.influence import Influence, linear_layers
from tests.curation.scoring import toy

SAMPLE = 5  # of the toy's documents every so many make the factors, ours and the exact ones


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Matrices of twelve rows are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def learned(_one_thread):
    documents, reference = toy.topics()
    return toy.trained(documents), documents, reference


def _influence(model, documents, reference, damping: float) -> Influence:
    of_model = Influence(model, damping=damping)
    of_model.fit(list(documents))
    of_model.aim(list(reference))
    return of_model


@pytest.fixture(scope="module")
def scored(learned) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Exact and our influence of all documents, by damping."""
    model, documents, reference = learned
    fisher = toy.fisher(model, documents[::SAMPLE])
    return {
        damping: (
            toy.exact_influence(model, documents, reference, fisher, damping),
            _influence(model, documents[::SAMPLE], reference, damping).score(list(documents))[0],
        )
        for damping in (0.1, 1.0)
    }


@pytest.mark.parametrize(("damping", "least"), [(0.1, 0.84), (1.0, 0.93)])
def test_influence_is_nearly_that_of_the_exact_damped_fisher_matrix(scored, damping: float, least: float) -> None:
    exact, ours = scored[damping]
    assert np.corrcoef(exact, ours)[0, 1] >= least


def test_ten_documents_a_cluster_find_the_two_clusters_of_the_reference(scored) -> None:
    by_topic = scored[0.1][1].reshape(toy.TOPICS, -1)
    rng = np.random.default_rng(2)
    means = [[rng.choice(topic, 10, replace=False).mean() for topic in by_topic] for _ in range(400)]
    right = [set(np.argsort(of_draw)[-2:]) == set(toy.REFERENCE_TOPICS) for of_draw in means]
    assert np.mean(right) >= 0.97


def test_layers_apart_are_scored_as_kronfluence_scores_them(learned, tmp_path, monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.curation.scoring.kronfluence_peer import pairwise_scores
    model, documents, reference = learned
    documents = documents[::4]
    monkeypatch.setattr(
        influence, "linear_layers", lambda model: [[one] for many in linear_layers(model) for one in many]
    )
    ours = _influence(model, documents, reference, 0.1)
    scores = ours.score(list(documents))[0] * toy.LENGTH * reference[:, 1:].size

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peers = pairwise_scores(model, documents, reference, ours.damping, tmp_path)

    np.testing.assert_allclose(scores, peers, rtol=1e-3, atol=1e-6 * np.abs(peers).max())


def _llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, attention_bias=True, pad_token_id=None,
        )
    )  # fmt: skip


def _gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    )


def _plain_product(model, documents, reference) -> np.ndarray:
    """Gradients by autograd, of all weights and biases of the layers, multiplied."""
    layers = [layer for block in linear_layers(model) for layer in block]
    weights = [parameter for layer in layers for parameter in layer.parameters()]
    for weight in weights:
        weight.requires_grad_(True)

    def gradient(ids) -> torch.Tensor:
        ids = torch.as_tensor(ids)[None]
        loss = torch.nn.functional.cross_entropy(model(input_ids=ids[:, :-1]).logits[0], ids[0, 1:], reduction="sum")
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    pull = sum(gradient(ids) for ids in reference) / sum(len(ids) - 1 for ids in reference)
    return np.array([float(gradient(ids) @ pull) / (len(ids) - 1) for ids in documents])


@pytest.mark.parametrize("make", [_llama, _gpt2])
def test_without_curvature_influence_is_the_product_of_gradients_in_any_model(make) -> None:
    torch.manual_seed(0)
    model = make().double().eval()
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 64, length) for length in (2, 9, 30, 31, 32, 12)]
    expected = _plain_product(model, documents, documents[:2])

    damped = _influence(model, documents, documents[:2], 1e12)

    np.testing.assert_allclose(damped.score(documents)[0] * damped.damping, expected, rtol=1e-6)


def test_queries_keys_and_values_are_one_block() -> None:
    model = _llama()
    names = {module: name for name, module in model.named_modules()}
    blocks = [[names[layer].split(".")[-1] for layer in block] for block in linear_layers(model)]
    assert blocks.count(["q_proj", "k_proj", "v_proj"]) == 2
    assert sorted(len(block) for block in blocks) == [1] * 8 + [3] * 2
    assert all("lm_head" not in block for block in blocks)


def test_a_document_scores_the_same_among_others(learned) -> None:
    model, documents, reference = learned
    of_model = _influence(model, documents[:40], reference, 0.1)
    some = [documents[0], documents[1][:5], documents[2][:9], documents[3], documents[70][:2]]

    together, losses = of_model.score(some)

    for document, score, loss in zip(some, together, losses, strict=True):
        alone = of_model.score([document])
        assert (score, loss) == pytest.approx((alone[0][0], alone[1][0]), rel=1e-9)


def test_a_document_without_a_next_token_is_refused(learned) -> None:
    model, documents, reference = learned
    of_model = _influence(model, documents[:8], reference, 0.1)
    with pytest.raises(ValueError, match="one token"):
        of_model.score([documents[0][:1]])


def test_a_model_without_such_layers_is_refused() -> None:
    class Bag(toy.Toy):
        def forward(self, input_ids, attention_mask=None, use_cache=False):
            return type("Output", (), {"logits": self.u(self.e(input_ids))})

    with pytest.raises(ValueError, match="no linear layer"):
        Influence(Bag()).fit([np.arange(5)])


def test_a_model_that_uses_a_layer_twice_is_refused(learned) -> None:
    class Twice(toy.Toy):
        def forward(self, input_ids, attention_mask=None, use_cache=False):
            h = self.o_proj(self.o_proj(self.e(input_ids)))
            return type("Output", (), {"logits": self.u(h)})

    with pytest.raises(ValueError, match="Twice uses a layer twice"):
        Influence(Twice()).fit([np.arange(5)])
