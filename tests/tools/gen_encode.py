"""Squared errors of llama.cpp's quantizers on the numbers of tests/kernels/test_encode.c, for the
table there:
without importance, with it, and without it but each error weighed by 1 + x^2 / the mean of the x^2 of its 32:

    GGML=build/bin/libggml-base.so python tests/tools/gen_encode.py

with llama.cpp 3f545bec built by `cmake -B build && cmake --build build --target ggml-base`. Errors
are relative to the sum of squares; the blocks are decoded by the same library."""

import ctypes
import os

import numpy as np

ROWS, COLUMNS = 64, 512
TYPES = {  # name -> number of the type, elements and bytes of a block
    'q8_0': (8, 32, 34), 'q4_0': (2, 32, 18), 'q4_1': (3, 32, 20), 'q5_0': (6, 32, 22),
    'q5_1': (7, 32, 24), 'q2_k': (10, 256, 84), 'q3_k': (11, 256, 110), 'q4_k': (12, 256, 144),
    'q5_k': (13, 256, 176), 'q6_k': (14, 256, 210), 'iq4_nl': (20, 32, 18),
    'iq4_xs': (23, 256, 136), 'mxfp4': (39, 32, 17), 'nvfp4': (40, 64, 36),
}  # fmt: skip


def draw(n, seed):
    """Uniform 16-bit numbers of a linear congruential generator, as the test draws them."""
    out = np.empty(n, np.int64)
    for i in range(n):
        seed = (seed * 1664525 + 1013904223) % 2**32
        out[i] = seed >> 16
    return out


def numbers():
    u = draw(5 * ROWS * COLUMNS, 1).reshape(-1, 5)
    x = (u[:, :4].sum(1) - 131070) / np.float32(65536)  # nearly normal
    x = np.where(u[:, 4] < 1311, x * 8, x) / 64  # every fiftieth is an outlier
    importance = np.float32(2.0) ** (draw(COLUMNS, 2) % 9 - 4)
    return x.astype(np.float32).reshape(ROWS, COLUMNS), importance.astype(np.float32)


def main():
    ggml = ctypes.CDLL(os.environ['GGML'])
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    x, importance = numbers()
    for name, (number, block, size) in TYPES.items():
        errors = []
        square = (x.astype(np.float64) ** 2).reshape(-1, 32)
        by_size = (1 + square / square.mean(1, keepdims=True)).reshape(x.shape)
        for weight, count in ((None, 1), (importance, importance.astype(np.float64)), (None, by_size)):
            out = np.zeros(ROWS * COLUMNS // block * size, np.uint8)
            ggml.ggml_quantize_chunk(
                ctypes.c_int(number),
                x.ctypes.data_as(ctypes.c_void_p),
                out.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int64(0),
                ctypes.c_int64(ROWS),
                ctypes.c_int64(COLUMNS),
                None if weight is None else weight.ctypes.data_as(ctypes.c_void_p),
            )
            decode = getattr(ggml, 'dequantize_row_' + name.replace('_k', '_K'))
            y = np.empty_like(x)
            decode(
                out.ctypes.data_as(ctypes.c_void_p),
                y.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int64(x.size),
            )
            errors.append((count * (x.astype(np.float64) - y) ** 2).sum() / (count * x.astype(np.float64) ** 2).sum())
        print(f'    {{"{name}", {{{", ".join(f"{e:.6e}" for e in errors)}}}}},')


main()
