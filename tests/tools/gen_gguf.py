"""tests/fuzz/corpus/gguf/*: small GGUF files, whole, truncated and lying.

    python -m venv v && v/bin/pip install gguf==0.19.0 numpy && v/bin/python tests/tools/gen_gguf.py
"""

import glob
import os
import struct
import tempfile

import numpy as np
from gguf import GGUFWriter

OUT = "tests/fuzz/corpus/gguf"
F32, Q4_0, Q4_0_4_4 = 0, 2, 31


def save(name, data):
    with open(f"{OUT}/{name}", "wb") as f:
        f.write(data)


def model(path, arch, layers=1, split=0):
    """A network of 8 inputs and 12 tokens; in parts of `split` tensors."""
    g = GGUFWriter(path, arch, split_max_tensors=split)
    g.add_block_count(layers)
    g.add_embedding_length(8)
    g.add_feed_forward_length(8)
    g.add_head_count(2)
    g.add_head_count_kv(1)
    g.add_context_length(32)
    g.add_layer_norm_rms_eps(1e-5)
    g.add_rope_scaling_factor(2.0)
    g.add_tokenizer_model("gpt2")
    g.add_token_list([chr(97 + i) for i in range(12)])
    g.add_token_types([1] * 12)
    g.add_token_merges(["a b"])
    shapes = {"token_embd": (12, 8), "output_norm": (8, )}
    for i in range(layers):
        for name, shape in (("attn_norm", (8, )), ("attn_q", (8, 8)), ("attn_k", (4, 8)),
                            ("attn_v", (4, 8)), ("attn_output", (8, 8)), ("ffn_norm", (8, )),
                            ("ffn_gate", (8, 8)), ("ffn_up", (8, 8)), ("ffn_down", (8, 8))):
            shapes[f"blk.{i}.{name}"] = shape
    for name, shape in shapes.items():
        g.add_tensor(name + ".weight", np.ones(shape, np.float32))
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def parts(*files):
    """Several files in one, as fuzz_gguf.c takes them apart."""
    return b"S" + struct.pack(f"<B{len(files)}I", len(files) - 1, *map(len, files)) + b"".join(files)


def string(s):
    return struct.pack("<Q", len(s)) + s


def head(tensors, keys, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def tensor(name, dims, kind, offset):
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


os.makedirs(OUT, exist_ok=True)
model(f"{OUT}/llama", "llama")
model(f"{OUT}/qwen3", "qwen3")
whole = read(f"{OUT}/llama")
for cut in (3, 23, 60, len(whole) // 2, len(whole) - 1):
    save(f"cut-{cut}", whole[:cut])
u32 = lambda key, v: string(key) + struct.pack("<II", 4, v)
save("version-1", head(0, 0, 1))
save("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
save("many-keys", head(0, 1 << 60))
save("many-tensors", head(1 << 40, 0))
save("long-name", head(0, 1) + struct.pack("<Q", 1 << 62) + b"x")
save("long-array", head(0, 1) + string(b"a") + struct.pack("<IIQ", 9, 4, 1 << 61))
save("nested-array", head(0, 1) + string(b"a") + struct.pack("<IIQIQ", 9, 9, 1, 4, 0))
save("split", head(0, 1) + u32(b"split.count", 3))
with tempfile.TemporaryDirectory() as d:  # written by the package, read back as one
    model(f"{d}/m.gguf", "llama", split=4)
    files = [read(path) for path in sorted(glob.glob(f"{d}/*.gguf"))]
assert len(files) == 3
save("parts", parts(*files))
save("parts-swapped", parts(files[0], files[2], files[1]))
save("parts-twice", parts(files[0], files[1], files[1]))
save("parts-cut", parts(files[0], files[1], files[2][:-9]))
save("parts-missing", parts(*files[:2]))
save("parts-alone", parts(files[1], files[0], files[2]))
save("parts-count", parts(files[0], files[1].replace(b"split.count", b"split.tally"), files[2]))
save("parts-tensors", parts(*(f.replace(b"split.tensors.count", b"split.tensors.total")
                              for f in files[:2]), files[2]))
save("alignment", head(0, 1) + u32(b"general.alignment", 3))
save("twice", head(0, 2) + u32(b"a", 3) + u32(b"a", 3))
save("all-types", head(0, 13) + b"".join(
    string(b"k%d" % t) + struct.pack("<I", t) + v for t, v in enumerate((
        b"\xff", b"\xff", b"\xff" * 2, b"\xff" * 2, b"\xff" * 4, b"\xff" * 4,
        struct.pack("<f", 1.5), b"\1", string(b"text"), struct.pack("<IQ", 8, 2) + string(b"x") +
        string(b""), b"\xff" * 8, b"\xff" * 8, struct.pack("<d", 2.5)))))
save("outside", head(1, 0) + tensor(b"w", (8, ), F32, 1 << 40))
save("overflow", head(1, 0) + tensor(b"w", (1 << 31, 1 << 31, 1 << 31, 1 << 31), F32, 0))
save("block", head(1, 0) + tensor(b"w", (20, 2), Q4_0, 0) + bytes(200))
save("q2-wide", head(2, 0) + tensor(b"a", (128, 8), 42, 0) + tensor(b"b", (128, 8), 42, 288) + bytes(700))
save("q2-wide-own", head(1, 0) + tensor(b"a", (128, 8), 142, 0) + bytes(304))
save("overlap", head(2, 0) + tensor(b"a", (64, ), F32, 0) + tensor(b"b", (64, ), F32, 32) + bytes(400))
save("same-place", head(99, 0) + b"".join(
    tensor(b"w%02d" % i, (1000, ), F32, 0) for i in range(99)) + bytes(4100))
save("unsupported", head(1, 0) + tensor(b"w", (256, ), Q4_0_4_4, 0) + bytes(200))
