"""A kept trunk changes no number: outputs and gradients with it equal those without, in every family; and it is
refused where what it would keep is not fixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from families import VOCABULARY, configs, tiny
from tunesmith.addons.neftune import _Noise
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.errors import UserError
from tunesmith.methods import TABLE
from tunesmith.models.checkpointing import recompute
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import quantize_model
from tunesmith.models.trunk import Trunk, digests, find, fingerprint, keeping
from tunesmith.models.trunk_store import MemoryStore
from tunesmith.recipe import Part
from tunesmith.recipe.parts import build

TOP = {"name": "lora", "rank": 4, "layers": [1]}
ROOM = 2**30


def rows(lengths: tuple[int, ...], *, seed: int = 0, branches: tuple[int, ...] = ()) -> list[Example]:
    generator = np.random.default_rng(seed)
    found = []
    for row, length in enumerate(lengths):
        ids = generator.integers(3, VOCABULARY, length).astype(np.int32)
        trained = np.arange(length) >= (branches[0] if branches else 1)
        found.append(Example(ids, trained, row, branches=branches))
    return found


def policy_of(
    method: dict[str, Any] | str = TOP,
    family: str = "llama",
    *,
    quantize: str = "none",
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> CausalPolicy:
    """A model whose adapters are not zero, all weights that are not trained frozen."""
    model = tiny(family, **options).requires_grad_(False)
    if quantize != "none":
        quantize_model(model, quantize)
    torch.manual_seed(1)
    attached = build(TABLE, Part.model_validate({"name": method} if isinstance(method, str) else method)).attach(model)
    with torch.no_grad():
        for group in attached.groups():
            for value in group.parameters.values():
                value.add_(torch.randn_like(value) * 0.05)
    return CausalPolicy(model.to(dtype))


def trunk_of(policy: CausalPolicy, batch: Batch | None = None, room: int = ROOM) -> Trunk:
    return find(policy, batch or flatten(rows((7, 12, 5))), lambda _: MemoryStore(room))


def gradients(policy: CausalPolicy, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Log-probabilities, and the gradients of their sum."""
    policy.train()
    trained = [value for value in policy.parameters() if value.requires_grad]
    for value in trained:
        value.grad = None
    outputs = policy(batch, Want(logprob=True))
    outputs.logprob.sum().backward()
    return outputs.logprob.detach(), [value.grad for value in trained if value.grad is not None]


def equal(one: tuple[torch.Tensor, list[torch.Tensor]], other: tuple[torch.Tensor, list[torch.Tensor]]) -> bool:
    return torch.equal(one[0], other[0]) and all(map(torch.equal, one[1], other[1])) and len(one[1]) == len(other[1])


@pytest.mark.parametrize("family", sorted(configs()))
def test_with_and_without_are_the_same_bit_for_bit(family: str) -> None:
    policy, batch = policy_of(family=family), flatten(rows((90, 41, 12, 1, 60, 77)))
    without = gradients(policy, batch)
    trunk = trunk_of(policy)
    with keeping(policy, trunk):
        first, second = gradients(policy, batch), gradients(policy, batch)
    assert equal(first, without)
    assert equal(second, without)
    assert (trunk.computed, trunk.reused) == (281, 281)
    assert equal(gradients(policy, batch), without)


@pytest.mark.parametrize("family", sorted(configs()))
def test_answers_to_one_beginning_and_the_beginning_are_kept_apart(family: str) -> None:
    policy, batch = policy_of(family=family), flatten(rows((19, 23), branches=(8, 13)))
    without = gradients(policy, batch)
    with keeping(policy, trunk_of(policy, batch)):
        assert equal(gradients(policy, batch), without)
        assert equal(gradients(policy, batch), without)


@pytest.mark.parametrize(
    ("quantize", "dtype"), [("nf4", torch.float32), ("int8", torch.bfloat16), ("none", torch.bfloat16)]
)
def test_packed_bases_and_bfloat16(quantize: str, dtype: torch.dtype) -> None:
    policy, batch = policy_of(quantize=quantize, dtype=dtype), flatten(rows((33, 9, 20)))
    without = gradients(policy, batch)
    trunk = trunk_of(policy)
    with keeping(policy, trunk):
        assert equal(gradients(policy, batch), without)
        assert equal(gradients(policy, batch), without)
    assert trunk.store.held == 62 * 64 * dtype.itemsize


def test_with_activations_recomputed() -> None:
    policy, batch = policy_of(), flatten(rows((33, 9, 20)))
    without = gradients(policy, batch)
    recompute(policy.model)
    with keeping(policy, trunk_of(policy)):
        assert equal(gradients(policy, batch), without)
        assert equal(gradients(policy, batch), without)


def test_the_lower_layers_run_once_a_row() -> None:
    """Rows of one epoch meet other rows in the next; only those that were never seen go through layer 0."""
    policy, ran = policy_of(), []
    policy.model.model.layers[0].mlp.register_forward_hook(lambda _, inputs, __: ran.append(inputs[0].shape[1]))
    known, new = rows((7, 12, 5)), rows((8, 3), seed=9)
    trunk = trunk_of(policy)
    ran.clear()
    with keeping(policy, trunk):
        policy(flatten(known), Want())
        policy(flatten(known[::-1]), Want())
        policy(flatten([known[1], *new, known[2]]), Want())
    assert ran == [24, 11]


def test_known_and_new_rows_together_are_in_their_places() -> None:
    policy = policy_of()
    known, new = rows((7, 12, 5)), rows((8, 3), seed=9)
    batch = flatten([new[0], known[1], new[1], known[0]])
    without = policy(batch, Want()).logprob
    with keeping(policy, trunk_of(policy)):
        policy(flatten(known), Want())
        torch.testing.assert_close(policy(batch, Want()).logprob, without, rtol=1e-6, atol=1e-6)


def test_a_known_beginning_with_a_new_answer() -> None:
    policy = policy_of()
    (first,) = rows((19,), branches=(8, 13))
    other = replace(first, ids=np.concatenate([first.ids[:13], first.ids[13:] + 1]))
    without = policy(flatten([other]), Want()).logprob
    trunk = trunk_of(policy)
    with keeping(policy, trunk):
        policy(flatten([first]), Want())
        torch.testing.assert_close(policy(flatten([other]), Want()).logprob, without, rtol=1e-6, atol=1e-6)
    assert trunk.reused == 13


def test_a_full_store_takes_no_more_and_stays_right() -> None:
    policy, batch = policy_of(), flatten(rows((7, 12, 5)))
    without = policy(batch, Want()).logprob
    trunk = trunk_of(policy, room=12 * 64 * 4)
    with keeping(policy, trunk):
        for _ in range(2):
            torch.testing.assert_close(policy(batch, Want()).logprob, without, rtol=1e-6, atol=1e-6)
    assert trunk.store.full
    assert (trunk.store.held, trunk.reused) == (12 * 64 * 4, 12)


@pytest.mark.parametrize(
    ("method", "family", "layers"),
    [
        (TOP, "llama", 1),
        ({"name": "freeze", "top_layers": 1}, "llama", 1),
        ({"name": "freeze", "top_layers": 0}, "llama", 2),
        ({"name": "freeze", "top_layers": 1, "head": False}, "bert", 1),
        ({"name": "adalora", "rank": 6, "target_rank": 4, "targets": ["model.layers.1.mlp.up_proj"]}, "llama", 1),
    ],
)
def test_the_trunk_ends_where_training_begins(method: dict[str, Any], family: str, layers: int) -> None:
    assert trunk_of(policy_of(method, family)).layers == layers


@pytest.mark.parametrize(
    "method",
    ["full", "lora", "ia3", "prompt", "p-tuning-v2", {"name": "freeze", "embeddings": True}],
)
def test_refused_where_something_below_is_trained(method: dict[str, Any] | str) -> None:
    with pytest.raises(UserError) as refused:
        trunk_of(policy_of(method))
    assert refused.value.code == "no-trunk"


def test_refused_with_dropout_in_it() -> None:
    with pytest.raises(UserError, match="not the same twice") as refused:
        trunk_of(policy_of(family="bert", dropout=True))
    assert refused.value.code == "trunk-varies"
    assert "dropout" in str(refused.value.got)


def test_refused_with_dropout_of_attention_weights_alone() -> None:
    policy = policy_of()
    for layer in policy.model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    with pytest.raises(UserError) as refused:
        trunk_of(policy)
    assert refused.value.code == "trunk-varies"


def test_dropout_above_it_is_welcome() -> None:
    assert trunk_of(policy_of({**TOP, "dropout": 0.5})).layers == 1


def test_refused_with_noise_on_the_embeddings() -> None:
    policy, noise = policy_of(), _Noise(5.0)
    policy.register_forward_pre_hook(noise.look)
    policy.model.get_input_embeddings().register_forward_hook(noise.add)
    with pytest.raises(UserError) as refused:
        trunk_of(policy)
    assert refused.value.code == "trunk-varies"


def test_refused_where_batches_are_padded() -> None:
    policy = policy_of()
    policy.drive("padded")
    with pytest.raises(UserError) as refused:
        trunk_of(policy)
    assert refused.value.code == "trunk-not-kept"


def test_refused_where_an_upper_layer_reads_a_lower_one_s_inside() -> None:
    policy = policy_of()
    lower, upper = policy.model.model.layers
    inside: list[torch.Tensor] = []
    lower.mlp.register_forward_hook(lambda _, __, output: inside.append(output))
    upper.mlp.register_forward_hook(lambda _, __, output: output + inside.pop() if inside else output)
    with pytest.raises(UserError) as refused:
        trunk_of(policy)
    assert refused.value.code == "trunk-not-kept"


def test_looking_for_it_leaves_the_model_and_the_random_numbers_alone() -> None:
    policy = policy_of()
    policy.eval()
    policy.model.model.layers[1].train()
    modes = [module.training for module in policy.modules()]
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trunk_of(policy)
    assert torch.equal(torch.rand(3), wanted)
    assert [module.training for module in policy.modules()] == modes
    assert policy.trunk is None
    assert all("forward" not in vars(layer) for layer in policy.model.model.layers)


def test_rows_are_known_by_all_that_they_depend_on() -> None:
    """Ids, places, token types, and the beginning they go on from; not the rows beside them."""
    (one, other) = rows((9, 6))
    stream = flatten([one, other]).main
    (alone,) = digests(flatten([one]).main)
    assert digests(stream)[0] == alone
    assert len({*digests(stream), digests(replace(stream, positions=stream.positions + 1))[0]}) == 3
    assert digests(replace(stream, types=torch.ones_like(stream.ids)))[0] != alone
    (branched,) = rows((9,), branches=(4, 7))
    changed = replace(branched, ids=np.concatenate([[branched.ids[0] + 1], branched.ids[1:]]))
    before, after = digests(flatten([branched]).main), digests(flatten([changed]).main)
    assert not set(before) & set(after)


def test_a_fingerprint_is_of_the_frozen_weights() -> None:
    policy = policy_of()
    known = fingerprint(policy, 1)
    with torch.no_grad():
        policy.model.model.layers[1].mlp.up_proj.lora_A.add_(1.0)
    assert fingerprint(policy, 1) == known
    assert fingerprint(policy_of(dtype=torch.bfloat16), 1) != known
    assert fingerprint(policy_of(quantize="nf4"), 1) != known
    with torch.no_grad():
        policy.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1.0
    assert fingerprint(policy, 1) != known
