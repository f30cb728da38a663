"""Every tuning method trains a task head: its proofs pass, its head is stored, and a loaded run says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.run.test_task_runs import recipe, rows_of, text, write

from tiny_base import make_base
from tiny_task import make_bert
from tunesmith.run import train
from tunesmith.run.predict import predict

METHODS: dict[str, dict[str, Any]] = {
    "freeze": {},
    "lora": {"rank": 4},
    "adalora": {},
    "ia3": {},
    "bitfit": {"add": True},
    "norms": {},
    "adapter": {},
    "prompt": {},
    "p-tuning": {},
    "prefix": {},
    "p-tuning-v2": {},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {"bert": make_bert(folder / "bert"), "llama": make_base(folder / "llama")}


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_trains_and_stores_the_head(bases: dict[str, Path], tmp_path: Path, name: str, family: str) -> None:
    options = METHODS[name] if (name, family) != ("bitfit", "bert") else {}
    data = write(tmp_path / "rows.jsonl", rows_of("classify"))
    asked = recipe(bases[family], data, {"name": "classify"}, {"name": name, **options}, steps=3)
    run = train(asked, out=tmp_path / "run")
    proofs = run.read("proof.json")["proofs"]
    assert len(proofs) >= 7
    assert all(one["passed"] for one in proofs)
    one, other = (predict(run, [text(4)])[0]["probabilities"]["red"] for _ in range(2))
    assert one == other
    trained = {"classifier", "score"}
    from tunesmith.run.use import open_run

    names = open_run(run).attached.groups()
    assert any(part in trained for group in names for key in group.parameters for part in key.split("."))
