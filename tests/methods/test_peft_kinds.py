"""PEFT's own methods in this trainer: each kind keeps the contract on a tiny Llama, and PEFT reads what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.errors import UserError
from tunesmith.methods import TABLE
from tunesmith.methods.peft import BEYOND, OURS, Peft
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part

peft = pytest.importorskip("peft", reason="needs the PEFT library")
KINDS: dict[str, dict[str, Any]] = {
    "ADAMSS": {},
    "BOFT": {},
    "DELORA": {},
    "FOURIERFT": {"n_frequency": 50},
    "GRALORA": {},
    "HIRA": {"r": 4},
    "HRA": {},
    "LOHA": {"r": 4},
    "LOKR": {"r": 4},
    "MISS": {"r": 4},
    "OFT": {},
    "RANDLORA": {},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 4},
    "VBLORA": {"vector_length": 16, "num_vectors": 8, "topk": 2},
    "VERA": {"r": 8},
}
ids = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    model = tiny("llama")
    before = logits(model)
    attached = Peft(kind=kind, options=KINDS[kind]).attach(model)
    if attached.identity:
        assert torch.equal(logits(model), before)
    parameters = {name: value for group in attached.groups() for name, value in group.parameters.items()}
    assert {id(value) for value in model.parameters() if value.requires_grad} == set(map(id, parameters.values()))
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.03)
    model.train()
    for _ in range(3):
        out = model(input_ids=ids).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    after = logits(model)
    assert (after - before).abs().max() > 1e-3
    with attached.off():
        assert torch.equal(logits(model), before)
    values = {name: value.detach().clone() for name, value in parameters.items()}
    attached.save(tmp_path, values)
    wrapped = peft.PeftModel.from_pretrained(tiny("llama"), str(tmp_path)).eval()
    torch.testing.assert_close(logits(wrapped), after, atol=1e-5, rtol=1e-5)
    fresh = tiny("llama")
    torch.manual_seed(9)
    Peft(kind=kind, options=KINDS[kind]).attach(fresh).load(tmp_path)
    assert torch.equal(logits(fresh), after)
    torch.testing.assert_close(logits(attached.merge()), after, atol=1e-5, rtol=1e-5)


def test_the_kind_can_stand_in_the_name() -> None:
    assert build(TABLE, Part(name="peft:vera", options={"r": 8})).kind == "vera"


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("VEERA", {}, "unknown-peft-kind"),
        ("PREFIX_TUNING", {}, "unknown-peft-kind"),
        ("XLORA", {}, "unknown-peft-kind"),
        ("VERA", {"rank": 3}, "bad-peft-options"),
        ("C3A", {"block_size": 256}, "bad-peft-options"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, options: dict[str, Any], code: str) -> None:
    model = tiny("llama")
    with pytest.raises(UserError) as caught:
        Peft(kind=kind, options=options).attach(model)
    assert caught.value.code == code


def test_every_kind_of_peft_is_accounted_for() -> None:
    """A new release that adds a kind is noticed: it is tried above, a method here, or named as beyond reach."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    known = {str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert set(OURS) | set(BEYOND) | set(KINDS) <= known
