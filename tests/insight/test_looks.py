"""Looks at a small run against transformers itself: what is said about its inside is what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from made_runs import make_run
from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.insight import LOOKS, activations, attention, contributions, importance, influence, lens, tokens, weights
from tunesmith.insight.rows import row_gradient
from tunesmith.insight.subject import Subject
from tunesmith.run import Run, merge
from tunesmith.run.inspecting import inspect, subject_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("looked")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return make_run(folder, "lora")


@pytest.fixture(scope="module")
def both(folder: Path, run: Run) -> dict[str, Any]:
    """Base and tuned model as transformers loads them."""
    from transformers import AutoModelForCausalLM

    merge(run, folder / "merged")
    places = {"base": folder / "base", "tuned": folder / "merged"}
    return {
        side: AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, attn_implementation="eager").eval()
        for side, place in places.items()
    }


@pytest.fixture
def subject(run: Run) -> Iterator[Subject]:
    yield subject_of(run, prompt="What is very 3 and 3?", answer="It is 6. Sure.", rows=True)


@torch.no_grad()
def reference(model: Any, ids: list[int], **wanted: bool) -> Any:
    return model(torch.tensor([ids]), use_cache=False, **wanted)


def test_token_losses_are_those_of_transformers(subject: Subject, both: dict[str, Any]) -> None:
    found, ids = tokens.look(subject), subject.whole
    for side, model in both.items():
        logits = reference(model, ids).logits[0, :-1]
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        assert [one[side] for one in found["tokens"]] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert "".join([found["first"], *(one["text"] for one in found["tokens"])]) == subject.decode(ids)
    assert found["tokens"][found["answer_from"]]["text"] == subject.token(subject.asked.answer[0])


def test_the_last_block_of_the_lens_is_the_model_itself(subject: Subject, both: dict[str, Any]) -> None:
    found = lens.look(subject)
    for side, model in both.items():
        given = reference(model, list(subject.asked.prompt), output_hidden_states=True)
        last = given.logits[0, -1].softmax(-1)
        told = found["blocks"][-1][side]
        assert told["wanted"] == pytest.approx(float(last[subject.asked.answer[0]]), abs=1e-5)
        assert told["probabilities"] == pytest.approx(last.topk(3).values.tolist(), abs=1e-5)
        assert told["rank"] == int((last > last[subject.asked.answer[0]]).sum()) + 1
        with torch.no_grad():
            first = model.lm_head(model.model.norm(given.hidden_states[1][0, -1])).softmax(-1)
        assert found["blocks"][0][side]["wanted"] == pytest.approx(float(first[subject.asked.answer[0]]), abs=1e-5)


def test_attention_maps_are_those_of_transformers(subject: Subject, both: dict[str, Any]) -> None:
    found = attention.look(subject)
    ids = subject.whole[-attention.LONGEST :]
    for side, model in both.items():
        for block, wanted in zip(
            found["blocks"], reference(model, ids, output_attentions=True).attentions, strict=True
        ):
            assert torch.allclose(torch.tensor(block[side]), wanted[0].mean(0), atol=1e-4)
    assert len(found["tokens"]) == len(ids)
    after = tokens.look(subject)  # the driver is back in place
    assert after["tokens"][0]["base"] > 0


def test_sizes_of_blocks_are_those_of_transformers(subject: Subject, both: dict[str, Any]) -> None:
    found = activations.look(subject)
    for side, model in both.items():
        norms = [
            reference(model, example.ids.tolist(), output_hidden_states=True).hidden_states[1][0].norm(dim=1)
            for example in subject.examples[: found["rows"]]
        ]
        assert found["blocks"][0][f"{side}_norm"] == pytest.approx(float(torch.cat(norms).mean()), rel=1e-4)
    assert all(0.5 < block["cka"] <= 1.0 + 1e-9 for block in found["blocks"])
    assert found["blocks"][-1]["moved"] > 0
    assert found["blocks"][0]["units"] == both["base"].config.intermediate_size


def test_changes_of_weights_are_those_of_the_merged_model(subject: Subject, both: dict[str, Any]) -> None:
    found = weights.look(subject)
    assert len(found["layers"]) == 7 * both["base"].config.num_hidden_layers
    for layer in found["layers"]:
        before, after = (both[side].get_submodule(layer["name"]).weight.detach() for side in ("base", "tuned"))
        assert layer["change"] == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-3)
        assert 1.0 <= layer["effective_rank"] <= 2.01, "the method has rank two"


def test_importance_is_the_mean_of_squared_gradients(subject: Subject) -> None:
    found = importance.look(replace(subject, examples=subject.examples[:2]))
    assert sum(layer["share"] for layer in found["layers"]) == pytest.approx(1.0)
    parameters = importance.trained(subject)
    name, value = next(iter(parameters.items()))
    path = importance.module_of(name)
    own = [one for key, one in parameters.items() if importance.module_of(key) == path]
    wanted = 0.0
    for example in subject.examples[:2]:
        for gradient in row_gradient(subject, own, example):
            assert gradient is not None
            wanted += float(gradient.double().square().sum()) / 2
    layer = next(layer for layer in found["layers"] if layer["name"] == path)
    assert layer["mean"] * layer["parameters"] == pytest.approx(wanted, rel=1e-6)
    assert value.shape[0] > 0


def test_the_row_that_is_the_answer_itself_moved_it_most(subject: Subject) -> None:
    own = subject.asked.example
    found = influence.look(replace(subject, training=[*subject.training[:3], own], where=lambda one: f"row {one.row}"))
    assert found["helped"][0]["where"] == "row -1"
    assert found["helped"][0]["similarity"] == pytest.approx(1.0, abs=1e-5)
    assert found["rows"] == 4
    with pytest.raises(UserError, match="no training rows"):
        influence.look(replace(subject, training=[]))


def test_contributions_are_what_an_answer_loses_without_a_token(subject: Subject, both: dict[str, Any]) -> None:
    found, prompt, answer = contributions.look(subject), list(subject.asked.prompt), list(subject.asked.answer)

    def nats(model: Any, asked: list[int]) -> float:
        logits = reference(model, [*asked, *answer]).logits[0, len(asked) - 1 : -1]
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum"))

    assert found["loss"] == pytest.approx(nats(both["tuned"], prompt), abs=1e-3)
    assert [one["text"] for one in found["tokens"]] == [subject.token(token) for token in prompt]
    for place in (1, len(prompt) - 1):
        fewer = [*prompt[:place], *prompt[place + 1 :]]
        for side, model in both.items():
            wanted = nats(model, fewer) - nats(model, prompt)
            assert found["tokens"][place][side] == pytest.approx(wanted, abs=2e-3)


def test_a_fully_tuned_model_is_looked_at_beside_its_base(folder: Path) -> None:
    run = make_run(folder, "whole", method="full")
    found = inspect(run, "tokens", prompt="What is 3 and 3?", answer="It is 6.")
    assert any(abs(one["base"] - one["tuned"]) > 1e-3 for one in found["tokens"])
    assert json.loads((run.folder / "insight" / "tokens.json").read_text()) == found
    changed = inspect(run, "weights", prompt="What is 3 and 3?", answer="It is 6.")
    assert all(layer["change"] > 0 for layer in changed["layers"])


def test_the_command_shows_tables_and_refuses_what_it_does_not_know(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(run.folder), "lens", "--prompt", "What is 3?", "--answer", "It is 3."]) == 0
    assert "tuned says" in capsys.readouterr().out
    assert main(["inspect", str(run.folder), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"healthy", "findings", "looked_for"}
    assert main(["inspect", str(run.folder), "weight"]) == 2
    assert "weights" in capsys.readouterr().err
    assert set(LOOKS.entries) >= {"weights", "influence"}


def test_all_looks_go_on_where_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt method changes no weights and carries keys and values of its own."""
    folder = make_run(tmp_path, method={"name": "prefix", "tokens": 2}, steps=2, evaluate_every=2).folder
    assert main(["inspect", str(folder), "all", "--prompt", "What is 3?", "--answer", "It is 3.", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(LOOKS.entries)
    assert "virtual tokens" in found["weights"]["refused"]
    assert "refused" in found["attention"]
    assert found["tokens"]["tokens"]
    assert main(["inspect", str(folder), "attention"]) == 2
    assert "cannot be drawn" in capsys.readouterr().err
