"""Group-relative policy optimisation and its kin, as choices of advantage × ratio × normalisation:

    L = 1/Z Σ_answers Σ_t c_t · loss_t(ratio, advantage)  +  β · KL

    variant       advantage       ratio            Z                  clip           KL               paper (arXiv)
    grpo          group           token            |o| of each, G     0.2, 0.2       0.04, k3, loss   2402.03300, eq. 3
    dr-grpo       centred         token            longest · G        0.2, 0.2       0                2503.20783, §3.2
    dapo          group           token            all tokens         0.2, 0.28      0                2503.14476, eq. 8
    gspo          group           sequence         |o| of each, G     3e-4, 4e-4     0                2507.18071, eq. 5
    cispo         group           clipped-weight   all tokens         none, 4        0                2506.13585, eq. 4
    rloo          leave-one-out   none             G                  -              0.05, reward     2402.14740, eq. 5
    reinforce++   whitened        token            all tokens         0.2, 0.2       0.01, reward     2501.03262, eq. 7

``loss_t`` is in ``policy_loss``, advantages in ``advantages``, KL in ``kl``; ``c_t`` corrects for a sampler that is not
quite the policy. A variant only sets defaults: every choice can be made by itself.

Traps: the mean over a sequence weighs the tokens of a short answer more than those of a long one; dividing by a group's
standard deviation weighs nearly solved and nearly hopeless prompts more (both are Dr. GRPO's points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.advantages import Floats, generalised, group_advantages, sums, token_rewards, whitened
from tunesmith.objectives.base import by_example, by_sequence
from tunesmith.objectives.kl import Estimator, divergence
from tunesmith.objectives.policy_loss import Clip, Ratio, surrogate, tokens_of
from tunesmith.objectives.sampled import Count, Sampled, Scored, answers_in, said, tokens_in

Normalise = Literal["sequence", "tokens", "constant", "sum"]
PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {"kl": 0.04},
    "dr-grpo": {"advantage": "centred", "normalise": "constant"},
    "dapo": {"normalise": "tokens", "clip_high": 0.28, "dynamic_sampling": True},
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"ratio": "clipped-weight", "normalise": "tokens", "clip_low": None, "clip_high": 4.0},
    "rloo": {"advantage": "leave-one-out", "ratio": "none", "normalise": "sum", "kl": 0.05, "kl_in": "reward"},
    "reinforce++": {"advantage": "whitened", "normalise": "tokens", "kl": 0.01, "kl_in": "reward"},
}


class Grpo(Sampled):
    """Raise rewards on groups of sampled answers: GRPO, Dr. GRPO, DAPO, GSPO, CISPO, RLOO, REINFORCE++."""

    NAME: ClassVar[str] = "grpo"
    paper: ClassVar[str] = "Shao et al. 2024, DeepSeekMath (arXiv 2402.03300)"

    variant: Literal["grpo", "dr-grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++"] = "grpo"
    """A named choice of the options below; it only sets their defaults."""
    answers: Count = 8
    """Answers sampled to each prompt; they share the prompt's computation."""
    advantage: Literal["group", "centred", "leave-one-out", "whitened"] = "group"
    """What a reward is compared with: its group's mean in standard deviations, the mean alone, the mean of the others,
    or the mean of the whole rollout in standard deviations."""
    ratio: Ratio = "token"
    """What new and old probabilities are compared over: each `token`, the `sequence` (GSPO), each token as a clipped
    weight without gradient (`clipped-weight`, CISPO), or nothing (`none`, REINFORCE)."""
    normalise: Normalise = "sequence"
    """What the loss is divided by: each answer's tokens and then the answers (`sequence`), all `tokens`, the longest
    answer allowed times the answers (`constant`), or the answers (`sum`)."""
    clip_low: Annotated[float, Field(gt=0.0)] | None = 0.2
    """How far below 1 a ratio counts; null for any."""
    clip_high: Annotated[float, Field(gt=0.0)] | None = 0.2
    """How far above 1 a ratio counts; null for any. More than `clip_low` lets unlikely answers grow (DAPO)."""
    kl_estimator: Estimator = "k3"
    """How the divergence in the loss is estimated; `k1` is for the reward only."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the divergence weighs."""
    dynamic_sampling: bool = False
    """Answer further prompts in place of those whose answers all have one reward, which teach nothing."""
    sampling_rounds: Count = 4
    """With `dynamic_sampling`: how often further prompts are answered before the rollout goes on with what it has."""

    @model_validator(mode="before")
    @classmethod
    def _from_variant(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**PRESETS.get(values.get("variant", "grpo"), {}), **values}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.advantage != "whitened" and self.answers < 2:
            raise ValueError("an answer is compared with others to the same prompt: set answers to at least 2")
        if self.kl > 0.0 and self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError("k1 has no gradient on average: use kl_estimator k2 or k3, or kl_in: reward")
        if self.ratio == "none" and self.mini_batches * self.mini_epochs > 1:
            raise ValueError("without a ratio only one update fits the answers of a rollout: set ratio: token")
        return self

    @property
    def reward_kl(self) -> float:
        """The weight of the divergence in the reward, as training begins."""
        return self.kl if self.kl_in == "reward" else 0.0

    @property
    def answers_each(self) -> int:
        """Answers to each prompt."""
        return self.answers

    @property
    def most_rounds(self) -> int | None:
        """How often further prompts are answered in place of those that teach nothing; None: those are kept."""
        return self.sampling_rounds if self.dynamic_sampling else None

    def signals(self, scored: Scored, *, kl: float) -> Mapping[str, Floats]:
        """``advantage`` float64 ``[N]``."""
        if self.advantage == "whitened":
            rewards = token_rewards(scored.rewards, scored.lengths, scored.kl, kl)
            return {"advantage": whitened(generalised(rewards, np.zeros_like(rewards), scored.lengths))}
        rewards = scored.rewards - kl * sums(scored.kl, scored.lengths)
        each = group_advantages(self.advantage, rewards, scored.groups)
        return {"advantage": np.repeat(each, scored.lengths)}

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Tokens for what is measured; for the loss what ``normalise`` says."""
        tokens, answers = tokens_in(examples), answers_in(examples)
        whole = {"sequence": answers, "tokens": tokens, "constant": answers * self.max_new_tokens, "sum": answers}
        loss = whole[self.normalise]
        return {"policy": loss, "kl_penalty": loss, "kl": tokens, "entropy": tokens, "clipped": tokens}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """``policy`` and ``kl_penalty`` are minimised; ``kl``, ``entropy`` (in nats a token) and ``clipped`` (share
        of tokens) are measured."""
        now, extras, unit = said(outputs), batch.extras, batch.readout.unit
        sequences = len(batch.unit_ids)
        found = surrogate(
            self.ratio,
            now.logprob,
            old=extras["old"],
            advantage=extras["advantage"],
            unit=unit,
            sequences=sequences,
            clip=Clip(self.clip_low, self.clip_high),
        )
        values = found.values * extras["correction"] if "correction" in extras else found.values
        share = 1.0 / tokens_of(unit, sequences)[unit] if self.normalise == "sequence" else 1.0

        def term(name: str, per_token: Any, weight: float = 0.0) -> Term:
            return Term(name, by_example(by_sequence(per_token, batch), batch), weight)

        terms = [term("policy", values * share, 1.0), term("entropy", now.entropy, -self.entropy_bonus)]
        if "reference" in extras:
            away = now.logprob.detach(), extras["reference"]
            terms.append(term("kl", divergence("k3", *away)))
            if self.kl > 0.0 and self.kl_in == "loss":
                penalty = divergence(self.kl_estimator, now.logprob, extras["reference"])
                terms.append(term("kl_penalty", penalty * share, self.kl))
        return [*terms, term("clipped", found.clipped)]
