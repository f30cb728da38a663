"""int8 by rows: the weight half of LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339, section 3.1, "vector-wise").

    scale_o = max |W_o| / 127        q = round(127 · W / max |W_o|)        Ŵ = q · scale

Activations stay as they are, so there is no path for outliers; this halves the weight and leaves its quality.

Shape legend: ``W [out, in]``, one ``scale`` an output row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tunesmith.models.quantized.statistics import refuse_infinite

_VALUES_AT_ONCE = 2**18


@dataclass(frozen=True)
class RowInt8:
    """A weight format. Packed tensors: ``packed`` int8 ``[out, in]``, ``scale`` float32 ``[out]``."""

    def pack(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """``weight [out, in]`` of any floating dtype -> packed tensors; ``UserError`` ``weight-not-finite``."""
        exact = weight.detach().float()
        absmax = exact.abs().amax(1)
        refuse_infinite(absmax)
        factor = torch.where(absmax == 0, 0.0, 127.0 / absmax)
        return {"packed": (exact * factor[:, None]).round_().to(torch.int8).contiguous(), "scale": absmax / 127.0}

    def unpack(
        self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, int], dtype: torch.dtype, room: torch.Tensor | None
    ) -> torch.Tensor:
        """Packed tensors -> ``[out, in]`` in ``dtype``, the float32 products rounded once; in ``room`` if given."""
        packed, scale = tensors["packed"], tensors["scale"]
        out = torch.empty(shape, dtype=dtype, device=packed.device) if room is None else room
        # in pieces that stay in the processor's cache
        rows = max(1, _VALUES_AT_ONCE // shape[1]) if packed.device.type == "cpu" else shape[0]
        for start in range(0, shape[0], rows):
            piece = slice(start, start + rows)
            out[piece] = packed[piece].float().mul_(scale[piece, None])
        return out


INT8 = RowInt8()
