"""The requests under way, row for row with the cache.

A prompt is computed once, however many answers it gets: rows of further samples are copied from the first one, and
where no row was free for a sample, it takes over the row of a finished one, which still begins with the prompt.
"""

from __future__ import annotations

from collections import deque

import torch

from tunesmith.generation.cache import Cache
from tunesmith.generation.requests import Group, Request
from tunesmith.generation.rules import Rules
from tunesmith.models.policy import CausalPolicy


class Session:
    """Up to ``rows`` active requests; ``prefill_tokens`` bounds the prompt tokens computed at once.

    Its methods run the model: call them without gradients and in eval mode.
    """

    def __init__(self, policy: CausalPolicy, rules: Rules, *, rows: int, prefill_tokens: int) -> None:
        self.policy, self.rules, self.rows, self.prefill_tokens = policy, rules, rows, prefill_tokens
        self.active: list[Request] = []
        self._last: list[int] = []
        self._cache = Cache(rows)

    @property
    def free(self) -> int:
        """How many more requests fit."""
        return self.rows - len(self.active)

    def refill(self, waiting: deque[Group]) -> None:
        """Fill free rows: with further samples of prompts that are here, then with new prompts, first come first."""
        here = {id(request.group): (row, request.group) for row, request in enumerate(self.active)}
        self._fork([(row, group) for row, group in here.values() if group.waiting])
        if not waiting or not self.free:
            return
        groups = self._next(waiting)
        stream = self._cache.prefill([group.ask.prompt for group in groups], self.policy.device)
        logits = self.policy.logits(self.policy.hidden(stream)[stream.layout.starts[1:] - 1])
        first = len(self.active)
        begun = [group.waiting.popleft() for group in groups]
        self._last += self.rules.extend(begun, logits)
        self.active += begun
        for group, own in zip(groups, logits, strict=True):
            group.logits = own.clone() if group.waiting else None
        self._fork([(first + row, group) for row, group in enumerate(groups) if group.waiting])

    def decode(self) -> None:
        """One more token for every active request."""
        stream = self._cache.decode(self._last, self.policy.device)
        self._last = self.rules.extend(self.active, self.policy.logits(self.policy.hidden(stream)))

    def finished(self) -> list[Request]:
        """Take out the requests that are done: a waiting sample of the same prompt or the last row takes the place."""
        done = []
        for row in reversed(range(len(self.active))):
            while self.active[row].done and self.active[row].group.waiting:
                done.append(self.active[row])
                self._succeed(row)
            if self.active[row].done:
                done.append(self.active[row])
                self._cache.drop(row)
                self.active[row], self._last[row] = self.active[-1], self._last[-1]
                self.active.pop()
                self._last.pop()
        return done

    def _next(self, waiting: deque[Group]) -> list[Group]:
        """The next prompts: as many as there are free rows for their samples, and prefill tokens; at least one."""
        taken = [waiting.popleft()]
        tokens, rows = len(taken[0].ask.prompt), len(taken[0].waiting)
        while waiting and rows < self.free and tokens + len(waiting[0].ask.prompt) <= self.prefill_tokens:
            taken.append(waiting.popleft())
            tokens += len(taken[-1].ask.prompt)
            rows += len(taken[-1].waiting)
        return taken

    def _fork(self, sources: list[tuple[int, Group]]) -> None:
        """Begin waiting samples of the groups in the given rows, as many as fit."""
        rows: list[int] = []
        begun: list[Request] = []
        for row, group in sources:
            while group.waiting and len(begun) < self.free:
                rows.append(row)
                begun.append(group.waiting.popleft())
        if begun:
            self._cache.fork(rows, [len(request.prompt) for request in begun])
            self._last += self._first_tokens(begun)
            self.active += begun

    def _succeed(self, row: int) -> None:
        """The next sample of the finished request in ``row`` takes its place."""
        successor = self.active[row].group.waiting.popleft()
        self._cache.rewind(row, len(successor.prompt))
        self.active[row] = successor
        (self._last[row],) = self._first_tokens([successor])

    def _first_tokens(self, begun: list[Request]) -> list[int]:
        logits = [request.group.logits for request in begun]
        return self.rules.extend(begun, torch.stack([own for own in logits if own is not None]))
