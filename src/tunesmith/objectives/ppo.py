"""Proximal policy optimisation for language models (Ouyang et al. 2022, arXiv 2203.02155, section 3.5; Ziegler et al.
2019, arXiv 1909.08593): a policy, a value head on the same body, and a reward at an answer's last token.

    r_t = −β (log π_old(y_t) − log π_ref(y_t)) + [t last] R          β fixed, or adapted to a target divergence
    A_t, R_t = A_t + V_t  by generalised advantage estimation        (``advantages``; A whitened over the rollout)
    L = policy (clipped) + c · value (clipped) − b · entropy         each a mean over the update's tokens

The value of a token's state is read where the token is predicted from, so the value head never sees what it judges.

Trap: the value head starts from nothing. While it knows nothing the advantages are the rewards to go, which is right
but noisy; a policy that learns much faster than it does harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.objectives.advantages import Floats, generalised, token_rewards, whitened
from tunesmith.objectives.base import by_example, by_sequence
from tunesmith.objectives.kl import divergence
from tunesmith.objectives.policy_loss import Clip, clipped_value_loss, surrogate
from tunesmith.objectives.sampled import Count, Sampled, Scored, Weight, said, tokens_in

Discount = Annotated[float, Field(ge=0.0, le=1.0)]


class Ppo(Sampled):
    """Raise rewards with a value head that says what to expect (RLHF's algorithm)."""

    NAME: ClassVar[str] = "ppo"
    paper: ClassVar[str] = "Schulman et al. 2017 (arXiv 1707.06347); Ouyang et al. 2022 (arXiv 2203.02155)"

    answers: Count = 1
    """Answers sampled to each prompt."""
    mini_batches: Count = 1
    """Updates of `batch_size` prompts that the answers of one rollout are cut into."""
    mini_epochs: Count = 4
    """Times that the answers of one rollout are gone through."""
    kl: Weight = 0.05
    """Weight of the divergence from the model as training began, in the reward of each token."""
    gamma: Discount = 1.0
    """Discount of later rewards."""
    lam: Discount = 0.95
    """Lambda of generalised advantages: 1 trusts rewards, 0 the value head."""
    clip: Annotated[float, Field(gt=0.0)] = 0.2
    """How far from 1 a ratio of new and old probabilities counts."""
    value_clip: Annotated[float, Field(gt=0.0)] | None = 0.2
    """How far the value head may move from what it said when the answers were sampled; null for any."""
    value_weight: Annotated[float, Field(gt=0.0)] = 0.1
    """Weight of the value head's loss."""
    whiten: bool = True
    """Whether advantages are brought to mean 0 and variance 1 over the rollout."""

    def more_heads(self) -> Mapping[str, int]:
        """The value head."""
        return {"value": 1}

    @property
    def answers_each(self) -> int:
        """Answers to each prompt."""
        return self.answers

    @property
    def want(self) -> Want:  # type: ignore[override]  # as in ``Sampled``
        """Log-probability, entropy and value."""
        return replace(super().want, value=True)

    def signals(self, scored: Scored, *, kl: float) -> Mapping[str, Floats]:
        """``advantage``, ``return`` and ``value`` (as it was) float64 ``[N]``."""
        assert scored.values is not None
        rewards = token_rewards(scored.rewards, scored.lengths, scored.kl, kl)
        found = generalised(rewards, scored.values, scored.lengths, gamma=self.gamma, lam=self.lam)
        advantage = whitened(found) if self.whiten else found
        return {"advantage": advantage, "return": found + scored.values, "value": scored.values}

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Tokens of the update."""
        return dict.fromkeys(("policy", "value", "entropy", "kl", "clipped"), tokens_in(examples))

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """``policy`` and ``value`` are minimised; ``kl``, ``entropy`` (in nats a token) and ``clipped`` (share of
        tokens) are measured."""
        assert outputs.value is not None
        now, extras = said(outputs), batch.extras
        found = surrogate(
            "token",
            now.logprob,
            old=extras["old"],
            advantage=extras["advantage"],
            unit=batch.readout.unit,
            sequences=len(batch.unit_ids),
            clip=Clip(self.clip, self.clip),
        )
        values = found.values * extras["correction"] if "correction" in extras else found.values
        errors = clipped_value_loss(outputs.value, old=extras["value"], target=extras["return"], clip=self.value_clip)

        def term(name: str, per_token: Any, weight: float = 0.0) -> Term:
            return Term(name, by_example(by_sequence(per_token, batch), batch), weight)

        terms = [
            term("policy", values, 1.0),
            term("value", errors, self.value_weight),
            term("entropy", now.entropy, -self.entropy_bonus),
            term("clipped", found.clipped),
        ]
        if "reference" in extras:
            terms.append(term("kl", divergence("k3", now.logprob.detach(), extras["reference"])))
        return terms
