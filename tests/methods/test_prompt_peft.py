"""PEFT's prompt folders both ways, and where PEFT itself goes wrong."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from prompting import METHODS, TOKENS, prompted, relative, values

from families import configs, tiny
from tunesmith.errors import UserError
from tunesmith.interop.peft_prompts import load_prompt

peft = pytest.importorskip("peft", reason="pip install 'tunesmith[peers]'")
FAMILIES = ["llama", "qwen3", "gemma3", "gpt2", "mistral", "phi3"]
CLOSE = 1e-5
IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))
WINDOWED = {"gemma3", "mistral"}
"""Their windows of 6 tokens: PEFT keeps a prefix in the cache, where windows hide it (see ``methods.deep``)."""
CONFIGS: dict[str, Any] = {
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS),
    "p-tuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS),
    "p-tuning-lstm": lambda: peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, encoder_reparameterization_type="LSTM", encoder_hidden_size=24
    ),
    "prefix": lambda: peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, prefix_projection=True, encoder_hidden_size=24
    ),
    "p-tuning-v2": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS),
}


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Those of real tokens: PEFT's prompts leave the virtual ones in."""
    with torch.no_grad():
        return model(input_ids=ids).logits[:, -ids.shape[1] :]


def shown(family: str, method: str) -> torch.Tensor:
    """One token where windows would hide some of a prefix of five in PEFT, else nine."""
    return IDS[:, :1] if family in WINDOWED and method in ("prefix", "p-tuning-v2") else IDS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_our_folder_in_peft(family: str, method: str, tmp_path: Path) -> None:
    model, attached = prompted(family, method)
    attached.save(tmp_path, values(attached))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected|keyword).*")
        theirs = peft.PeftModel.from_pretrained(tiny(family), str(tmp_path)).eval()
    ids = shown(family, method)
    assert relative(logits(tiny(family), ids), logits(model, ids)) > 0.1
    assert relative(logits(theirs, ids), logits(model, ids)) < CLOSE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_folder_here(family: str, method: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        theirs = peft.get_peft_model(tiny(family), CONFIGS[method]()).eval()
        theirs.save_pretrained(tmp_path)
        theirs = peft.PeftModel.from_pretrained(tiny(family), str(tmp_path)).eval()
    model = tiny(family)
    attached = load_prompt(model, tmp_path)
    ids = shown(family, method)
    assert relative(logits(model, ids), logits(theirs, ids)) < CLOSE
    again = tmp_path / "again"
    attached.save(again, values(attached))
    ours, original = (json.loads((folder / "adapter_config.json").read_text()) for folder in (again, tmp_path))
    for key in ("peft_type", "num_virtual_tokens", "token_dim", "num_attention_heads", "num_layers"):
        assert ours[key] == original[key], key


@pytest.mark.parametrize("method", ["prompt", "p-tuning"])
def test_bert_in_peft(method: str, tmp_path: Path) -> None:
    model, attached = prompted("bert", method)
    attached.save(tmp_path, values(attached))
    theirs = peft.PeftModelForFeatureExtraction.from_pretrained(tiny("bert"), str(tmp_path)).eval()
    assert relative(logits(theirs, IDS), logits(model, IDS)) < CLOSE


@pytest.mark.parametrize("method", ["prefix", "p-tuning-v2"])
def test_a_classifier_with_a_prefix(method: str, tmp_path: Path) -> None:
    """BERT with a new head, both ways. (A *prompt* on such a model differs on purpose: PEFT's pooler reads the first
    virtual token, ours the first real one.)"""
    from transformers import BertForSequenceClassification

    def fresh() -> Any:
        torch.manual_seed(0)
        return BertForSequenceClassification(configs()["bert"]).eval()

    model = fresh()
    torch.manual_seed(1)
    attached = METHODS[method].attach(model, heads=["classifier"])
    with torch.no_grad():
        model.classifier.weight.mul_(3.0)
    attached.save(tmp_path / "ours", values(attached))
    theirs = peft.PeftModel.from_pretrained(fresh(), str(tmp_path / "ours")).eval()
    mask = torch.ones_like(IDS)
    with torch.no_grad():
        wanted = model(input_ids=IDS, attention_mask=mask).logits
        assert relative(theirs(input_ids=IDS, attention_mask=mask).logits, wanted) < CLOSE
        theirs.save_pretrained(tmp_path / "theirs")
        back = fresh()
        load_prompt(back, tmp_path / "theirs")
        assert relative(back(input_ids=IDS, attention_mask=mask).logits, wanted) < CLOSE


@pytest.mark.parametrize("method", ["prompt", "p-tuning-v2"])
def test_generation_is_peft_s(method: str, tmp_path: Path) -> None:
    """Greedy, one prompt at a time, on a model without windows."""
    model, attached = prompted("llama", method)
    attached.save(tmp_path, values(attached))
    theirs = peft.PeftModel.from_pretrained(tiny("llama"), str(tmp_path)).eval()
    options = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0}
    asked = {"input_ids": IDS[:1], "attention_mask": torch.ones_like(IDS[:1])}
    assert torch.equal(model.generate(**asked, **options), theirs.generate(**asked, **options))


def test_what_is_no_prompt_is_refused(tmp_path: Path) -> None:
    _, attached = prompted("llama", "prompt")
    attached.save(tmp_path, values(attached))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for wrong, said in (
        ({"peft_type": "LORA"}, "got LORA; allowed: PREFIX_TUNING"),
        ({"num_transformer_submodules": 2}, "encoder-decoder"),
        ({"num_virtual_tokens": 3}, "got 3; allowed: 5"),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | wrong))
        model = tiny("llama")
        with pytest.raises(UserError) as told:
            load_prompt(model, tmp_path)
        assert said in str(told.value)
        assert told.value.code == ("adapter-mismatch" if "num_virtual_tokens" in wrong else "unsupported-adapter")
        assert not hasattr(model.base_model, "virtual"), "the model is left alone"
