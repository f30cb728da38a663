"""Weight formats: bytes written by hand, bitsandbytes' own bytes and values, bounds of the error, bits a weight."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from tunesmith.errors import UserError
from tunesmith.models.quantized import KINDS, kernels, statistics
from tunesmith.models.quantized.nf2 import VALUES as NF2_VALUES
from tunesmith.models.quantized.nf4 import VALUES

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bnb() -> ModuleType:
    """``bitsandbytes.functional``."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    pytest.importorskip("bitsandbytes", reason="the `quant` extra is not installed")
    import bitsandbytes.functional

    return bitsandbytes.functional


@pytest.fixture(params=["ours", "chosen"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With our own unpacking only, and with what the probe chooses here."""
    if request.param == "ours":
        monkeypatch.setattr(kernels, "chosen", lambda *_: None)
    return request.param


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    kernels.chosen.cache_clear()
    yield
    kernels.chosen.cache_clear()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def roundtrip(kind: str, weight: torch.Tensor) -> torch.Tensor:
    form = KINDS.load(kind)
    return form.unpack(form.pack(weight), tuple(weight.shape), weight.dtype, None)


def test_golden_bytes_of_one_nf4_block() -> None:
    """64 weights by hand: 1 is index 15, -1 is 0, ±0 are 7; 0.5 lies below 0.5017, half of 0.4407 + 0.5626: index 12.

    The first index of a byte is its high half.
    """
    weight = torch.zeros(4, 16)
    weight[0, :6] = torch.tensor([2.0, -2.0, -0.0, 1.0, 1.01, -1.4])
    tensors = KINDS.load("nf4").pack(weight)
    assert tensors["packed"].tolist() == [0xF0, 0x7C, 0xD1] + [0x77] * 29
    assert tensors["absmax"].tolist() == [2.0]


def test_a_tie_belongs_to_the_lower_value() -> None:
    code = torch.tensor(VALUES)
    weight = torch.zeros(1, 64)
    weight[0, :15] = (code[:-1] + code[1:]) / 2
    weight[0, 15] = 1.0
    packed = KINDS.load("nf4").pack(weight)["packed"]
    assert packed[:8].tolist() == [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]


def test_golden_bytes_of_scales() -> None:
    """Scales 1 and 3: offset 2, rests -1 and 1; the lowest value of the map is -0.9930 (not -1), the highest 1."""
    weight = torch.cat([torch.ones(1, 64), 3 * torch.ones(1, 64)])
    tensors = KINDS.load("nf4-double").pack(weight)
    assert tensors["absmax"].tolist() == [0, 255]
    assert tensors["nested_absmax"].tolist() == [1.0]
    assert float(tensors["nested_offset"]) == 2.0
    assert statistics.expand(tensors).tolist() == pytest.approx([2 - (1 - 0.9 / 128), 3.0], abs=1e-6)


def test_golden_bytes_of_nf2_and_int8() -> None:
    weight = torch.tensor([[1.0, -1.0, 0.1, -0.1] * 4])
    assert KINDS.load("nf2-double").pack(weight)["packed"].tolist() == [0b11_00_10_01] * 4
    tensors = KINDS.load("int8").pack(torch.tensor([[1.0, -0.5, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0], [-254, 2, 4, 6]]))
    assert tensors["packed"].tolist() == [[127, -64, 32, 0], [0, 0, 0, 0], [-127, 1, 2, 3]]
    assert tensors["scale"].tolist() == pytest.approx([1 / 127, 0.0, 2.0])


def test_the_codebook_is_that_of_the_paper() -> None:
    """Appendix E: quantiles of the normal distribution from 0.9677083 down, eight above zero, seven below, scaled."""
    above = torch.special.ndtri(torch.linspace(0.9677083, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(0.9677083, 0.5, 8, dtype=torch.float64)[:-1])
    expected = torch.cat([below, torch.zeros(1), above]).sort().values / above.max()
    assert torch.allclose(torch.tensor(VALUES, dtype=torch.float64), expected, atol=1e-6)


def test_nf2_values_are_the_means_of_what_is_rounded_to_them() -> None:
    weight = torch.randn(200_000, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scale = weight.abs().amax(1, keepdim=True)
    code = torch.tensor(NF2_VALUES, dtype=torch.float64)
    index = torch.bucketize(weight / scale, (code[1:] + code[:-1]) / 2)
    for number, value in enumerate(NF2_VALUES):
        mine = index == number
        # weighed by scale²: the mean of w·scale over the mean of scale²
        mean = (weight * scale)[mine].sum() / (scale**2).expand_as(weight)[mine].sum()
        assert float(mean) == pytest.approx(value, abs=1e-3)  # 800,000 draws a value know it to 3e-4


def shaped(shape: tuple[int, int], what: str, dtype: torch.dtype) -> torch.Tensor:
    weight = random(*shape)
    flat = weight.view(-1)
    if what == "zero block":
        flat[: min(64, flat.numel() - 1)] = 0.0
        flat[flat.numel() // 2] = -0.0
        flat[-1] = -5.0
    if what == "zeros":
        weight.zero_()
    if what == "near ties":  # a last bit of the scaled weight decides the index
        blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % 64)).view(-1, 64)
        code = torch.tensor(VALUES)
        ties = ((code[:-1] + code[1:]) / 2).repeat(5)[:63] * blocks.abs().amax(1, keepdim=True)
        flat.copy_(torch.cat([blocks.abs().amax(1, keepdim=True), ties], 1).view(-1)[: flat.numel()])
    if what == "huge":
        weight *= 1e33 if dtype != torch.float16 else 1e4
    return weight.to(dtype)


SHAPES = [(64, 64), (130, 576), (7, 13), (1, 64), (3, 1), (1, 63), (5, 96), (33, 48), (9, 450), (1100, 1001)]
SHAPES += [(1100, 1024)]  # large enough for a kernel to be asked


@pytest.mark.parametrize("double", [False, True], ids=["nf4", "nf4-double"])
@pytest.mark.parametrize("what", ["random", "near ties", "zero block", "zeros", "huge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_bytes_and_values_are_those_of_bitsandbytes(
    dtype: torch.dtype, what: str, double: bool, path: str, bnb: Any
) -> None:
    """The vector, not the matrix, is given to bitsandbytes: see the trap in ``kernels``."""
    form = KINDS.load("nf4-double" if double else "nf4")
    for shape in SHAPES:
        weight = shaped(shape, what, dtype)
        packed, state = bnb.quantize_4bit(weight.view(-1), quant_type="nf4", blocksize=64, compress_statistics=double)
        tensors = form.pack(weight)
        assert torch.equal(tensors["packed"], packed.view(-1))
        assert torch.equal(tensors["absmax"], state.absmax)
        if double:
            assert torch.equal(tensors["nested_absmax"], state.state2.absmax)
            assert torch.equal(tensors["nested_offset"], state.offset)
        state.shape = torch.Size([2 * packed.numel()])  # with the padding: it compiles code for odd shapes
        expected = bnb.dequantize_4bit(packed, state).view(-1)[: weight.numel()].view(shape)
        room = torch.full(shape, torch.nan, dtype=dtype)
        assert torch.equal(form.unpack(tensors, shape, dtype, None), expected)
        assert form.unpack(tensors, shape, dtype, room) is room or path == "chosen"
        assert torch.equal(form.unpack(tensors, shape, dtype, room), expected)


def test_scales_are_compressed_as_by_bitsandbytes(bnb: Any) -> None:
    """A million scales of several distributions, so that every bin of its rounding is met."""
    assert torch.equal(statistics.dynamic_map(CPU), bnb.create_dynamic_map())
    generator = torch.Generator().manual_seed(0)
    for power in (1.0, 3.0, 9.0):
        scales = torch.rand(300_037, generator=generator) ** power
        offset = scales.mean()
        packed, state = bnb.quantize_blockwise(scales - offset, blocksize=256)
        tensors = statistics.compress(scales)
        assert torch.equal(tensors["absmax"], packed)
        assert torch.equal(tensors["nested_absmax"], state.absmax)
        assert torch.equal(statistics.expand(tensors), bnb.dequantize_blockwise(packed, state) + offset)


def test_int8_is_that_of_bitsandbytes(bnb: Any) -> None:
    weight = random(300, 500).half()
    packed, scales, _ = bnb.int8_vectorwise_quant(weight)
    tensors = KINDS.load("int8").pack(weight)
    assert torch.equal(tensors["packed"], packed)
    assert torch.equal(tensors["scale"], scales / 127)


def test_errors_are_within_the_widest_gap() -> None:
    weight = random(96, 640)
    for kind, values, block in (("nf4", VALUES, 64), ("nf2-double", NF2_VALUES, 16)):
        code = torch.tensor(values)
        widest = max(float((code[1:] - code[:-1]).max()) / 2, 1 - code[-1])
        error = (roundtrip(kind, weight) - weight).view(-1, block).abs().amax(1)
        scale = weight.view(-1, block).abs().amax(1)
        slack = 0.02 * float(scale.max()) if kind.endswith("double") else 1e-6  # scales are rounded too
        assert bool((error <= widest * scale + slack).all())
    error = (roundtrip("int8", weight) - weight).abs().amax(1)
    assert bool((error <= weight.abs().amax(1) / 127 / 2 * 1.0001).all())


@pytest.mark.parametrize(
    ("kind", "relative", "bits"),
    [("int8", 0.0078, 8 + 32 / 640), ("nf4", 0.095, 4.5), ("nf4-double", 0.095, 4.1270), ("nf2-double", 0.325, 2.5080)],
)
def test_quality_and_size_on_normal_weights(kind: str, relative: float, bits: float) -> None:
    """nf4 is above 0.27 of bfloat16 (0.281), nf4-double is below (0.258)."""
    weight = random(512, 640)
    tensors = KINDS.load(kind).pack(weight)
    held = sum(tensor.nbytes for tensor in tensors.values())
    assert float((roundtrip(kind, weight) - weight).norm() / weight.norm()) < relative
    assert held * 8 / weight.numel() == pytest.approx(bits, abs=2e-3)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_bfloat16_value_is_the_float32_value_rounded_once(kind: str, path: str) -> None:
    form = KINDS.load(kind)
    tensors = form.pack(random(40, 96))
    exact = form.unpack(tensors, (40, 96), torch.float32, None)
    assert torch.equal(form.unpack(tensors, (40, 96), torch.bfloat16, None), exact.bfloat16())
    assert torch.equal(form.unpack(tensors, (40, 96), torch.float64, None), exact.double())


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_weights_that_are_no_numbers_are_refused(kind: str, bad: float) -> None:
    weight = random(8, 64)
    weight[3, 3] = bad
    with pytest.raises(UserError) as caught:
        KINDS.load(kind).pack(weight)
    assert caught.value.code == "weight-not-finite"


def test_packed_again_it_is_the_same() -> None:
    form = KINDS.load("nf4")
    first = form.pack(random(33, 70))
    second = form.pack(form.unpack(first, (33, 70), torch.float32, None))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_kernel_is_used_only_where_it_gives_our_bits_and_is_faster(
    fresh_probe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = KINDS.load("nf4")

    def right(packed: torch.Tensor, absmax: torch.Tensor, *_: Any) -> torch.Tensor:
        return form.look_up(packed, absmax)

    def wrong(packed: torch.Tensor, absmax: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.nextafter(form.look_up(packed, absmax), torch.tensor(torch.inf))

    for operation, seconds, used in [
        (right, [1.0, 0.5], True),
        (right, [0.5, 1.0], False),
        (wrong, [1.0, 0.5], False),
        (None, [1.0, 0.5], False),
    ]:
        times = iter(seconds)
        monkeypatch.setattr(kernels, "_operation", lambda operation=operation: operation)
        monkeypatch.setattr(kernels, "_seconds", lambda *_, times=times: next(times))
        kernels.chosen.cache_clear()
        before = torch.random.get_rng_state()
        assert (kernels.chosen(form, "cpu", torch.float32) is not None) is used
        assert torch.equal(torch.random.get_rng_state(), before)
    assert kernels.chosen(KINDS.load("nf2-double"), "cpu", torch.float32) is None


@pytest.mark.parametrize(("installed", "hub"), [(False, False), (True, True)])
def test_bitsandbytes_is_not_imported_where_it_is_absent_or_would_fetch(
    installed: bool, hub: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"bitsandbytes": installed, "kernels": hub}
    monkeypatch.setattr(kernels, "find_spec", lambda name: object() if there[name] else None)
    assert kernels._operation() is None
