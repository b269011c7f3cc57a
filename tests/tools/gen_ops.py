"""tests/data/kernels/ops.bin: every arithmetic op in float64 with numpy, written from its contract
in kernels/ops.h.

    python -m venv v && v/bin/pip install numpy gguf==0.19.0 && v/bin/python tests/tools/gen_ops.py
"""

import math

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

import fixture

rng = np.random.default_rng(77)
f32, f64 = np.float32, np.float64
out = {}


def normal(*shape):
    return rng.normal(size=shape).astype(f32)


def bf16(x):
    flat = np.ascontiguousarray(x, f32).reshape(1, -1)
    return dequantize(quantize(flat, T.BF16), T.BF16).reshape(np.shape(x))


# --- rmsnorm
x, w = normal(5, 40) * 3, normal(40)
out["norm.x"], out["norm.w"] = x, w
out["norm.y"] = x.astype(f64) / np.sqrt((x.astype(f64) ** 2).mean(-1, keepdims=True) + 1e-5) * w

# --- linear: x [5, 512], every weight type [19, 512]
x, bias = normal(5, 512), normal(19)
x[2, 37] = 300  # an outlier in one group of 32
x[3, 64:96] = 0
out["linear.x"], out["linear.bias"] = x, bias
g = x.reshape(5, 16, 32)
top = np.abs(g).max(-1, keepdims=True)
with np.errstate(divide="ignore"):
    inv = np.where(top > 0, f32(127) / top, f32(0))
ints = np.rint(g * inv)
x_int = (ints.astype(f64) * (top.astype(f64) / 127)).reshape(5, 512)
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
for t, at in SCALES.items():
    block, size = GGML_QUANT_SIZES[t]
    b = rng.integers(0, 256, (19, 512 // block, size), np.uint8)
    for o in at:
        d = (rng.normal(size=b.shape[:2]) * 0.02).astype(np.float16)
        b[..., o:o + 2] = d[..., None].view(np.uint8)
    b = b.reshape(19, -1)
    out[f"linear.{t.name.lower()}.w"] = b
    out[f"linear.{t.name.lower()}.y"] = x_int @ dequantize(b, t).astype(f64).T + bias
w = normal(19, 512)
out["linear.f32.w"] = w.view(np.uint8)
out["linear.f32.y"] = x.astype(f64) @ w.astype(f64).T + bias
h = w.astype(np.float16)
out["linear.f16.w"] = h.view(np.uint8)
out["linear.f16.y"] = x.astype(f64) @ h.astype(f64).T + bias
out["linear.bf16.w"] = quantize(w, T.BF16).view(np.uint8)
out["linear.bf16.y"] = bf16(x).astype(f64) @ bf16(w).astype(f64).T + bias

# --- rope: the first 2 * 6 of 16 elements turn
x = normal(4, 3, 16)
pos = np.array([0, 1, 77, 100000], np.int32)
freq = (1 / 10000 ** (np.arange(6) / 6)).astype(f32)
angle = pos[:, None].astype(f64) * freq.astype(f64)
c, s = 1.25 * np.cos(angle)[:, None], 1.25 * np.sin(angle)[:, None]
out["rope.x"], out["rope.pos"], out["rope.freq"] = x, pos, freq
for name, a, b in (("neox", slice(0, 6), slice(6, 12)), ("pair", slice(0, 12, 2), slice(1, 12, 2))):
    y = x.astype(f64).copy()
    y[..., a] = x[..., a] * c - x[..., b] * s
    y[..., b] = x[..., b] * c + x[..., a] * s
    out[f"rope.{name}"] = y

# --- attention: 3 sequences, 6 query heads on 2 heads of keys, pages of any order
LEN = 152
k, v = normal(3, LEN, 2, 32), normal(3, LEN, 2, 32)
k[0, :, 0] *= 4  # sharp and flat heads
rows_seq = np.array([0, 0, 0, 1, 2, 2], np.int32)
rows_pos = np.array([5, 6, 7, 151, 0, 1], np.int32)
span = np.array([9, 9, 9, 151, 1, 1], np.int32)
q, sinks = normal(6, 6, 32), normal(6)
out |= {"attn.k": k, "attn.v": v, "attn.q": q, "attn.sinks": sinks, "attn.seq": rows_seq,
        "attn.pos": rows_pos, "attn.span": span}


def attention(dim, window=0, softcap=0.0, sink=False, use_span=False, half=False):
    y = np.zeros((6, 6, dim))
    for r in range(6):
        p = rows_pos[r]
        lo = max(0, p - window + 1) if window else 0
        hi = span[r] if use_span else p
        for h in range(6):
            kk, vv = (a[rows_seq[r], lo:hi + 1, h // 3, :dim] for a in (k, v))
            if half:
                kk, vv = bf16(kk), bf16(vv)
            score = kk.astype(f64) @ q[r, h, :dim].astype(f64) * 0.25
            if softcap:
                score = softcap * np.tanh(score / softcap)
            m = max(score.max(), sinks[h] if sink else -np.inf)
            e = np.exp(score - m)
            total = e.sum() + (math.exp(sinks[h] - m) if sink else 0)
            y[r, h] = e @ vv.astype(f64) / total
    return y


for dim in (32, 20):
    out |= {f"attn.{dim}.plain": attention(dim), f"attn.{dim}.window": attention(dim, window=40),
            f"attn.{dim}.softcap": attention(dim, softcap=3.0),
            f"attn.{dim}.sinks": attention(dim, sink=True),
            f"attn.{dim}.span": attention(dim, use_span=True),
            f"attn.{dim}.all": attention(dim, 100, 3.0, True, True),
            f"attn.{dim}.bf16": attention(dim, half=True)}

# --- glu
x = normal(3, 66) * 4
x[0, :4] = [0, -30, 30, -0.0]
out["glu.x"] = x
gate, up = x[:, :33].astype(f64), x[:, 33:].astype(f64)
cube = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate ** 3)
out |= {"glu.silu": gate / (1 + np.exp(-gate)) * up,
        "glu.gelu_tanh": 0.5 * gate * (1 + np.tanh(cube)) * up,
        "glu.gelu_erf": 0.5 * gate * (1 + np.vectorize(math.erf)(gate / math.sqrt(2))) * up,
        "glu.relu": np.maximum(gate, 0) * up}

# --- log-probabilities
x = normal(2, 3000) * 5
x[1, 100:110] = 25  # ties at the top
y = x.astype(f64)
logp = y - y.max(-1, keepdims=True)
logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
order = np.stack([np.lexsort((np.arange(3000), -row)) for row in x])
out |= {"logprob.x": x, "logprob.y": logp, "logprob.order": order.astype(np.int32)[:, :40]}

# --- linear again: the formats that came later, with a generator of their own
rng = np.random.default_rng(78)
x = out["linear.x"]


def fields(b, width):
    """Numbers of `width` bits, the lowest of a byte first."""
    return (b[..., None] >> np.arange(0, 8, width, dtype=np.uint8) & (2**width - 1)).astype(f64)


def linear_of(name, block, size, at, values):
    b = rng.integers(0, 256, (19 * 512 // block, size), np.uint8)
    for o in at:
        d = (rng.normal(size=len(b)) * 0.02).astype(np.float16)
        b[:, o:o + 2] = d[:, None].view(np.uint8)
    if name == "iq1_m":  # its scale is in four pieces of 4 bits; 0x2d0f is 0.08
        b[:, 49:57:2] = b[:, 49:57:2] & 15 | np.array([0xf0, 0x00, 0xd0, 0x20], np.uint8)
    if name == "mxfp4":
        b[:, 0] = rng.integers(118, 126, len(b))
    if name == "nvfp4":
        b[:, :4] = rng.integers(0, 40, (len(b), 4))
    if name == "q8_k":
        b[:, :4] = normal(len(b), 1).view(np.uint8)
    w = np.asarray(values(b), f64).reshape(19, 512)
    out[f"linear.{name}.w"] = b.reshape(19, -1)
    out[f"linear.{name}.y"] = x_int @ w.T + bias


for t, at in {T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ1_S: [0], T.IQ1_M: [], T.IQ2_XXS: [0],
              T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.IQ4_NL: [0],
              T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: [], T.NVFP4: []}.items():
    linear_of(t.name.lower(), *GGML_QUANT_SIZES[t], at, lambda b: dequantize(b, t))
d16 = lambda b: b[:, :2].copy().view(np.float16).astype(f64)
signed = lambda b: b.copy().view(np.int8).astype(f64)
linear_of("q1_0", 128, 18, [0], lambda b: d16(b) * (2 * fields(b[:, 2:], 1).reshape(-1, 128) - 1))
linear_of("q2_0", 64, 18, [0], lambda b: d16(b) * (fields(b[:, 2:], 2).reshape(-1, 64) - 1))
linear_of("q8_1", 32, 36, [0], lambda b: d16(b) * signed(b[:, 4:]))
linear_of("q8_k", 256, 292, [], lambda b: b[:, :4].copy().view(f32) * signed(b[:, 4:260]))
for name, w in (("f64", rng.normal(size=(19, 512))),
                ("i8", rng.integers(-128, 128, (19, 512), np.int8)),
                ("i16", rng.integers(-999, 999, (19, 512)).astype(np.int16)),
                ("i32", rng.integers(-1 << 20, 1 << 20, (19, 512)).astype(np.int32)),
                ("i64", rng.integers(-1 << 20, 1 << 20, (19, 512)))):
    out[f"linear.{name}.w"] = w.view(np.uint8)
    out[f"linear.{name}.y"] = x.astype(f64) @ w.astype(f32).astype(f64).T + bias

fixture.write("tests/data/kernels/ops.bin", out)
