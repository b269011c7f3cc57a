"""tests/data/hf/gpt-oss/: experts packed as gpt-oss has them, random, with the weights that Transformers' own code
unpacks from them (logits.bin), for tests/engine/test_hf.c. The network is not run here; its files are read.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy safetensors
    v/bin/python tests/tools/make_gpt_oss.py
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import fixture

OUT = "tests/data/hf/gpt-oss"
NAME = "model.layers.0.mlp.experts.gate_up_proj"
EXPERTS, ROWS, COLUMNS = 2, 12, 96


def main():
    rng = np.random.default_rng(3300)
    blocks = torch.from_numpy(rng.integers(0, 256, (EXPERTS, ROWS, COLUMNS // 32, 16), dtype=np.uint8))
    scales = torch.from_numpy(rng.integers(100, 140, (EXPERTS, ROWS, COLUMNS // 32), dtype=np.uint8))
    weights = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    assert weights.shape == (EXPERTS, COLUMNS, ROWS)  # as its linears want them
    os.makedirs(OUT, exist_ok=True)
    save_file({NAME + "_blocks": blocks, NAME + "_scales": scales, NAME + "_bias": torch.zeros(EXPERTS, ROWS)},
              f"{OUT}/model.safetensors", metadata=dict(format="pt"))
    with open(f"{OUT}/config.json", "w") as f:
        json.dump(dict(model_type="gpt_oss", architectures=["GptOssForCausalLM"], num_hidden_layers=1,
                       quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=[
                           "model.layers.*.self_attn", "model.embed_tokens", "lm_head"])), f, indent=1)
    fixture.write(f"{OUT}/logits.bin", {"experts": weights.transpose(1, 2).contiguous().numpy()})


if __name__ == "__main__":
    main()
