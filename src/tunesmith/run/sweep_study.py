"""What to try next, by Optuna (Akiba et al. 2019, arXiv:1907.10902); its journal is the memory of a sweep.

Where every option has a list and combinations are few, they are tried one by one, none twice. Otherwise the
tree-structured Parzen estimator chooses (Bergstra et al. 2011): it learns from the trials that ended, and draws at
random until there are ten. Processes that share the folder share the journal.
"""

from __future__ import annotations

import contextlib
import json
import random
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.files import one_at_a_time
from tunesmith.run.sweep_space import Space
from tunesmith.seed import derive

COHORT = "cohort"
FEW = 4
"""How many combinations there may be for each trial, that all of them stand in a queue."""


@dataclass(frozen=True)
class Asked:
    """A trial that was chosen: its number, values by dotted path, and whether the study was told its end."""

    number: int
    values: Mapping[str, Any]
    ended: bool = False


class Study:
    """A sweep's trials in ``folder``; ``higher`` is whether a larger value is better."""

    def __init__(self, folder: Path, spaces: Sequence[Space], *, trials: int, higher: bool, seed: int) -> None:
        optuna = _optuna()
        self.folder, self.seed = folder, seed
        self._live: dict[int, Any] = {}
        self._spaces = {one.path: one for one in spaces}
        self._distributions = {one.path: _distribution(optuna, one) for one in spaces}
        finite = all(one.choices for one in spaces)
        combinations = prod(len(one.choices) for one in spaces) if finite else 0
        self.trials = min(trials, combinations) if finite else trials
        folder.mkdir(parents=True, exist_ok=True)
        with _quiet():
            backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name="sweep",
                direction="maximize" if higher else "minimize",
                load_if_exists=True,
            )
        if finite and combinations <= FEW * trials:
            self._enqueue()

    def next(self, count: int) -> list[Asked]:
        """At most ``count`` new trials that are trained together, as many as are left."""
        name = uuid.uuid4().hex
        found = []
        with _quiet(), self._alone():
            begun = len(self._begun())
            # a seed of its own for each group: a sweep that is gone on with would draw its first trials again
            fresh = derive(self.seed, "sweep", begun) % 2**32
            self._study.sampler = _optuna().samplers.TPESampler(seed=fresh, constant_liar=True)
            for _ in range(min(count, self.trials - begun)):
                trial = self._study.ask(fixed_distributions=self._distributions)
                trial.set_user_attr(COHORT, name)
                self._live[trial.number] = trial
                found.append(self._asked(self._study.get_trials(deepcopy=False)[trial.number]))
        return found

    def unfinished(self) -> list[list[Asked]]:
        """Trials, in the groups they were asked in, of groups that have not all ended."""
        groups: dict[str, list[Any]] = {}
        with self._alone():
            for trial in self._begun():
                groups.setdefault(trial.user_attrs.get(COHORT, str(trial.number)), []).append(trial)
        return [
            [self._asked(trial) for trial in group]
            for group in groups.values()
            if any(not trial.state.is_finished() for trial in group)
        ]

    def ended(self, number: int, value: float | None, *, stopped_at: int | None = None) -> None:
        """Tell that a trial ended with ``value``, was stopped with it after an update, or failed (None)."""
        optuna = _optuna()
        state, known = optuna.trial.TrialState, self._study.get_trials(deepcopy=False)[number]
        if known.state.is_finished():
            return
        with _quiet():
            if value is None:
                self._study.tell(number, state=state.FAIL)
            elif stopped_at is not None:
                trial = self._live.get(number) or optuna.trial.Trial(self._study, known._trial_id)
                trial.report(value, step=stopped_at)
                self._study.tell(number, state=state.PRUNED)
            else:
                self._study.tell(number, value)

    def all(self) -> list[Asked]:
        """Every trial so far."""
        return [self._asked(trial) for trial in self._begun()]

    def _begun(self) -> list[Any]:
        """Trials that were asked for; others wait in the queue."""
        waiting = _optuna().trial.TrialState.WAITING
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != waiting]

    def _enqueue(self) -> None:
        """Put all combinations into the queue once, in an order of their own."""
        paths, choices = list(self._spaces), [one.choices for one in self._spaces.values()]
        combinations = [dict(zip(paths, map(json.dumps, values), strict=True)) for values in product(*choices)]
        random.Random(self.seed).shuffle(combinations)
        with _quiet(), self._alone():
            if not self._study.get_trials(deepcopy=False):
                for values in combinations:
                    self._study.enqueue_trial(values)

    def _alone(self) -> AbstractContextManager[None]:
        """Within it no other process asks."""
        return one_at_a_time(self.folder / "asking")

    def _asked(self, trial: Any) -> Asked:
        values = {path: _value(self._spaces[path], value) for path, value in trial.params.items()}
        return Asked(trial.number, values, ended=trial.state.is_finished())


def _distribution(optuna: Any, one: Space) -> Any:
    if one.choices:
        return optuna.distributions.CategoricalDistribution([json.dumps(choice) for choice in one.choices])
    kind = optuna.distributions.IntDistribution if one.whole else optuna.distributions.FloatDistribution
    return kind(one.low, one.high, log=one.log)


def _value(one: Space, stored: Any) -> Any:
    return json.loads(stored) if one.choices else stored


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "a sweep needs optuna", hint="Install it with: pip install 'tunesmith[sweep]'", code="missing-extra"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks about which of its parts are new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
