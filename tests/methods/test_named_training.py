"""Which of several adapters is trained: the one that is named, or the one that is alone."""

from __future__ import annotations

import torch
from test_named import METHODS, logits, trained

import tunesmith as ts
from families import tiny


def test_one_that_is_alone_is_trained_unless_told_otherwise() -> None:
    adapters = ts.Adapters(tiny("llama"))
    for name in ("tone", "facts"):
        adapters.add(name, METHODS["lora"])
    adapters.set("tone")
    assert adapters.train == "tone"
    required = {id(value) for value in adapters.model.parameters() if value.requires_grad}
    assert required == {id(value) for value in adapters.trained_parameters()} != set()
    before = logits(adapters.model)
    assert not torch.equal(trained(adapters), before)
    for names, train in ((("tone",), False), (("tone", "facts"), None), ((), None)):
        adapters.set(*names, train=train)
        assert (adapters.active, adapters.train) == (names, None)
        assert not any(value.requires_grad for value in adapters.model.parameters())
    with adapters.use("facts"):
        assert adapters.train is None
    adapters.set("tone", train=False)
    with adapters.use():
        pass
    assert (adapters.active, adapters.train) == (("tone",), None), "still frozen"
    adapters.set("tone")
    adapters.remove("facts")
    assert adapters.train == "tone"
    adapters.merge("tone")
    assert (adapters.train, adapters.trained_parameters()) == (None, [])
