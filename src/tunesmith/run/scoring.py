"""A run that trained a reward model, as a function from answers to scores (``contracts.reward.OpenScorer``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.contracts.policy import Want
from tunesmith.contracts.reward import Sample, Scorer
from tunesmith.data.collate import labelled
from tunesmith.engine.microbatch import cut
from tunesmith.errors import UserError
from tunesmith.generation.inference import inference
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe.parts import build
from tunesmith.run.folder import Run
from tunesmith.run.session import Session


@dataclass(frozen=True)
class RewardModel:
    """The scores of a session whose objective is ``reward``: read at an answer's last token, its end of turn."""

    session: Session

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Scores ``[n]``."""
        examples = [self._example(sample, number) for number, sample in enumerate(samples)]
        found = np.zeros(len(samples))
        for piece in cut(examples, int(self.session.recipe.train.tokens_per_microbatch)):
            batch = labelled(piece).to(self.session.policy.device)
            with inference(self.session.policy):
                scores = self.session.policy(batch, Want(logprob=False, scores=True)).scores
            assert scores is not None
            found[[example.row for example in piece]] = scores[:, 0].double().cpu().numpy()
        return found.tolist()

    def _example(self, sample: Sample, number: int) -> Example:
        """The conversation with the answer, cut to the model's length from its beginning; its last token is read."""
        asked = tuple(sample.messages or (Message("user", sample.prompt),))
        record = Record(messages=asked, candidates=(Candidate((Message("assistant", sample.answer),)),))
        (encoding,) = self.session.encoder.candidates(record)
        ids = np.array(encoding.ids[-self.session.recipe.data.max_tokens :], dtype=np.int32)
        trained = np.zeros(len(ids), dtype=np.bool_)
        trained[-1] = True
        return Example(ids, trained, number, labels=np.zeros(1, dtype=np.int32))


def open_scorer(path: str) -> Scorer:
    """The reward model of a run folder. Raises ``UserError`` as ``reward_run`` does."""
    from tunesmith.run.use import open_run  # which measures, and may need a scorer for that

    return RewardModel(open_run(reward_run(path)))


def reward_run(path: str) -> Run:
    """The run that trained a reward model. Raises ``UserError``: ``not-a-run``, ``no-result``, ``no-reward-model``."""
    run = Run.open(path).last_stage
    task = build(OBJECTIVES, run.recipe.objective).head()
    if task is None or task.problem != "reward":
        raise UserError(
            "the run did not train a reward model",
            got=f"{path}, objective {run.recipe.objective.name}",
            allowed="a run of the objective reward",
            code="no-reward-model",
        )
    _ = run.artifact  # a run without a result says so
    return run
