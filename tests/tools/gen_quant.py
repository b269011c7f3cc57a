"""tests/data/quant/*.bin: blocks as the gguf package decodes and encodes them, and half floats as
numpy rounds them.

    python -m venv v && v/bin/pip install numpy gguf==0.19.0 && v/bin/python tests/tools/gen_quant.py

Blocks are random bytes whose scales (f16 fields) also take the extremes: zero of both signs, the
least and greatest subnormal, the greatest numbers, infinity. What the package cannot decode (Q1_0,
Q2_0, Q8_1, Q8_K) is written down here from the format's definition."""

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

import fixture

# type -> byte offsets of its f16 fields
SCALES = {
    T.Q8_0: [0],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
}
# Those that only decode; IQ1_M keeps its f16 in pieces, MXFP4 and NVFP4 have none.
DECODED = {
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.IQ1_S: [0],
    T.IQ1_M: [],
    T.IQ2_XXS: [0],
    T.IQ2_XS: [0],
    T.IQ2_S: [0],
    T.IQ3_XXS: [0],
    T.IQ3_S: [0],
    T.IQ4_NL: [0],
    T.IQ4_XS: [0],
    T.TQ1_0: [52],
    T.TQ2_0: [64],
    T.MXFP4: [],
    T.NVFP4: [],
}
EXTREME = np.array(
    [0, -0.0, 6e-8, -6e-8, 6.0976e-05, 65504, -65504, np.inf, 1, -1, 2**-14], np.float16
)
rng = np.random.default_rng(20240607)


def blocks_of(size, bytes_, scales):
    n = 96 if size <= 64 else 24
    b = rng.integers(0, 256, (n, bytes_), np.uint8)
    for i in range(n):
        for j, at in enumerate(scales):
            d = (
                EXTREME[i]
                if j == 0 and i < len(EXTREME)
                else np.float16(rng.normal() * 2.0 ** rng.integers(-12, 3))
            )
            b[i, at : at + 2] = np.frombuffer(d.tobytes(), np.uint8)
    return b


def inputs(n):
    x = rng.normal(size=(n, 32)).astype(np.float32) * 2.0 ** rng.integers(-10, 6, (n, 1)).astype(
        np.float32
    )
    x[0] = 0
    x[1] = 1
    x[2] = np.arange(32) - 16
    x[3, ::2], x[3, 1::2] = 3, -3  # ties of magnitude
    x[4] = np.arange(32) / 31
    x[5, 7] = 1000  # an outlier
    return x.astype(np.float32)


for t in SCALES:
    b = blocks_of(*GGML_QUANT_SIZES[t], SCALES[t])
    with np.errstate(all="ignore"):
        arrays = {"blocks": b, "values": dequantize(b, t).reshape(len(b), -1)}
    assert arrays["values"].dtype == np.float32
    if GGML_QUANT_SIZES[t][0] == 32:
        x = inputs(64)
        arrays |= {"input": x, "encoded": quantize(x, t)}
    fixture.write(f"tests/data/quant/{t.name.lower()}.bin", arrays)

rng, half_rng = np.random.default_rng(20240608), rng
for t in DECODED:
    b = blocks_of(*GGML_QUANT_SIZES[t], DECODED[t])
    with np.errstate(all="ignore"):
        values = dequantize(b, t).reshape(len(b), -1)
    fixture.write(
        f"tests/data/quant/{t.name.lower()}.bin", {"blocks": b, "values": values.astype(np.float32)}
    )


def f16(b, at):
    return b[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def bits(b, width):
    """Fields of `width` bits of each byte, the lowest first."""
    fields = b[:, :, None] >> np.arange(0, 8, width, dtype=np.uint8) & (2**width - 1)
    return fields.reshape(len(b), -1).astype(np.float32)


def write_defined(name, b, d, q):
    with np.errstate(all="ignore"):
        fixture.write(f"tests/data/quant/{name}.bin", {"blocks": b, "values": d * q})


b = blocks_of(128, 18, [0])
write_defined("q1_0", b, f16(b, 0), bits(b[:, 2:], 1) * 2 - 1)
b = blocks_of(64, 18, [0])
write_defined("q2_0", b, f16(b, 0), bits(b[:, 2:], 2) - 1)
b = blocks_of(32, 36, [0, 2])
write_defined("q8_1", b, f16(b, 0), b[:, 4:].view(np.int8).astype(np.float32))
b = blocks_of(256, 292, [])
b[1, :4] = np.array([0, 0, 0x80, 0xFF], np.uint8)  # infinity
d = b[:, :4].copy().view(np.float32)
write_defined("q8_k", b, d, b[:, 4:260].view(np.int8).astype(np.float32))
rng = half_rng

# Half floats: every f16 as f32; then floats at, next to and between the values where rounding turns.
h = np.arange(65536, dtype=np.uint16).view(np.float16)
mid = np.unique(
    np.concatenate(
        [
            np.array([0, 1, 2, 1023, 1024, 1025, 31742, 31743], np.uint16),
            rng.integers(0, 31743, 250).astype(np.uint16),
        ]
    )
)
lo = mid.view(np.float16).astype(np.float64)
hi = (mid + np.uint16(1)).view(np.float16).astype(np.float64)
half = np.where(np.isinf(hi), 65520.0, (lo + hi) / 2).astype(np.float32)
f = np.concatenate(
    [
        half,
        np.nextafter(half, np.float32(0)),
        np.nextafter(half, np.float32(1e9)),
        np.array(
            [np.inf, 65519.996, 65536, 1e30, 2**-25, 2**-24, 2**-26, 1e-40, 3.4028235e38],
            np.float32,
        ),
        rng.integers(0, 0x7F800000, 500).astype(np.uint32).view(np.float32),
    ]
)
f = np.concatenate([f, -f]).astype(np.float32)
nan = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0xFF800001], np.uint32).view(np.float32)
with np.errstate(all="ignore"):
    fixture.write(
        "tests/data/quant/half.bin",
        {
            "f16_all": h.astype(np.float32).view(np.uint32)[:65536:7],
            "f32": np.concatenate([f, nan]),
            "f16": np.concatenate([f, nan]).astype(np.float16).view(np.uint16),
            "bf16": quantize(np.concatenate([f, nan])[None, :], T.BF16).view(np.uint16).ravel(),
        },
    )
