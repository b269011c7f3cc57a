"""A GGUF model as a Hugging Face directory with FP8 weights, to measure what activations in fp8 cost
(docs/measurements/2026-11-21-activations.md):

    v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy safetensors gguf accelerate
    v/bin/python tests/tools/make_fp8_model.py FILE.gguf TEXT OUT

Linear layers but the head become e4m3 with a scale a row (OUT/token: activations with a scale a row as they come),
and OUT/tensor adds what each layer's inputs are divided by, the largest of them over TEXT / 448, as calibration does.
"""

import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW, WINDOWS = 512, 8


def main(file, text, out):
    where = dict(gguf_file=os.path.basename(file))
    folder = os.path.dirname(os.path.abspath(file))
    tokenizer = AutoTokenizer.from_pretrained(folder, **where)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **where).eval()
    layers = {k: m for k, m in model.model.named_modules(prefix="model") if isinstance(m, torch.nn.Linear)}
    top = dict.fromkeys(layers, 0.0)

    def watch(name):
        def hook(_, args):
            top[name] = max(top[name], args[0].abs().max().item())

        return hook

    for name, m in layers.items():
        m.register_forward_pre_hook(watch(name))
    token = tokenizer(open(text, encoding="utf-8").read(), return_tensors="pt").input_ids[0]
    with torch.no_grad():
        for i in range(WINDOWS):
            model(token[None, i * WINDOW:(i + 1) * WINDOW])
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    for name in layers:
        w = state[name + ".weight"]
        scale = w.abs().amax(1, keepdim=True) / 448
        state[name + ".weight"] = (w / scale).to(torch.float8_e4m3fn)
        state[name + ".weight_scale"] = scale
    for kind in ("token", "tensor"):
        to = f"{out}/{kind}"
        shutil.rmtree(to, ignore_errors=True)
        os.makedirs(to)
        tokenizer.save_pretrained(to)
        config = dict(json.loads(model.config.to_json_string()), tie_word_embeddings=True)
        config["quantization_config"] = dict(quant_method="compressed-tensors", format="float-quantized", config_groups=dict(
            group_0=dict(targets=["Linear"], weights=dict(num_bits=8, type="float", symmetric=True, strategy="channel"),
                         input_activations=dict(num_bits=8, type="float", dynamic=kind == "token", strategy=kind))))
        with open(f"{to}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f, indent=2)
        more = {f"{k}.input_scale": torch.tensor(v / 448) for k, v in top.items()} if kind == "tensor" else {}
        save_file({**state, **more}, f"{to}/model.safetensors")


main(*sys.argv[1:])
