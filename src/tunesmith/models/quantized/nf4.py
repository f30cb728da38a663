"""NF4, the 4-bit NormalFloat of QLoRA (Dettmers et al. 2023, arXiv:2305.14314, section 3 and appendix E).

Sixteen values that split a normal distribution into equally likely parts, zero among them: eight quantiles of the
positive half and seven of the negative one, divided by the largest. Blocks of 64 weights share a scale. ``nf4`` keeps
scales in float32 (4.5 bits a weight, 0.281 of bfloat16); ``nf4-double`` quantizes them too (4.127 bits, 0.258).

Bytes and values are those of bitsandbytes' CPU kernels, bit for bit.
"""

from __future__ import annotations

from tunesmith.models.quantized.codebook import Codebook

VALUES = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
NF4 = Codebook(VALUES, block=64, double=False, kernel="nf4")
NF4_DOUBLE = Codebook(VALUES, block=64, double=True, kernel="nf4")
