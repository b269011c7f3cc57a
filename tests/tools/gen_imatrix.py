"""tests/data/quantize/imatrix.{gguf,dat,bin}: the same sums of squares in llama.cpp's two formats
of importance matrices, and what the columns weigh.

    python -m venv v && v/bin/pip install numpy gguf==0.19.0 && v/bin/python tests/tools/gen_imatrix.py

The .gguf is written by the gguf package, the .dat byte by byte as llama-imatrix
--output-format dat does."""

import struct

import numpy as np
from gguf import GGUFWriter

import fixture

OUT = 'tests/data/quantize/imatrix'
rng = np.random.default_rng(5)
SHAPES = {'blk.0.attn_q.weight': (1, 32), 'blk.0.ffn_down.weight': (1, 64), 'blk.0.ffn_up_exps.weight': (3, 32)}
CHUNKS, COUNT = 7, 512

writer = GGUFWriter(OUT + '.gguf', arch='llama')
writer.add_type('imatrix')
writer.add_array('imatrix.datasets', ['some.txt'])
writer.add_uint32('imatrix.chunk_count', CHUNKS)
writer.add_uint32('imatrix.chunk_size', COUNT)
dat, weights = struct.pack('<i', len(SHAPES)), {}
for name, (matrices, columns) in SHAPES.items():
    sums = (rng.random((matrices, columns), np.float32) ** 4 * 1000).astype(np.float32)
    sums[0, 3] = 0  # a column without input
    counts = np.full((matrices, 1), CHUNKS * COUNT, np.float32)
    if matrices > 1:
        sums[1], counts[1] = 0, 0  # an expert that was never asked
    writer.add_tensor(name + '.in_sum2', sums)
    writer.add_tensor(name + '.counts', counts)
    mean = sums / np.maximum(counts, 1)
    raw = (mean * CHUNKS).astype('<f4')
    dat += struct.pack('<i', len(name)) + name.encode() + struct.pack('<ii', CHUNKS, raw.size) + raw.tobytes()

    def level(x):
        return np.maximum(x / x.mean(), 1e-3) if x.sum() > 0 else np.ones_like(x)

    key = name.split('.')[2]
    weights[key] = np.stack([level(m.astype(np.float64)) for m in mean]).astype(np.float32)
    weights[key + '_dat'] = level(mean.astype(np.float64)).astype(np.float32)
dat += struct.pack('<i', CHUNKS) + struct.pack('<i', 8) + b'some.txt'
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
open(OUT + '.dat', 'wb').write(dat)
fixture.write(OUT + '.bin', weights)
