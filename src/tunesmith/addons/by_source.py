"""The loss of each data source beside the whole one: measurements of weight 0, divided by the source's own count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.addons.around import Around, sources_of
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Objective, Term
from tunesmith.contracts.policy import Outputs


class BySource(Around):
    """An objective that also tells its losses by source; ``names`` by ``Example.source``, where there are several."""

    def __init__(self, inner: Objective, names: Sequence[str]) -> None:
        super().__init__(inner)
        self.names = names

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """The inner counts, of all examples and of each source's."""
        found = dict(self.inner.counts(examples))
        for number, name in self._named():
            ours = [example for example in examples if example.source == number]
            if ours:
                counted = self.inner.counts(ours)
                found |= {f"{term}/{name}": count or 1.0 for term, count in counted.items()}
        return found

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The inner terms, and those with a weight once more for each source that is in the batch."""
        terms = self.inner.loss(outputs, batch)
        sources = sources_of(batch)[: len(terms[0].values)]
        present = set(sources.tolist())
        measured = [
            Term(f"{term.name}/{name}", term.values.detach() * (sources == number), 0.0)
            for number, name in self._named()
            if number in present
            for term in terms
            if term.weight
        ]
        return [*terms, *measured]

    def _named(self) -> list[tuple[int, str]]:
        return list(enumerate(self.names)) if len(self.names) > 1 else []
