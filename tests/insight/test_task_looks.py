"""Looks at models with task heads, and at rows of several answers: against gradients and losses computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tiny_base import make_base
from tiny_task import make_bert
from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.insight import activations, contributions, importance, influence
from tunesmith.insight.rows import row_gradient
from tunesmith.insight.subject import texts_of
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train
from tunesmith.run.inspecting import inspect, subject_of

COLOURS = ("red", "blue")
WORKS = {"weights", "importance", "activations", "attention", "contributions", "influence"}


def text(number: int) -> str:
    return f"the {COLOURS[number % 2]} cat and number {number} very dog"


def words(number: int) -> dict[str, Any]:
    some = text(number).split()
    return {"tokens": some, "tags": ["C" if word in COLOURS else "O" for word in some]}


def pair(number: int) -> dict[str, Any]:
    asked = f"what colour is number {number}"
    return {"prompt": asked, "chosen": f"it is {COLOURS[number % 2]}", "rejected": "it is very dog"}


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "classify": lambda at: {"text": text(at), "label": COLOURS[at % 2]},
    "regress": lambda at: {"text": text(at), "label": 1.0 - 2 * (at % 2)},
    "tokens": words,
    "span": lambda at: {
        "question": "which colour ?",
        "context": text(at),
        "answers": [{"text": COLOURS[at % 2], "answer_start": 4}],
    },
    "reward": pair,
    "dpo": pair,
    "embed": lambda at: {"anchor": text(at), "positive": text(at + 2)},
    "kto": lambda at: {"prompt": text(at), "completion": "it is red", "label": at % 2 == 0},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Run]:
    folder = tmp_path_factory.mktemp("task-looks")
    bases = {"bert": make_bert(folder / "bert"), "llama": make_base(folder / "llama")}
    known: dict[tuple[str, str], Run] = {}

    def run(name: str, family: str) -> Run:
        if (name, family) not in known:
            rows = folder / f"{name}.jsonl"
            rows.write_text("".join(json.dumps(ROWS[name](at)) + "\n" for at in range(40)))
            recipe = Recipe(
                seed=1,
                model={"base": str(bases[family]), "dtype": "float32", "threads": 1},
                data={"train": [{"path": str(rows)}], "max_tokens": 96, "validation": 0.2, "workers": 1},
                objective={"name": name},
                method={"name": "lora", "rank": 2},
                train={"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "early_stopping": None},
                evaluate={"before": False, "prompts": 0},
            )
            known[name, family] = train(recipe, out=folder / f"{name}-{family}", switch_proofs_off=True)
        return known[name, family]

    return run


Made = Callable[[str, str], Run]


@pytest.mark.parametrize(
    ("name", "family"), [("classify", "bert"), ("regress", "bert"), ("tokens", "bert"), ("reward", "llama")]
)
def test_a_task_head_is_looked_at_without_a_word(
    made: Made, name: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(name, family)
    assert main(["inspect", str(run.folder), "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {look for look, one in found.items() if "refused" not in one} == WORKS
    for look in ("lens", "tokens"):
        assert "task head" in found[look]["refused"]
    assert all(layer["change"] > 0 for layer in found["weights"]["layers"])
    assert sum(layer["share"] for layer in found["importance"]["layers"]) == pytest.approx(1.0)
    assert all(0 <= block["cka"] <= 1 + 1e-9 for block in found["activations"]["blocks"])
    assert found["influence"]["rows"] > 0
    assert any(abs(one["tuned"]) > 0 for one in found["contributions"]["tokens"])
    assert main(["inspect", str(run.folder), "contributions"]) == 0
    assert "without the token" in capsys.readouterr().out.replace("\n", " ")


def test_the_gradient_of_a_labelled_row_is_that_of_its_log_probability(made: Made) -> None:
    run = made("classify", "bert")
    subject = subject_of(run, prompt=text(4), answer="blue", rows=True)
    parameters = list(importance.trained(subject).values())
    model, example = subject.policy.model, subject.asked.example
    found = row_gradient(subject, parameters, example)
    subject.policy.drive("padded")  # as transformers would run it
    logits = model(input_ids=torch.from_numpy(example.ids)[None].long()).logits
    wanted = torch.autograd.grad(logits.log_softmax(-1)[0, 0], parameters, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, atol=1e-5)


def test_what_a_label_loses_without_a_token_is_its_log_probability(made: Made) -> None:
    run = made("classify", "bert")
    subject = subject_of(run, prompt=text(4), answer="red", rows=False)
    found = contributions.look(subject)
    subject.policy.drive("padded")
    ids = subject.asked.example.ids.tolist()

    def nats(some: list[int]) -> float:
        with torch.no_grad():
            logits = subject.policy.model(input_ids=torch.tensor([some])).logits
        return float(F.cross_entropy(logits, torch.tensor([1])))  # names are sorted: blue, red

    assert found["said"] == "red"
    assert found["loss"] == pytest.approx(nats(ids), abs=1e-5)
    for place, one in enumerate(found["tokens"], start=1):  # the first token is read, so it stays
        assert one["tuned"] == pytest.approx(nats([*ids[:place], *ids[place + 1 :]]) - nats(ids), abs=1e-4)
        assert "base" not in one


def test_a_pair_pulls_as_its_preference_loss_does(made: Made) -> None:
    """Of DPO: β σ(−margin) (∂ log p(chosen) − ∂ log p(rejected)), so the direction is the difference of the two."""
    run = made("dpo", "llama")
    subject = subject_of(run, prompt="what colour", answer="it is red", rows=True)
    parameters = list(importance.trained(subject).values())
    example = subject.training[0]
    found = row_gradient(subject, parameters, example)
    subject.policy.drive("padded")

    def logprob(ids: list[int], first: int) -> torch.Tensor:
        logits = subject.policy.model(torch.tensor([ids])).logits[0, first - 1 : -1]
        return -F.cross_entropy(logits, torch.tensor(ids[first:]), reduction="sum")

    chosen, rejected = (logprob(one, example.branches[0]) for one in texts_of(example))
    wanted = torch.autograd.grad(chosen - rejected, parameters, allow_unused=True)
    assert influence.cosine(found, wanted) == pytest.approx(1.0, abs=1e-3)


def test_answers_of_a_pair_are_looked_at_each_after_its_question(made: Made) -> None:
    subject = subject_of(made("dpo", "llama"), prompt=None, answer="it is red", rows=False)
    example = subject.examples[0]
    chosen, rejected = texts_of(example)
    first, second = example.branches
    ids = example.ids.tolist()
    assert (chosen, rejected) == (ids[:second], ids[:first] + ids[second:])
    assert list(subject.asked.prompt) == ids[:first], "without a word the first held-out question is asked"
    found = activations.look(subject)
    assert found["rows"] == 2 * len(subject.examples)


@pytest.mark.parametrize(
    ("name", "family", "look", "options", "word"),
    [
        ("embed", "bert", "influence", {}, "together"),
        ("kto", "llama", "importance", {}, "together"),
        ("span", "bert", "contributions", {}, "moves"),
        ("span", "bert", "attention", {"prompt": "the cat"}, "--prompt"),
        ("regress", "bert", "influence", {"prompt": "the cat"}, "--answer"),
        ("classify", "bert", "influence", {"answer": "red"}, "--prompt"),
        ("classify", "bert", "influence", {"prompt": "the cat", "answer": "rad"}, "Did you mean 'red'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    made: Made, name: str, family: str, look: str, options: dict[str, str], word: str
) -> None:
    with pytest.raises(UserError) as caught:
        inspect(made(name, family), look, **options)  # type: ignore[arg-type]
    assert word in str(caught.value)


def test_a_body_without_a_head_is_looked_at(made: Made) -> None:
    run = made("embed", "bert")
    assert inspect(run, "weights")["layers"]
    assert inspect(run, "activations")["blocks"]
    assert inspect(run, "attention")["blocks"]
