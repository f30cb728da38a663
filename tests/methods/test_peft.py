"""Equality with PEFT: forward and backward of a layer, and adapter folders in both directions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop.peft import load_adapter
from tunesmith.methods.lora import Lora

peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
FAMILIES = ["llama", "qwen3", "gemma3", "mistral", "phi3", "gpt2", "bert"]
IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


LAST = "o_proj|out_proj|c_proj|down_proj|output.dense"
PATTERN = {LAST: 2, r"mlp\..*|intermediate.*": 6}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def randomised(model: Any) -> Any:
    """Every trained parameter away from its start."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                small = any(word in name for word in ("lora_A", "bias", "embed", "head", "wte"))
                size = 0.05 if small else 0.3
                parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model


def saved_by_us(family: str, folder: Path, **options: Any) -> Any:
    model = tiny(family)
    attached = Lora(**options).attach(model)
    randomised(model)
    attached.save(folder, {n: p.detach() for group in attached.groups() for n, p in group.parameters.items()})
    return model


def saved_by_peft(family: str, folder: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(tiny(family), peft.LoraConfig(**options)).eval()
        randomised(model)
        model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [
        {"rank": 4},
        {"rank": 3, "alpha": 5.5, "rslora": True, "targets": "attention", "dropout": 0.1},
        {"rank": 2, "targets": "mlp", "bias": "all"},
        {"rank": 2, "bias": "lora_only"},
        {"rank": 4, "dora": True},
        {"rank": 4, "init": "pissa"},
        {"rank": 3, "alpha": 5.0, "rslora": True, "dora": True, "init": "pissa-fast", "targets": "mlp"},
        {"rank": 4, "layers": [1], "rank_pattern": PATTERN, "alpha_pattern": {r".*1\..*": 7.5}, "rslora": True},
    ],
    ids=["plain", "rslora", "bias-all", "bias-lora-only", "dora", "pissa", "dora-pissa", "patterns"],
)
def test_our_folder_in_peft(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    ours = saved_by_us(family, tmp_path, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected).*")
        theirs = peft.PeftModel.from_pretrained(tiny(family), str(tmp_path)).eval()
    assert not torch.allclose(logits(ours), logits(tiny(family)), atol=1e-2)
    torch.testing.assert_close(logits(theirs), logits(ours), atol=1e-5, rtol=1e-5)


TARGETS = {"gpt2": ["c_attn", "c_fc"], "bert": ["query", "output.dense"], "phi3": ["qkv_proj", "down_proj"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_folder_here(family: str, tmp_path: Path) -> None:
    targets = TARGETS.get(family, ["q_proj", "down_proj"])
    theirs = saved_by_peft(family, tmp_path, r=4, lora_alpha=6, target_modules=targets)
    model = tiny(family)
    load_adapter(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": r"model\.layers\.1\..*(q|down)_proj"},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": "all-linear", "exclude_modules": ["q_proj"], "use_rslora": True, "lora_dropout": 0.1},
        {"target_modules": ["v_proj"], "bias": "all", "init_lora_weights": "gaussian"},
        {"target_modules": ["q_proj", "down_proj"], "use_dora": True, "lora_dropout": 0.2},
        {
            "target_modules": ["q_proj", "up_proj"],
            "rank_pattern": {"q_proj": 2, "nowhere": 3},
            "alpha_pattern": PATTERN,
        },
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj", "down_proj"], "init_lora_weights": "pissa"},
    ],
    ids=["regex", "all-linear", "layers", "head", "exclude-rslora", "bias", "dora", "patterns", "whole", "pissa"],
)
def test_peft_folder_with_options(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = saved_by_peft("llama", tmp_path, r=4, lora_alpha=6, **options)
    model = tiny("llama")
    attached = load_adapter(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)
    assert attached.config.dropout == options.get("lora_dropout", 0.0)


def test_peft_biases_of_conv1d_and_bert(tmp_path: Path) -> None:
    for family in ("gpt2", "bert"):
        theirs = saved_by_peft(family, tmp_path / family, r=4, target_modules=TARGETS[family], bias="all")
        model = tiny(family)
        load_adapter(model, tmp_path / family)
        torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"init_lora_weights": "pissa_niter_2"}, "it changes the base"),
        ({"init_lora_weights": "olora"}, "it changes the base"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "lora_embedding_A"),
    ],
)
def test_what_we_lack_is_refused_by_name(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    saved_by_peft("llama", tmp_path, **{"r": 4, "target_modules": ["q_proj"], **options})
    model = tiny("llama")
    with pytest.raises(UserError) as caught:
        load_adapter(model, tmp_path)
    assert caught.value.code == "unsupported-adapter"
    assert said in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters()), "the model is left alone"


def test_another_kind_and_another_base_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[])
        peft.get_peft_model(tiny("llama"), config).save_pretrained(tmp_path / "ia3")
    with pytest.raises(UserError, match="IA3"):
        load_adapter(tiny("llama"), tmp_path / "ia3")
    saved_by_us("llama", tmp_path / "ours", rank=2)
    with pytest.raises(UserError, match="of its 14 layers are in it"):
        load_adapter(tiny("phi3"), tmp_path / "ours")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_gradients_equal_those_of_peft(family: str, tmp_path: Path) -> None:
    ours = saved_by_us(family, tmp_path, rank=4)
    theirs = peft.PeftModel.from_pretrained(tiny(family), str(tmp_path), is_trainable=True).eval()
    for model in (ours, theirs):
        out = model(input_ids=IDS).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
    got = {f"base_model.model.{name}.weight": p.grad for name, p in ours.named_parameters() if p.requires_grad}
    expected = {name.replace(".default", ""): p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(got) == set(expected)
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)
