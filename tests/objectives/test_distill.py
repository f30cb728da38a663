"""Distillation: against whole logits in float64, stored tokens against a teacher in process, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from families import VOCABULARY, tiny
from tiny_base import make_tokenizer
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoding, Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.models import head as heads
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.vocabulary import check_same_vocabulary
from tunesmith.objectives import stored_teacher
from tunesmith.objectives.distill import OWN, Distill
from tunesmith.objectives.divergence import divergence
from tunesmith.objectives.stored_teacher import COLUMN, IDS, LOGPROBS


def examples(extras: dict[str, Any] | None = None) -> list[Example]:
    """Three sequences with prompts: 6 + 8 + 4 targets."""
    rng = np.random.default_rng(0)
    found = []
    for row, (length, prompt) in enumerate([(9, 3), (12, 4), (6, 2)]):
        trained = np.arange(length) >= prompt
        found.append(Example(rng.integers(3, VOCABULARY, length).astype(np.int32), trained, row))
    return found


def policies() -> tuple[CausalPolicy, CausalPolicy]:
    return CausalPolicy(tiny("llama")), CausalPolicy(tiny("llama", seed=1))


def with_teacher(objective: Distill, rows: list[Example], teacher: CausalPolicy) -> Batch:
    batch = objective.collate(rows)
    with torch.no_grad():
        said = teacher(batch, objective.beside["teacher"])
    return replace(batch, beside={"teacher": said})


def divided(objective: Distill, student: CausalPolicy, batch: Batch, rows: list[Example]) -> torch.Tensor:
    """The loss as the engine makes it."""
    counts = objective.counts(rows)
    terms = objective.loss(student(batch, objective.want), batch)
    return sum((term.weight * term.values.sum() / counts[term.name] for term in terms), torch.zeros(()))


def all_logits(policy: CausalPolicy, batch: Batch) -> torch.Tensor:
    return policy.logits(policy.hidden(batch.main)[batch.readout.rows])


OPTIONS: list[dict[str, Any]] = [
    {},
    {"divergence": "reverse"},
    {"divergence": "js", "beta": 0.3},
    {"divergence": "skew", "skew": 0.2},
    {"divergence": "skew-reverse"},
    {"temperature": 2.0},
    {"temperature": 0.5, "hard": 0.25, "divergence": "reverse"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_chunks_give_what_whole_logits_give(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient of every parameter, against the formula on all logits at once."""
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", 1)
    student, teacher = policies()
    objective = Distill(teacher="any", **options)
    rows = examples() * 20  # 360 targets: two chunks
    batch = with_teacher(objective, rows, teacher)
    ours = divided(objective, student, batch, rows)
    ours.backward()
    mine = {name: parameter.grad.clone() for name, parameter in student.named_parameters()}  # type: ignore[union-attr]
    student.zero_grad()

    q, heat = all_logits(student, batch), objective.temperature
    with torch.no_grad():
        p = all_logits(teacher, batch)
    apart = divergence(
        (p / heat).log_softmax(-1),
        (q / heat).log_softmax(-1),
        kind=objective.divergence,
        beta=objective.beta,
        skew=objective.skew,
    )
    nll = torch.nn.functional.cross_entropy(q, batch.readout.labels)
    wanted = (1 - objective.hard) * heat**2 * apart.mean() + objective.hard * nll
    wanted.backward()
    assert float((ours - wanted).abs().detach()) < 1e-5 * max(1.0, float(wanted.detach()))
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None
        scale = float(parameter.grad.abs().max())
        assert float((parameter.grad - mine[name]).abs().max()) < 1e-4 * scale + 1e-8, name


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    student, _ = policies()
    objective = Distill(teacher="any")
    rows = examples()
    batch = with_teacher(objective, rows, student)
    loss = divided(objective, student, batch, rows)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-6
    assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) < 1e-5


def test_the_hard_loss_is_measured_where_it_has_no_share() -> None:
    student, teacher = policies()
    objective = Distill(teacher="any")
    rows = examples()
    batch = with_teacher(objective, rows, teacher)
    terms = {term.name: term for term in objective.loss(student(batch, objective.want), batch)}
    assert (terms["divergence"].weight, terms["nll"].weight) == (1.0, 0.0)
    assert terms["nll"].values.shape == terms["divergence"].values.shape == (3,)
    logits = all_logits(student, batch).detach()
    nll = torch.nn.functional.cross_entropy(logits, batch.readout.labels, reduction="sum")
    assert float(terms["nll"].values.sum().detach()) == pytest.approx(float(nll), rel=1e-5)
    assert objective.counts(rows) == {"divergence": 18.0, "nll": 18.0}


def test_a_teacher_with_padded_embeddings() -> None:
    """Rows of the teacher's head that no token has are left out."""
    student, teacher = policies()
    objective = Distill(teacher="any")
    rows = examples()
    narrow = with_teacher(objective, rows, teacher)
    told = narrow.beside["teacher"]
    assert told.logits is not None
    head = told.logits
    padded = replace(told, logits=lambda hidden: torch.nn.functional.pad(head(hidden), (0, 7), value=9.0))
    wide = replace(narrow, beside={"teacher": padded})
    one, other = (float(divided(objective, student, batch, rows).detach()) for batch in (narrow, wide))
    assert one == pytest.approx(other, rel=1e-6)


# What stands in the rows


def stored(rows: list[Example], teacher: CausalPolicy, k: int) -> list[Example]:
    """The examples with what ``teacher`` says most."""
    found = []
    for example in rows:
        batch = Distill(teacher="any").collate([example])
        with torch.no_grad():
            top = all_logits(teacher, batch).log_softmax(-1).topk(k)
        extras = {IDS: top.indices.float().flatten().numpy(), LOGPROBS: top.values.flatten().numpy()}
        found.append(replace(example, extras=extras))
    return found


@pytest.mark.parametrize("kind", ["forward", "reverse", "js"])
@pytest.mark.parametrize("tail", ["joined", "renormalise"])
def test_all_tokens_stored_are_the_teacher_itself(kind: Any, tail: Any) -> None:
    student, teacher = policies()
    online = Distill(teacher="any", divergence=kind)
    rows = examples()
    wanted = float(divided(online, student, with_teacher(online, rows, teacher), rows).detach())
    offline = Distill(divergence=kind, stored=VOCABULARY, tail=tail)
    kept = stored(rows, teacher, VOCABULARY)
    assert float(divided(offline, student, offline.collate(kept), kept).detach()) == pytest.approx(wanted, rel=1e-4)


def test_a_chunk_of_what_is_stored_is_its_own_rows() -> None:
    student, teacher = policies()
    rows = stored(examples(), teacher, 4)
    objective = Distill(stored=4)
    batch = objective.collate(rows)
    with torch.no_grad():
        logits = all_logits(student, batch)
        whole = objective.divergences(logits, slice(0, len(logits)), batch)
        parts = [
            objective.divergences(logits[at], at, batch) for at in (slice(0, 5), slice(5, 6), slice(6, len(logits)))
        ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-7)
    assert len(whole.unique()) == len(whole)


def test_answers_of_its_own_are_not_imitated() -> None:
    """The hard loss is that of the rows' own answers, and divided by their tokens alone; the divergence is of all."""
    student, teacher = policies()
    given = examples()
    rows = [replace(one, extras={OWN: np.array([at == 1], dtype=np.float32)}) for at, one in enumerate(given)]
    objective = Distill(teacher="any", hard=0.5)
    with torch.no_grad():
        both = {
            name: {term.name: term.values / objective.counts(some)[term.name] for term in objective.loss(
                student(batch, objective.want), batch)}
            for name, some in (("own", rows), ("given", given))
            for batch in (with_teacher(objective, some, teacher),)
        }  # fmt: skip
        alone = [given[0], given[2]]
        batch = with_teacher(objective, alone, teacher)
        (imitated,) = [term for term in objective.loss(student(batch, objective.want), batch) if term.name == "nll"]
    torch.testing.assert_close(both["own"]["divergence"], both["given"]["divergence"])
    assert float(both["own"]["nll"][1]) == 0.0
    wanted = float(imitated.values.sum()) / objective.counts(alone)["nll"]
    assert float(both["own"]["nll"].sum()) == pytest.approx(wanted, rel=1e-5)


def test_the_tail_is_one_event() -> None:
    """Joining events never adds divergence, and more stored tokens say more: rising in k, below the whole."""
    student, teacher = policies()
    rows = examples()
    online = Distill(teacher="any")
    whole = float(divided(online, student, with_teacher(online, rows, teacher), rows).detach())
    found = []
    for k in (1, 4, 32, VOCABULARY - 1):
        kept, objective = stored(rows, teacher, k), Distill(stored=k)
        found.append(float(divided(objective, student, objective.collate(kept), kept).detach()))
    assert found == sorted(found)
    assert 0 < found[0] < found[-1]
    assert found[-1] == pytest.approx(whole, rel=1e-4)


def test_the_joined_tail_by_hand() -> None:
    """Teacher: 1/2 and 1/4 stored, so 1/4 left; student: 1/4 each of four tokens, so 1/2 left."""
    batch = Distill(stored=2).collate(
        [
            Example(
                np.array([1, 2], dtype=np.int32),
                np.array([False, True]),
                0,
                extras={
                    IDS: np.array([3, 0], dtype=np.float32),
                    LOGPROBS: np.log(np.array([0.5, 0.25], dtype=np.float32)),
                },
            )
        ]
    )
    logits = torch.zeros(1, 4, requires_grad=True)
    values = Distill(stored=2).divergences(logits, slice(0, 1), batch)
    assert float(values.detach()) == pytest.approx(0.5 * np.log(2) + 0.0 + 0.25 * np.log(0.5), rel=1e-5)
    values.sum().backward()
    # d/dz = q − p, the tail's p spread as the student's own mass is
    assert logits.grad is not None
    assert torch.allclose(logits.grad[0], torch.tensor([0.0, 0.125, 0.125, -0.25]), atol=1e-6)


def record(distributions: Any) -> Record:
    messages = (Message("user", "Count to two."), Message("assistant", "It is two."))
    return Record(messages=messages, meta={} if distributions is None else {COLUMN: distributions})


def encoder() -> ChatEncoder:
    return ChatEncoder.build(make_tokenizer(), "auto")


def targets() -> int:
    (one,) = Distill(teacher="any").encode(record(None), encoder())
    return sum(one.trained[1:])


def test_rows_keep_what_is_stored() -> None:
    """The best k of each target, whatever their order."""
    said = [[[7, -2.0], [5, -0.5], [9, -1.5]] for _ in range(targets())]
    (one,) = Distill(stored=2).encode(record(said), encoder())
    assert isinstance(one, Encoding)
    assert list(one.extras[IDS]) == [5.0, 9.0] * targets()
    assert list(one.extras[LOGPROBS]) == [-0.5, -1.5] * targets()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "no column 'teacher_logprobs'"),
        ([[[1, -1.0]]], "stores 1 distributions of the teacher and has"),
        ("short", "stores 1 tokens of a target"),
        ("twice", "repeated"),
        ("positive", "above 0"),
        ("nan", "above 0"),
        ("words", "something other than"),
    ],
)
def test_rows_that_store_nonsense(said: Any, reason: str) -> None:
    one = {
        "short": [[1, -1.0]],
        "twice": [[1, -1.0], [1, -2.0]],
        "positive": [[1, 0.5], [2, -1.0]],
        "nan": [[1, float("nan")], [2, -1.0]],
        "words": ["the", "a"],
    }.get(str(said))
    rows = said if one is None else [one] * targets()
    with pytest.raises(BadRow, match=reason):
        Distill(stored=2).encode(record(rows), encoder())


def test_how_much_is_stored_is_read_from_the_rows() -> None:
    said = [[[7, -2.0], [5, -0.5], [9, -1.5]], [[7, -2.0], [5, -0.5]]]
    assert Distill().learn([record(said)], max_tokens=64) == {"stored": 2}
    assert stored_teacher.fewest([record(None)]) == 0
    assert Distill(teacher="any").learn([record(None)], max_tokens=64) == {}
    with pytest.raises(UserError, match="no teacher") as refused:
        Distill().learn([record(None)], max_tokens=64)
    assert refused.value.code == "no-teacher"


def test_stored_tokens_have_no_temperature() -> None:
    with pytest.raises(UserError, match="temperature 1"):
        Distill(temperature=2.0)
    assert Distill(temperature=2.0, tail="renormalise").temperature == 2.0


def test_stored_tokens_of_another_vocabulary_are_refused() -> None:
    student, teacher = policies()
    kept = [replace(one, extras={**one.extras, IDS: one.extras[IDS] + 1000}) for one in stored(examples(), teacher, 2)]
    objective = Distill(stored=2)
    batch = objective.collate(kept)
    with pytest.raises(UserError, match="does not have") as refused:
        student(batch, objective.want)
    assert refused.value.code == "teacher-vocabulary"


def test_another_vocabulary_is_refused() -> None:
    tokenizer, other = make_tokenizer(), make_tokenizer()
    check_same_vocabulary(tokenizer, other, name="runs/teacher")
    other.add_tokens(["<new>"])
    with pytest.raises(UserError, match="another vocabulary") as refused:
        check_same_vocabulary(tokenizer, other, name="runs/teacher")
    assert refused.value.code == "teacher-vocabulary"
    assert "1 that differ (such as '<new>')" in str(refused.value)
