"""What both sides of a comparison are given: adapters where they belong, labels in one order, batches padded right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sidebyside.material import SIZES, joined_rows, make_adapter, make_model
from sidebyside.peer_plain import IGNORED, Padded
from sidebyside.prompts import reward
from sidebyside.texts import LABELS, texts_of
from tunesmith.objectives.labels import names_of


@pytest.mark.parametrize(("layers", "wanted"), [(None, {0, 1}), ([1], {1})])
def test_an_adapter_is_on_the_layers_asked_for(layers: list[int] | None, wanted: set[int], tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the `peft` extra")
    make_adapter(make_model(SIZES["tiny"]), tmp_path, layers=layers)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in tensors} == wanted
    assert len(tensors) == 14 * len(wanted)
    assert all(tensor.abs().max() > 0 for tensor in tensors.values())  # zeros would hide a wrong gradient of A


def test_the_upper_half_is_what_top_adapts() -> None:
    assert SIZES["32m"].top == [4, 5, 6, 7]
    assert SIZES["135m"].top == list(range(15, 30))


def test_labels_have_the_order_that_training_gives_them(tmp_path: Path) -> None:
    assert names_of(dict.fromkeys(LABELS, 1)) == list(LABELS)
    file = tmp_path / "rows"
    file.write_text("1 a fine film\n0 no fun at all\n")
    assert texts_of(file) == [
        {"text": "a fine film", "label": "positive"},
        {"text": "no fun at all", "label": "negative"},
    ]


def test_batches_are_padded_and_real_tokens_counted() -> None:
    collate = Padded(9)
    spoken = [{"input_ids": [1, 2, 3], "labels": [IGNORED, 2, 3]}, {"input_ids": [4], "labels": [4]}]
    batch = collate(spoken)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3], [4, IGNORED, IGNORED]]
    classes = collate([{"input_ids": [1, 2], "labels": 1}, {"input_ids": [3], "labels": 0}])
    assert torch.equal(classes["labels"], torch.tensor([1, 0]))
    assert collate.tokens == [4, 3]


def test_conversations_are_joined_to_the_full_length() -> None:
    rows = [{"messages": [number]} for number in range(5)]
    assert joined_rows(rows, [300, 300, 512, 100, 100]) == [{"messages": [0, 1]}, {"messages": [2]}]


def test_rewards_tell_answers_apart() -> None:
    assert reward("aab") == 0.02
    assert reward("") == 0.0
