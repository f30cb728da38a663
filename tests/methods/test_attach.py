"""Python's front door: a method alone on any model, told in clear words what is wrong, and named at the top level."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tunesmith as ts
from families import configs, tiny
from tunesmith.errors import UserError
from tunesmith.methods import TABLE

IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def classifier() -> Any:
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    return BertForSequenceClassification(configs()["bert"]).eval()


def values(attached: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach() for group in attached.groups() for name, value in group.parameters.items()}


def scores(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


@pytest.mark.parametrize("name", ["lora", "ia3", "adalora", "p-tuning-v2"])
def test_the_head_of_a_classifier_is_trained_and_read_by_peft(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    model = classifier()
    attached = ts.attach(model, name)
    assert model.classifier.weight.requires_grad
    with torch.no_grad():
        model.classifier.weight.mul_(3.0)
        for value in values(attached).values():
            value.add_(0.01)
    attached.save(tmp_path, values(attached))
    theirs = peft.PeftModel.from_pretrained(classifier(), str(tmp_path)).eval()
    torch.testing.assert_close(scores(theirs), scores(model), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(scores(model), scores(classifier()), atol=1e-2)


def test_without_its_head_a_classifier_is_saved_as_what_peft_reads(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    model = classifier()
    attached = ts.attach(model, ts.Lora(rank=4), heads=())
    assert not model.classifier.weight.requires_grad
    with torch.no_grad():
        for value in values(attached).values():
            value.add_(0.05)
    attached.save(tmp_path, values(attached))
    theirs = peft.PeftModel.from_pretrained(classifier(), str(tmp_path)).eval()
    torch.testing.assert_close(scores(theirs), scores(model), atol=1e-4, rtol=1e-4)


def test_a_language_model_has_no_head_to_train_beside() -> None:
    attached = ts.attach(tiny("llama"), ts.Lora(rank=4))
    assert all("lora_" in name for name in values(attached))


def test_mistakes_are_told() -> None:
    for mistake, code, said in [
        (lambda: ts.Lora(rank=-1), "out-of-range", "Lora.rank is out of range; got -1; allowed: more than 0"),
        (lambda: ts.Lora(rnk=1), "unknown-key", "Did you mean 'rank'?"),
        (ts.Peft, "missing-value", "Peft.kind is missing"),
        (lambda: ts.Sft(rank=1), "unknown-key", "Sft.rank"),
        (lambda: ts.attach(tiny("llama"), "lorra"), "unknown-method", "Did you mean 'lora'?"),
        (lambda: ts.attach(tiny("llama"), ts.Lora), "not-a-method", "Call it: Lora()."),
        (lambda: ts.attach(tiny("llama"), {"rank": 4}), "not-a-method", "got {'rank': 4}"),
    ]:
        with pytest.raises(UserError) as caught:
            mistake()
        assert caught.value.code == code
        assert said in str(caught.value)


def test_a_recipe_still_names_the_option_s_place() -> None:
    from tunesmith.recipe import Part
    from tunesmith.recipe.parts import build

    with pytest.raises(UserError, match=r"^method\.rank is out of range"):
        build(TABLE, Part(name="lora", rank=-1))


def test_every_method_is_at_the_top() -> None:
    classes = {TABLE.load(name) for name in TABLE.entries}
    named = {getattr(ts, name) for name in dir(ts) if not name.startswith("_")}
    assert classes <= named
    assert set(dir(ts)) == {*ts.__all__, "__version__"}


QUIET = """
import sys, logging, warnings
sys.path[:0] = ["tests"]
from families import tiny
import tunesmith as ts
ts.Peft(kind="VERA", options={"r": 4}).attach(tiny("llama"))
logging.getLogger("bitsandbytes.backends.cpu.ops").warning("still heard")
"""


@pytest.mark.slow
def test_peft_is_put_in_without_a_word() -> None:
    pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", QUIET], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "still heard"


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        (ts.PTuningV2(), 0.2),
        (ts.Prompt(head_rate=0.05), 0.05),
        (ts.Lora(), 1.0),
        (ts.Lora(head_rate=10, bias="all"), 10.0),
        (ts.Adapter(head_rate=4), 4.0),
    ],
)
def test_new_heads_learn_at_a_rate_of_their_own(method: Any, rate: float) -> None:
    attached = ts.attach(classifier(), method)
    heads = [group for group in attached.groups() if any("classifier" in name for name in group.parameters)]
    assert [(group.rate, group.decay, len(group.parameters)) for group in heads] == [(rate, False, 2)]
    assert {group.rate for group in attached.groups() if group not in heads} == {1.0}
