"""tests/data/fp8/*.bin: logits of FP8 checkpoints whose inputs of products are rounded to e4m3, as each declares
or as asked for, for tests/engine/test_fp8.c and tests/simt/test_fp8.c.

    python -m venv v
    v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy safetensors
    v/bin/python tests/tools/make_fp8_x.py

Transformers' forward in float32 over the weights of tests/data/hf/*, with a hook before each linear layer of FP8
weights: x becomes clamp(x / scale, -448, 448) in torch.float8_e4m3fn, times scale. scale is the layer's input_scale
(mo-fp8, written by ModelOpt), or each row's largest / 448 (mo-fp8-channel, by ModelOpt too; fp8-ue8m0, DeepSeek's
squares). `rounded`: the logits so; `exact`: without the hooks.
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import fixture

MODELS = {"mo-fp8": True, "mo-fp8-channel": False, "fp8-ue8m0": False}  # has input_scale
N_TOKENS = 72


def weight(tensors, name):
    w = tensors[name + ".weight"].float()
    s = tensors.get(name + ".weight_scale")
    if s is None:  # squares of 64
        s = tensors[name + ".weight_scale_inv"].float().repeat_interleave(64, 0).repeat_interleave(64, 1)
        return w * s[:w.shape[0], :w.shape[1]]
    return w * (s[:, None] if s.ndim == 1 else s)


def rounding(scale):
    def hook(_, args):
        x = args[0]
        by = scale if scale is not None else x.abs().amax(-1, keepdim=True) / 448
        return ((x / by).clamp(-448, 448).to(torch.float8_e4m3fn).float() * by,)

    return hook


def make(name, static, seed):
    folder = f"tests/data/hf/{name}"
    tensors = load_file(f"{folder}/model.safetensors")
    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    config.pop("quantization_config")
    model = LlamaForCausalLM(LlamaConfig(**dict(config, dtype="float32"))).eval()
    state, packed = {}, []
    for key in model.state_dict():
        module = key.removesuffix(".weight")
        if tensors[key].dtype == torch.float8_e4m3fn:
            state[key] = weight(tensors, module)
            packed.append(module)
        else:
            state[key] = tensors[key].float()
    model.load_state_dict(state)
    token = torch.from_numpy(np.random.default_rng(seed).integers(0, config["vocab_size"], size=N_TOKENS))
    out = {"token": token.numpy().astype(np.int32)}
    with torch.no_grad():
        out["exact"] = model(token[None]).logits[0].numpy()
        for module in packed:
            scale = tensors[module + ".input_scale"].float() if static else None
            model.get_submodule(module).register_forward_pre_hook(rounding(scale))
        out["rounded"] = model(token[None]).logits[0].numpy()
    print(name, len(packed), "layers,", np.abs(out["rounded"] - out["exact"]).max() / np.abs(out["exact"]).max())
    os.makedirs("tests/data/fp8", exist_ok=True)
    fixture.write(f"tests/data/fp8/{name}.bin", {k: np.ascontiguousarray(v) for k, v in out.items()})


for i, (model_name, has_scale) in enumerate(MODELS.items()):
    make(model_name, has_scale, 4100 + i)
