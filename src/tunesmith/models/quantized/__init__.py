"""Quantized linear layers: one file a weight format, one line here.

A format keeps the promises of ``quantized.linear.Format``: it turns a weight into packed tensors and back. Layers,
models and methods know no format by name.
"""

from tunesmith.registry import Table

KINDS = Table(
    "quantization",
    {
        "int8": "tunesmith.models.quantized.int8:INT8",
        "nf4": "tunesmith.models.quantized.nf4:NF4",
        "nf4-double": "tunesmith.models.quantized.nf4:NF4_DOUBLE",
        "nf2-double": "tunesmith.models.quantized.nf2:NF2_DOUBLE",
    },
)
"""What ``model.quantize`` names -> weight format; plugins join by the entry-point group ``tunesmith.quantizations``."""
