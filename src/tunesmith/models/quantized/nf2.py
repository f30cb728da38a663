"""Two bits a weight: four values that lose least on normally distributed weights, 2.5 bits with their scales.

The values are the fixed point of Lloyd's iteration (Lloyd 1982, IEEE TIT 28(2)) for a normal block of 16 divided by its
largest absolute value, errors weighed by that value's square: each is the mean of what is rounded to it. The relative
error ``‖W - Ŵ‖ / ‖W‖`` on normal weights is 0.32, against 0.09 of NF4: a base that small has to be adapted before it is
of use. Scales are quantized twice, as in ``nf4-double``.

Trap: zero is not among the values, so a block of zeros does not stay zero where its scale is rounded.
"""

from __future__ import annotations

from tunesmith.models.quantized.codebook import Codebook

VALUES = (-0.7298, -0.2112, 0.2112, 0.7298)
NF2_DOUBLE = Codebook(VALUES, block=16, double=True)
