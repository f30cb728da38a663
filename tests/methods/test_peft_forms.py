"""AdaLoRA, (IA)³ and norms in PEFT's folders, both ways: equal logits on tiny models of each family."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop.folders import attach_folder
from tunesmith.methods.adalora import Adalora
from tunesmith.methods.ia3 import Ia3
from tunesmith.methods.norms import Norms

peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
FAMILIES = ["llama", "qwen3", "gemma3", "mistral", "phi3", "gpt2", "bert"]
IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def randomised(model: Any, size: float = 0.3) -> Any:
    """Every trained parameter away from its start."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model


def in_peft(family: str, folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected).*")
        warnings.filterwarnings("ignore", message=".*Unsupported layer type.*")
        return peft.PeftModel.from_pretrained(tiny(family), str(folder)).eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [
        Adalora(rank=3, target_rank=2),
        Adalora(rank=1, target_rank=1, alpha=7.5, targets="attention", dropout=0.1),
        Ia3(),
        Ia3(targets=["attention"], feedforward=[]),
        Norms(),
        Norms(targets="blocks"),
    ],
    ids=["adalora", "adalora-1", "ia3", "ia3-attention", "norms", "norms-blocks"],
)
def test_our_folder_in_peft_and_here(method: Any, family: str, tmp_path: Path) -> None:
    ours = tiny(family)
    attached = method.attach(ours)
    randomised(ours)
    attached.save(tmp_path, {n: p.detach() for group in attached.groups() for n, p in group.parameters.items()})
    after = logits(ours)
    assert not torch.allclose(after, logits(tiny(family)), atol=1e-2)
    torch.testing.assert_close(logits(in_peft(family, tmp_path)), after, atol=1e-5, rtol=1e-5)
    again = tiny(family)
    attach_folder(again, tmp_path)
    assert torch.equal(logits(again), after)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_pruned_adalora_in_peft(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    attached = Adalora(rank=4, target_rank=2).attach(model)
    randomised(model)
    generator = torch.Generator().manual_seed(3)
    attached.kept = {path: torch.rand(4, generator=generator) > 0.5 for path in attached.svd}
    first = next(iter(attached.svd))
    attached.kept[first] = torch.zeros(4, dtype=torch.bool)
    with torch.no_grad():
        for path, mask in attached.kept.items():
            attached.svd[path].lora_E.masked_fill_(~mask[:, None], 0.0)
    attached.save(tmp_path, attached.parameters)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*zero-element tensors.*")
        theirs = in_peft(family, tmp_path)
    torch.testing.assert_close(logits(theirs), logits(model), atol=1e-5, rtol=1e-5)


TARGETS = {"gpt2": ["c_attn", "c_fc"], "bert": ["query", "output.dense"], "phi3": ["qkv_proj", "down_proj"]}


def saved_by_peft(family: str, folder: Path, config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(tiny(family), config).eval()
        randomised(model)
        model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["adalora", "ia3", "norms"])
def test_peft_folder_here(kind: str, family: str, tmp_path: Path) -> None:
    targets = TARGETS.get(family, ["q_proj", "down_proj"])
    if kind == "adalora":
        config = peft.AdaLoraConfig(init_r=5, target_r=3, total_step=20, tinit=2, lora_alpha=6, target_modules=targets)
    elif kind == "ia3":
        config = peft.IA3Config(target_modules=targets, feedforward_modules=targets[1:])
    else:
        norms = {"gpt2": ["ln_1", "ln_f"], "bert": ["LayerNorm"]}.get(family, ["input_layernorm", "norm"])
        config = peft.LNTuningConfig(target_modules=norms)
    theirs = saved_by_peft(family, tmp_path, config)
    model = tiny(family)
    attached: Any = attach_folder(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)
    if kind == "adalora":
        read = attached.config
        assert (read.rank, read.target_rank, read.alpha, read.t_init, read.delta_t) == (5, 3, 6.0, 2.0, 1.0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adalora_that_peft_trained_and_pruned(family: str, tmp_path: Path) -> None:
    targets = TARGETS.get(family, ["q_proj", "down_proj"])
    config = peft.AdaLoraConfig(init_r=4, target_r=2, total_step=6, lora_alpha=6, target_modules=targets, tfinal=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(tiny(family), config)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
        for step in range(1, 7):
            model(input_ids=IDS, labels=IDS).loss.backward()
            optimizer.step()
            model.base_model.update_and_allocate(step)
            optimizer.zero_grad()
        model.eval().save_pretrained(tmp_path)
    pattern = json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    assert 0 < sum(map(sum, pattern.values())) < 4 * len(pattern)
    ours = tiny(family)
    attach_folder(ours, tmp_path)
    torch.testing.assert_close(logits(ours), logits(model), atol=1e-5, rtol=1e-5)


def test_biases_that_peft_trained_beside_an_adalora_are_refused(tmp_path: Path) -> None:
    config = peft.AdaLoraConfig(init_r=2, target_r=1, total_step=5, target_modules=["c_attn"], bias="all")
    saved_by_peft("gpt2", tmp_path, config)
    model = tiny("gpt2")
    with pytest.raises(UserError) as caught:
        attach_folder(model, tmp_path)
    assert caught.value.code == "adapter-mismatch"
    assert torch.equal(logits(model), logits(tiny("gpt2"))), "the model is left alone"


def test_gradients_equal_those_of_peft(tmp_path: Path) -> None:
    ours = tiny("gpt2")
    attached = Adalora(rank=3, target_rank=2).attach(ours)
    randomised(ours)
    attached.save(tmp_path, attached.parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.PeftModel.from_pretrained(tiny("gpt2"), str(tmp_path), is_trainable=True).eval()
    for model in (ours, theirs):
        out = model(input_ids=IDS).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
    expected = {name.replace(".default", ""): p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(attached.parameters) == set(expected)
    for name, parameter in attached.parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)
