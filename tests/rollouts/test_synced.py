"""A server is handed the adapter as it is when it is asked."""

from __future__ import annotations

from pathlib import Path

from tunesmith.contracts.sampler import Answer, Ask
from tunesmith.run.synced import NAME, Synced


class Server:
    """Remembers what it was told; what it answers is what the adapter says."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.asked: list[str | None] = []

    def load_adapter(self, name: str, folder: str | Path) -> None:
        assert name == NAME
        self.loaded.append((Path(folder) / "weights").read_text())

    def sample(self, asks: list[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        self.asked += [ask.adapter for ask in asks]
        return [[Answer([len(self.loaded)]) for _ in ask.seeds] for ask in asks]


def test_every_rollout_is_sampled_with_the_adapter_of_its_time(tmp_path: Path) -> None:
    server, steps = Server(), iter(["first", "second"])

    def save(folder: Path) -> None:
        (folder / "weights").write_text(next(steps))

    sampler = Synced(server, save, tmp_path / "adapter")  # type: ignore[arg-type]
    for number in (1, 2):
        assert sampler.sample([Ask([1], [5, 6])]) == [[Answer([number]), Answer([number])]]
    assert server.loaded == ["first", "second"]
    assert server.asked == [NAME, NAME]
