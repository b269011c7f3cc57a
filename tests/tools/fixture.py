"""Writes the arrays that tests/support/fixture.c reads: a head of 96 bytes each, then the data."""

import os
import struct

import numpy as np


def write(path, arrays):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        for name, a in arrays.items():
            a = np.ascontiguousarray(a)
            assert a.ndim <= 4 and len(name) < 40, name
            shape = list(a.shape) + [0] * (4 - a.ndim)
            data = a.tobytes()
            f.write(
                struct.pack(
                    "<40s8s6q", name.encode(), a.dtype.str[1:].encode(), a.ndim, *shape, len(data)
                )
            )
            f.write(data + bytes(-len(data) % 16))
    print(path, os.path.getsize(path), "bytes")
