"""tests/data/hf/rope.bin: rotary frequencies of config.json files as Transformers computes them, for
tests/engine/test_hf_settle.c.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy
    v/bin/python tests/tools/make_rope.py

Case i is the text i.config, read by AutoConfig as Transformers reads a directory, with i.freq and i.factor (on
sine and cosine) from ROPE_INIT_FUNCTIONS; of LongRoPE for sequences as long as the context (i.freq) and for one
token (i.short).
"""

import json
import os
import tempfile

import numpy as np
import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import fixture

OUT = "tests/data/hf/rope.bin"
SIZES = dict(hidden_size=128, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
             vocab_size=32, max_position_embeddings=65536, rms_norm_eps=1e-5, hidden_act="silu")
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16384, rope_theta=1e6)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=5e5,
              original_max_position_embeddings=8192)
LONG = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1 + 0.01 * i for i in range(32)],
            long_factor=[1 + 0.07 * i * i for i in range(32)], original_max_position_embeddings=4096)


def now(kind="llama", **rope):
    return dict(model_type=kind, rope_parameters=rope)


def before(kind="llama", theta=1e6, **rope):
    return dict(model_type=kind, rope_theta=theta, rope_scaling=rope)


CASES = [
    now(rope_type="default", rope_theta=1e6),
    now("qwen3", rope_type="default", rope_theta=1e6),  # heads of 128, which is not said
    dict(model_type="qwen2"),
    dict(model_type="mistral", rope_theta=1e6, rope_scaling=None),
    now(rope_type="linear", factor=4.0, rope_theta=5e5),
    before(type="linear", factor=2.5),
    before(type="linear", factor=2.5, rope_theta=700.0),  # its own goes first
    dict(now(rope_type="default", rope_theta=1e4), rope_theta=5e5, rope_scaling=dict(type="linear", factor=3.0)),
    now(rope_type="dynamic", factor=4.0, rope_theta=1e6),
    now(**LLAMA3),
    before(theta=5e5, **{k: v for k, v in LLAMA3.items() if k != "rope_theta"}),
    dict(now(**LLAMA3), original_max_position_embeddings=4096),
    now(**{k: v for k, v in LLAMA3.items() if "original" not in k}),
    now("qwen2", **YARN),
    before("qwen2", type="yarn", factor=4.0, original_max_position_embeddings=32768),
    now("qwen2", **dict(YARN, factor=None)),
    now("mistral", **YARN, attention_factor=1.3),
    now("qwen3", **YARN, mscale=1.0, mscale_all_dim=0.5),
    now("qwen2", **YARN, mscale=0.7),
    now("qwen2", **YARN, beta_fast=16, beta_slow=2),
    now("qwen2", **YARN, truncate=False),
    now("qwen2", **dict(YARN, rope_theta=1e4), truncate=None),
    now("qwen2", **{k: v for k, v in YARN.items() if "original" not in k}),
    now(**LONG),
    now(**LONG, factor=32.0),
    now(**LONG, attention_factor=1.25),
    dict(before(**{k: v for k, v in LONG.items() if "original" not in k}), original_max_position_embeddings=2048),
]


def frequencies(config, tokens=None):
    kind = config.rope_parameters["rope_type"]
    if kind != "default":
        freq, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=tokens)
        return freq.numpy(), factor
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (1 / config.rope_parameters["rope_theta"]**(torch.arange(0, dim, 2).float() / dim)).numpy(), 1.0


def main():
    arrays = {}
    for i, case in enumerate(CASES):
        text = json.dumps(dict(SIZES, **case))
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "config.json"), "w") as f:
                f.write(text)
            config = AutoConfig.from_pretrained(folder)
        freq, factor = frequencies(config, config.max_position_embeddings)
        arrays[f"{i}.config"] = np.frombuffer(text.encode(), np.uint8)
        arrays[f"{i}.freq"] = freq.astype(np.float32)
        arrays[f"{i}.factor"] = np.array([factor], np.float32)
        if config.rope_parameters["rope_type"] == "longrope":
            arrays[f"{i}.short"] = frequencies(config, 1)[0].astype(np.float32)
    fixture.write(OUT, arrays)


if __name__ == "__main__":
    main()
