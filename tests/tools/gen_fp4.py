"""tests/data/fp4/rows.bin: rows of activations as NVFP4 and MXFP4, rounded by ml_dtypes, and the
scales of their blocks in the order that cuBLASLt reads.

    python -m venv v && v/bin/pip install numpy==2.4.6 ml_dtypes==0.6.0 && v/bin/python tests/tools/gen_fp4.py

Rows take numbers of every size, zeros, ties between two codes, and blocks that are tiny beside
others of their row; the last two hold an infinity and a NaN."""

import ml_dtypes
import numpy as np

import fixture

ROWS, K, WIDTH = 133, 80, 128
rng = np.random.default_rng(20261121)
f32 = np.float32


def rows():
    x = rng.normal(size=(ROWS, K)).astype(f32)
    x *= f32(2.0) ** rng.integers(-30, 30, (ROWS, 1)).astype(f32)
    x[8:24] *= f32(2.0) ** rng.integers(-14, 1, (16, K)).astype(f32)
    ties = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 2.25], f32)
    x[30:40] = np.tile(ties, K // 16) * rng.choice([-1, 1], (10, K)) * 448
    x[40:50] = np.tile(ties, K // 16) * rng.choice([-1, 1], (10, K)) / 1024
    x[50:60] = x[50:60].round(1)
    x[60] = 0
    x[61, 16:48] = 0
    x[62] = 1e-33
    x[63] *= 2.0**100
    x[64:80, ::16] *= 7
    x[80:96, ::32] *= 100
    x[-2, 3] = -np.inf
    x[-1, 77] = np.nan
    return x


def codes(v):
    c = v.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    return np.where(c == 8, 0, c).astype(np.uint8)  # one zero


def nvfp4(x):
    top = np.abs(x).max(1, keepdims=True)
    fine = np.isfinite(top)
    some = fine & (top >= 2.0**-100)
    with np.errstate(divide='ignore', invalid='ignore'):
        v = np.where(some, x * (f32(2688) / top), 0).astype(f32)
        row = np.where(fine, np.where(some, top / f32(2688), 0), np.nan).astype(f32)
        v = v.reshape(ROWS, -1, 16)
        scale = (np.abs(v).max(2, keepdims=True) / f32(6)).clip(0, 448).astype(ml_dtypes.float8_e4m3fn)
        c = np.where(scale.astype(f32) > 0, codes(v / scale.astype(f32)), 0)
    return c.reshape(ROWS, WIDTH).astype(np.uint8), scale.view(np.uint8)[:, :, 0], row[:, 0]


def mxfp4(x):
    fine = np.isfinite(x).all(1)
    v = np.where(fine[:, None], x, 0).astype(f32).reshape(ROWS, -1, 32)
    m, e = np.frexp(np.abs(v).max(2, keepdims=True))  # m in [0.5, 1)
    e = np.where(m == 0, -127, e - 1 + (m >= 0.875) - 2).clip(-127, 127)
    scale = np.exp2(e.astype(np.float64)).astype(ml_dtypes.float8_e8m0fnu)
    c = codes((v * np.exp2(-e.astype(np.float64))).astype(f32))
    return c.reshape(ROWS, WIDTH), scale.view(np.uint8)[:, :, 0], np.where(fine, 1, np.nan).astype(f32)


def tiled(scale):
    """cuBLAS, "1D Block Scaling Factors Layout": tiles of 128 rows by 4 blocks, in which the four
    of a row follow those of the row 32 before."""
    padded = np.zeros((-(-ROWS // 128) * 128, scale.shape[1]), np.uint8)
    padded[:ROWS] = scale
    t = padded.reshape(-1, 4, 32, scale.shape[1] // 4, 4)  # row block, of 32, row, column block, 4
    return t.transpose(0, 3, 2, 1, 4).reshape(-1)


x = rows()
wide = np.zeros((ROWS, WIDTH), f32)
wide[:, :K] = x
out = {'x': x}
for name, way in ('nvfp4', nvfp4), ('mxfp4', mxfp4):
    c, scale, row = way(wide)
    out |= {f'{name}.code': c, f'{name}.scale': scale, f'{name}.row': row, f'{name}.tiled': tiled(scale)}
fixture.write('tests/data/fp4/rows.bin', out)
