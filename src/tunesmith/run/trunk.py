"""The frozen trunk of a run (``model.trunk_cache``): found on the first rows to train on, kept while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.contracts.batch import Batch
from tunesmith.engine.loop import Job
from tunesmith.events import Event
from tunesmith.models.trunk import Trunk, find, fingerprint, keeping
from tunesmith.models.trunk_store import DiskStore, MemoryStore, Store, make_room
from tunesmith.run.session import Session, cache_folder


@contextmanager
def kept_trunk(session: Session, job: Job) -> Iterator[Trunk | None]:
    """Within it ``job`` runs the frozen lower layers once a row, where the recipe asks for it.

    Enter it when all is set up as it will be trained. Raises what ``models.trunk.find`` raises.
    """
    if session.recipe.model.trunk_cache == "off":
        yield None
        return
    trunk = trunk_of(session, job)
    with keeping(session.policy, trunk):
        yield trunk
    job.emit(Event("note", job.steps, {"text": _words(trunk)}))


def trunk_of(session: Session, job: Job) -> Trunk:
    """The trunk of ``job``, with a store as the recipe asks."""
    choice = session.recipe.model
    room = int(choice.trunk_cache_gib * 2**30)

    def make(layers: int) -> Store:
        if layers in session.trunks:
            return session.trunks[layers]
        if choice.trunk_cache == "ram":
            return MemoryStore(room)
        root = cache_folder() / "trunk"
        folder = root / fingerprint(session.policy, layers)
        make_room(root, folder, room=room)
        width = int(session.model.config.get_text_config().hidden_size)
        return DiskStore(folder, room, width=width, dtype=session.policy.dtype)

    trunk = find(session.policy, _few(job), make)
    session.trunks[trunk.layers] = trunk.store
    where = "memory" if choice.trunk_cache == "ram" else "a file"
    text = f"what the lowest {trunk.layers} of {len(trunk.blocks)} layers give is kept in {where}"
    if trunk.store.held:
        text += f"; {trunk.store.held / 2**20:,.1f} MiB of it are there already"
    job.emit(Event("note", 0, {"text": text}))
    return trunk


def _few(job: Job) -> Batch:
    """The shortest rows of the first update."""
    examples = sorted(job.feed.update(0), key=len)[:4]
    return job.objective.collate(examples).to(next(job.policy.parameters()).device)


def _words(trunk: Trunk) -> str:
    tokens, kept = trunk.computed + trunk.reused, trunk.store.held / 2**20
    text = f"the lowest {trunk.layers} layers were run for {trunk.share_run:.0%} of {tokens:,} tokens"
    text += f"; {kept:,.1f} MiB are kept"
    return text + ("; model.trunk_cache_gib is full: other rows are computed every epoch" if trunk.store.full else "")
