"""What the parts of a run hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Record
from tunesmith.data.prepare import Prepared
from tunesmith.engine.loop import Beside
from tunesmith.engine.workers import Workers
from tunesmith.events import Sink
from tunesmith.models.trunk import Trunk
from tunesmith.run.beside import beside_of
from tunesmith.run.folder import Run
from tunesmith.run.session import Session


@dataclass
class Stage:
    """One training on its way: the folder it writes, what is trained, on which rows, by how many, and who hears."""

    run: Run
    session: Session
    prepared: Prepared
    workers: Workers
    emit: Sink
    trunk: Trunk | None = None
    """What was kept of the frozen lower layers, if that was asked for."""

    @cached_property
    def validation(self) -> list[Example]:
        """The held-out sequences, read from the store once."""
        return list(self.prepared.validation)

    @cached_property
    def records(self) -> Mapping[int, Record]:
        """The rows behind the held-out sequences, where answers stand in them or are scored by them."""
        task = self.session.task
        if not self.session.parts.objective.samples and (task is None or task.problem != "span"):
            return {}
        return self.prepared.records({example.row for example in self.validation})

    @cached_property
    def beside(self) -> Mapping[str, Beside]:
        """The frozen models that the objective names; asked for before anything is trained."""
        return beside_of(self.session, chain(self.prepared.train, self.validation), emit=self.emit)

    @property
    def sources(self) -> list[str]:
        """Names of the data sources, by ``Example.source``."""
        return [source.path for source in self.prepared.job.sources]
