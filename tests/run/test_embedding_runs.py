"""Whole runs of ``embed`` on tiny bases: learned, proven, embedded, merged, read by sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.run.test_task_runs import recipe, write

from tiny_base import make_base
from tiny_task import WORDS, make_bert
from tunesmith.errors import UserError
from tunesmith.run import train
from tunesmith.run.embedding import embed
from tunesmith.run.predict import predict
from tunesmith.run.use import merge

THINGS = ["cat", "dog", "number", "colour", "red", "blue", "green", "which"]


def pairs(count: int = 120) -> list[dict[str, Any]]:
    """An anchor that names two things belongs to the text that names them the other way round."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        one, other = rng.choice(THINGS, 2, replace=False)
        filler = [str(word) for word in rng.choice(WORDS[-4:], 2)]
        rows.append({"anchor": f"the {one} {filler[0]} {other}", "positive": f"{other} {filler[1]} and {one} ."})
    return rows


def scored(count: int = 120) -> list[dict[str, Any]]:
    """Two sentences share none, one or two of their things; the less they share, the higher their score."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        drawn = [str(one) for one in rng.choice(THINGS, 4, replace=False)]
        same = number % 3
        left, right = drawn[:2], [*drawn[:same], *drawn[2 : 4 - same]]
        rows.append({"sentence1": " ".join(left), "sentence2": " and ".join(right), "score": 2.0 - same})
    return rows


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {"bert": make_bert(folder / "bert"), "llama": make_base(folder / "llama")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "method"), [("bert", "full"), ("bert", "lora"), ("llama", "full"), ("llama", "lora")]
)
def test_a_run_finds_what_belongs_together(bases: dict[str, Path], tmp_path: Path, family: str, method: str) -> None:
    data = write(tmp_path / "rows.jsonl", pairs())
    options = {"name": "lora", "rank": 8} if method == "lora" else "full"
    run = train(recipe(bases[family], data, {"name": "embed"}, options, steps=40), out=tmp_path / "run")
    assert run.proven
    report = run.summary()
    before, after = report["before"], report["after"]
    assert set(after) == {"loss", "recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "map"}
    assert after["mrr"]["value"] > before["mrr"]["value"]
    assert report["changes"]["task"]["mrr"]["verdict"] == "better"
    assert run.recipe.objective.fields["loss_function"] == "contrastive"
    close, far = "the cat very dog", "green"
    one, other, third = embed(run, [close, "dog very and cat .", far])
    assert float(one @ other) > float(one @ third)


def test_vectors_are_the_same_whatever_stands_beside_them(bases: dict[str, Path], tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", pairs(60))
    run = train(recipe(bases["bert"], data, {"name": "embed"}, steps=4), out=tmp_path / "run")
    texts = ["the cat", "a dog and the very blue number", "red"]
    together = embed(run, texts)
    assert together.shape == (3, 64)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert np.allclose(together, np.concatenate([embed(run, [one]) for one in texts]), atol=1e-5)
    short = embed(run, texts, dimensions=8)
    assert np.allclose(short, together[:, :8] / np.linalg.norm(together[:, :8], axis=1, keepdims=True), atol=1e-6)
    assert predict(run, texts[:1])[0]["vector"] == pytest.approx(together[0].tolist(), abs=1e-6)
    assert embed(run, []).shape == (0, 64)
    with pytest.raises(UserError, match="text 2 is empty"):
        embed(run, ["the cat", "  "])


@pytest.mark.peer
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_sentence_transformers_load_what_is_merged(bases: dict[str, Path], tmp_path: Path, pooling: str) -> None:
    peer = pytest.importorskip("sentence_transformers")
    data = write(tmp_path / "rows.jsonl", pairs(60))
    asked = recipe(bases["bert"], data, {"name": "embed", "pooling": pooling}, {"name": "lora", "rank": 4}, steps=4)
    run = train(asked, out=tmp_path / "run")
    told = merge(run, tmp_path / "plain")
    assert told["vectors"] == "sentence-transformers loads this folder"
    texts = ["the cat", "a dog and the very blue number"]
    theirs = peer.SentenceTransformer(str(tmp_path / "plain"), device="cpu").encode(texts)
    assert np.allclose(theirs, embed(run, texts), atol=1e-5)


def test_a_decoder_is_merged_and_says_what_its_vectors_need(bases: dict[str, Path], tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", pairs(60))
    run = train(recipe(bases["llama"], data, {"name": "embed"}, steps=3), out=tmp_path / "run")
    told = merge(run, tmp_path / "plain")
    assert "would not add the end-of-text token" in told["vectors"]
    assert not (tmp_path / "plain" / "modules.json").exists()


@pytest.mark.slow
def test_scores_are_followed(bases: dict[str, Path], tmp_path: Path) -> None:
    data = write(tmp_path / "rows.jsonl", scored())
    run = train(recipe(bases["bert"], data, {"name": "embed"}, steps=30, learning_rate=1e-3), out=tmp_path / "run")
    assert run.recipe.objective.fields["loss_function"] == "cosent"
    report = run.summary()
    assert set(report["after"]) == {"loss", "pearson", "spearman"}
    assert report["after"]["spearman"]["value"] > report["before"]["spearman"]["value"] + 0.5


def test_a_run_without_vectors_says_so(bases: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": f"the cat {number}", "label": number % 2} for number in range(40)]
    asked = recipe(bases["bert"], write(tmp_path / "rows.jsonl", rows), {"name": "classify"}, steps=2)
    run = train(asked, out=tmp_path / "run")
    with pytest.raises(UserError, match="no vectors") as refused:
        embed(run, ["the cat"])
    assert refused.value.code == "no-vectors"
