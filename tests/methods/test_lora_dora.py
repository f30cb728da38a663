"""DoRA: its node against the formula in float64, the cheap norm, the promises about precision, and PEFT's dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from families import tiny
from tunesmith.methods import lora_node
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_dora import DoraLinear
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.models.quantized.model import quantize_linear

IN, OUT, RANK = 64, 40, 3
KINDS = ["linear", "linear-bias", "conv1d", "nf4"]


def base_layer(kind: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    module = Conv1D(OUT, IN) if kind == "conv1d" else nn.Linear(IN, OUT, bias=kind != "linear")
    nn.init.normal_(module.weight)
    if module.bias is not None:
        nn.init.normal_(module.bias)
    module.requires_grad_(False).to(dtype)
    return quantize_linear(module, "nf4") if kind == "nf4" else module


def layer_of(kind: str, dtype: torch.dtype = torch.float64, **options: Any) -> DoraLinear:
    """A layer away from its start."""
    layer = DoraLinear(base_layer(kind, dtype), Lora(rank=RANK, alpha=2.0, dora=True, **options)).train()
    with torch.no_grad():
        layer.lora_B.normal_()
        layer.lora_magnitude_vector.weight.mul_(torch.linspace(0.5, 1.5, OUT))
    if layer.bias is not None:
        layer.bias.requires_grad_(True)
    return layer


def dense(layer: DoraLinear) -> torch.Tensor:
    return layer.base.dense().double()


def reference(layer: DoraLinear, x: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
    """Eq. 5 written out, the norm constant; ``z`` is the dropped and rescaled input."""
    W, s = dense(layer), layer.scaling
    V = W + s * layer.lora_B.double() @ layer.lora_A.double()
    f = layer.lora_magnitude_vector.weight.double() / V.detach().norm(dim=1)
    bias = 0 if layer.bias is None else layer.bias.double()
    if z is None:
        return x @ (f[:, None] * V).t() + bias
    return x @ W.t() + bias + (f - 1) * (z @ W.t()) + f * s * ((z @ layer.lora_A.t()) @ layer.lora_B.t())


def gradients(layer: DoraLinear, x: torch.Tensor, y: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    wanted = [x, layer.lora_A, layer.lora_B, layer.lora_magnitude_vector.weight]
    return list(torch.autograd.grad(y, wanted + ([layer.bias] if layer.bias is not None else []), upstream))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(7,), (2, 5), (1, 1), (0,)])
def test_values_and_gradients_equal_the_formula(kind: str, shape: tuple[int, ...]) -> None:
    layer = layer_of(kind)
    x = torch.randn(*shape, IN, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(*shape, OUT, dtype=torch.float64)
    y, expected = layer(x), reference(layer, x)
    # nf4's statistics are float32, and so is its dense weight only to that precision
    torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-10)
    pairs = zip(gradients(layer, x, y, upstream), gradients(layer, x, expected, upstream), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_falls_on_both_parts_of_the_change(kind: str) -> None:
    layer = layer_of(kind, dropout=0.4)
    x = torch.randn(5, IN, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, OUT, dtype=torch.float64)
    torch.manual_seed(3)
    y = layer(x)
    torch.manual_seed(3)
    update = layer.update()
    mask = update.mask(x)
    assert mask is not None
    expected = reference(layer, x, x * mask / update.kept)
    torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-10)
    pairs = zip(gradients(layer, x, y, upstream), gradients(layer, x, expected, upstream), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_under_autocast_it_is_ordinary_operations(dropout: float) -> None:
    layer = layer_of("linear-bias", torch.float32, dropout=dropout)
    x = torch.randn(6, IN, requires_grad=True)
    torch.manual_seed(3)
    expected = layer(x)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y.float(), expected, atol=0.3, rtol=3e-2)  # a few bf16 roundings of sums of 64
    for mine, other in zip(
        gradients(layer, x, y, torch.ones_like(y)),
        gradients(layer, x, expected, torch.ones_like(expected)),
        strict=True,
    ):
        assert mine.dtype == other.dtype
        assert (mine - other).norm() < 0.03 * other.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cheap_norm_is_the_norm(dtype: torch.dtype) -> None:
    layer = layer_of("linear", dtype)
    V = dense(layer) + layer.scaling * layer.lora_B.double() @ layer.lora_A.double()
    # the cross term is a product in the base's dtype
    bound = 1e-6 if dtype == torch.float32 else 2**-9
    torch.testing.assert_close(layer.lengths(*layer.matrices()).double(), V.norm(dim=1), atol=0, rtol=bound)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_base_in_every_dtype_even_after_a_cast(kind: str) -> None:
    layer = DoraLinear(base_layer(kind, torch.float32), Lora(rank=RANK, dora=True)).to(torch.bfloat16)
    x = torch.randn(33, IN, dtype=torch.bfloat16)
    assert torch.equal(layer(x), layer.base_layer(x))
    assert layer.lora_A.dtype == torch.bfloat16
    assert layer.lora_magnitude_vector.weight.dtype == torch.float32
    if not isinstance(layer.base_layer, QuantizedLinear):
        assert layer.double().lora_magnitude_vector.weight.dtype == torch.float64


def test_a_change_of_a_hundredth_is_made_as_it_is_in_bfloat16() -> None:
    """``f`` itself would be rounded to 1.0078 (its step there is 2⁻⁷); what is used is ``f - 1``."""
    layer = DoraLinear(base_layer("linear", torch.bfloat16), Lora(rank=RANK, dora=True))
    x = torch.randn(4096, IN, dtype=torch.bfloat16)
    with torch.no_grad():
        before = layer(x).double()
        layer.lora_magnitude_vector.weight.mul_(1.01)
        after = layer(x).double()
    ratio = float((before * after).sum() / before.square().sum())
    # outputs are rounded once more, by at most 2⁻⁸ each, evenly over 163,840 of them
    assert ratio == pytest.approx(1.01, abs=5e-4)


def test_a_row_of_zeros_stays_finite() -> None:
    module = base_layer("linear-bias", torch.float32)
    with torch.no_grad():
        module.weight[3] = 0
    layer = DoraLinear(module, Lora(rank=RANK, dora=True))
    x = torch.randn(5, IN, requires_grad=True)
    assert torch.equal(layer(x), module(x))
    layer(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters() if parameter.grad is not None)
    assert float(layer.lora_magnitude_vector.weight.grad[3]) == 0


def kept_bytes(run: Any, weights: set[int]) -> int:
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    del output
    return sum(size for pointer, size in found.items() if pointer not in weights)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_it_keeps_input_output_and_thin_things(dropout: float) -> None:
    layer, n = layer_of("linear", torch.float32, dropout=dropout), 128
    x = torch.randn(n, IN, requires_grad=True)
    weights = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    vectors = 2 * OUT  # lengths and f - 1
    assert kept_bytes(lambda: layer(x), weights) == 4 * (n * IN + n * OUT + n * RANK + vectors)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_stands_on_another_adapter(family: str) -> None:
    """With two adapters the changes of both are added to the base."""
    model = tiny(family)
    targets = ["q_proj", "down_proj"] if family == "llama" else ["c_attn"]
    dora = Lora(rank=2, dora=True, targets=targets).attach(model)
    lora_model = tiny(family)
    lora = Lora(rank=2, targets=targets).attach(lora_model)
    torch.manual_seed(5)
    with torch.no_grad():
        for attached in (dora, lora):
            for parameter in attached.parameters.values():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    path = next(iter(dora.layers))
    plain = tiny(family).get_submodule(path)
    layer, under = dora.layers[path], lora.layers[path]
    layer.base_layer = under
    x = torch.randn(3, layer.in_features)
    expected = plain(x) + functional.linear(x, under.delta() + layer.delta())
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_no_input_gradient_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.methods import lora_dora

    monkeypatch.setattr(lora_dora, "_grad_input", lambda *_: pytest.fail("computed"))
    layer = layer_of("linear")
    layer(torch.randn(4, IN, dtype=torch.float64)).sum().backward()
    assert layer.lora_A.grad is not None
    assert lora_node.product is lora_dora.product


def test_in_a_loop_of_ones_own_it_equals_plain_torch() -> None:
    """Ten Adam steps on a whole model equal those of ``m (W + sBA) / ‖W + sBA‖`` written out, in float64."""
    steps, ids = 10, torch.randint(3, 320, (2, 8), generator=torch.Generator().manual_seed(0))

    def loss_of(model: nn.Module, changed: dict[str, torch.Tensor]) -> torch.Tensor:
        out = torch.func.functional_call(model, changed, (ids,)).logits
        return functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    model = tiny("llama").double()
    attached = Lora(rank=4, alpha=8, dora=True, targets=["q_proj", "down_proj"]).attach(model)
    parameters = {name: value for group in attached.groups() for name, value in group.parameters.items()}
    plain = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    base = tiny("llama").double()
    weights = {name: value.detach() for name, value in base.named_parameters()}

    def written_out() -> torch.Tensor:
        changed = {}
        for path in attached.layers:
            name, W = f"base_model.model.{path}", weights[f"{path}.weight"]
            V = W + 2.0 * plain[f"{name}.lora_B.weight"] @ plain[f"{name}.lora_A.weight"]
            f = plain[f"{name}.lora_magnitude_vector"] / V.detach().norm(dim=1)
            changed[f"{path}.weight"] = f[:, None] * V
        return loss_of(base, changed)

    curves: list[list[float]] = []
    for trained, loss in ((parameters, lambda: loss_of(model, {})), (plain, written_out)):
        optimizer, curve = torch.optim.Adam(trained.values(), lr=1e-2), []
        for _ in range(steps):
            value = loss()
            curve.append(float(value.detach()))
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
        curves.append(curve)
    assert curves[0][-1] < curves[0][0] - 0.1
    # the norm is computed another way, in float64
    assert curves[0] == pytest.approx(curves[1], abs=1e-9)


def test_without_gradients_the_norm_is_computed_once_for_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = layer_of("linear-bias").eval(), torch.randn(5, IN, dtype=torch.float64)
    asked = []
    lengths = DoraLinear.lengths
    monkeypatch.setattr(DoraLinear, "lengths", lambda *given: (asked.append(1), lengths(*given))[1])
    with torch.no_grad():
        first = [layer(x) for _ in range(3)]
    assert len(asked) == 1
    assert all(torch.equal(y, layer(x)) for y in first)  # with gradients: computed again
    assert len(asked) == 4
    layer.lora_B.data[3, 1] += 0.25  # torch's own count of changes does not see this one
    with torch.inference_mode():
        changed = layer(x)
    torch.testing.assert_close(changed, reference(layer, x))
    assert not torch.equal(changed, first[0])


def test_the_known_norm_is_not_taken_in_another_dtype() -> None:
    layer, x = layer_of("linear").eval(), torch.randn(5, IN, dtype=torch.float64)
    with torch.no_grad():
        layer(x)
        layer.bfloat16()
        assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert layer(x.bfloat16()).isfinite().all()
