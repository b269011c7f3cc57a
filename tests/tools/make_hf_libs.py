"""tests/data/hf/*/ that other libraries quantised and saved, each by its own export, with the logits that
Transformers computes in float32 from the weights that the library's own code unpacks (logits.bin), and every
sixteenth row of those weights, for tests/engine/test_hf.c.

    python -m venv v
    v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy safetensors compressed-tensors==0.20.0 \\
        bitsandbytes==0.50.2 auto-round==0.16.1 nvidia-modelopt==0.47.0 accelerate datasets gptqmodel==7.7.0
    v/bin/python tests/tools/make_hf_libs.py [name ...]

AutoRound 0.16.1 writes the ar-* directories (AutoRound(iters=0).quantize_and_save) and its QuantLinear classes
unpack them; ModelOpt 0.47.0 the mo-* ones (mtq.quantize, export_hf_checkpoint), unpacked by its QTensor
classes where it has one; bitsandbytes 0.50.2, through Transformers' save_pretrained, the bnb-* ones;
compressed-tensors 0.20.0 ct-model (ModelCompressor.compress_model); GPTQModel 7.7.0 the gm-* ones (quantize, save),
unpacked by its torch linears or, of AWQ, the function that those call.
"""

import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import fixture
from make_hf import N_TOKENS, OUT, logits
from make_hf_quant import CONFIG, PROJECTIONS

SHORT = {m: m.replace("model.layers.0.", "").replace("model.", "")
         for m in PROJECTIONS + ["lm_head", "model.embed_tokens"]}


def network(rng, settings):
    config = dict(CONFIG, torch_dtype="float16", architectures=["LlamaForCausalLM"], **settings)
    model = LlamaForCausalLM(LlamaConfig(**config))
    for key, p in model.named_parameters():
        w = rng.normal(size=tuple(p.shape))
        w = 1 + 0.2 * w if key.endswith("norm.weight") else w
        w = w / np.sqrt(w.shape[-1]) if "proj" in key or "lm_head" in key else w
        p.data = torch.from_numpy(w.astype(np.float32))
    return model.half().eval()


def unpack_auto_round(tensors, module, config, shape):
    """By the library's own linear, of the identity, in float32."""
    from auto_round.export.export_to_awq.utils import dequantize_gemm
    from auto_round_extension.torch.qlinear_torch import QuantLinear
    from auto_round_extension.torch.qlinear_torch_zp import QuantLinear as QuantLinearZp
    own = next((v for k, v in config.get("extra_config", {}).items() if k == module), {})
    bits, group = own.get("bits", config["bits"]), config["group_size"]
    parts = {k: tensors[f"{module}.{k}"] for k in ("qweight", "qzeros", "scales")}
    if "awq" in config["packing_format"]:
        return dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].float(), bits, group).T
    kind = QuantLinearZp if "gptq" in config["packing_format"] else QuantLinear
    linear = kind(bits, group, shape[1], shape[0], False)
    for k, v in parts.items():
        setattr(linear, k, v.float() if k == "scales" else v)
    linear.dequant_dtype = torch.int32
    return linear(torch.eye(shape[1])).T


def auto_round(packing, bits, sym=False, others=None):
    def write(model, folder):
        from auto_round import AutoRound
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(f"{OUT}/llama")
        layers = {k: dict(bits=v) for k, v in (others or {}).items()}
        quantizer = AutoRound(model.float(), tokenizer, bits=bits, group_size=32, sym=sym, iters=0, nsamples=1,
                              seqlen=16, disable_opt_rtn=True, device_map="cpu", layer_config=layers)
        quantizer.quantize_and_save(folder, format=packing)
        return unpack_auto_round

    return write, dict(vocab_size=64)


def unpack_modelopt(tensors, module, config, shape):
    from modelopt.torch.quantization.qtensor import MXFP4QTensor, NVFP4QTensor
    w, s = tensors[module + ".weight"], tensors[module + ".weight_scale"]
    algo = config["quantization"]["quant_algo"]
    before = tensors.get(module + ".pre_quant_scale")
    if algo in ("NVFP4", "W4A8_NVFP4_FP8"):
        block = shape[1] // s.shape[-1]
        w = NVFP4QTensor(torch.Size(shape), torch.float32, w).dequantize(
            dtype=torch.float32, scale=s, double_scale=tensors[module + ".weight_scale_2"], block_sizes={-1: block})
    elif w.dtype == torch.uint8 and s.dtype == torch.uint8:
        w = MXFP4QTensor(torch.Size(shape), torch.float32, w).dequantize(
            dtype=torch.float32, scale=s, block_sizes={-1: 32})
    elif w.dtype == torch.uint8:  # pack_int4_in_uint8: two rows a byte, in two's complement
        w = torch.stack([w & 15, w >> 4], 1).reshape(shape).to(torch.int16)
        w = ((w ^ 8) - 8) * s.repeat_interleave(shape[1] // s.shape[1], 1)
    elif s.dtype == torch.uint8:
        w = w.float() * torch.exp2(s.float() - 127).repeat_interleave(32, 1)
    elif s.ndim == 4:
        w = w.float() * s[:, 0, :, 0].repeat_interleave(128, 0).repeat_interleave(128, 1)
    else:
        w = w.float() * (s[:, None] if s.ndim == 1 else s)
    return w if before is None else w * before.float()


def modelopt(config, settings=None):
    def write(model, folder):
        import modelopt.torch.quantization as mtq
        from modelopt.torch.export import export_hf_checkpoint

        def loop(m):
            with torch.no_grad():
                m(torch.arange(N_TOKENS)[None])

        model = mtq.quantize(model, getattr(mtq, config), loop)
        with torch.inference_mode():
            export_hf_checkpoint(model, dtype=torch.float16, export_dir=folder)
        return unpack_modelopt

    return write, settings or {}


def unpack_bnb(tensors, module, config, shape):
    import bitsandbytes.functional as bnb
    if module + ".SCB" in tensors:
        return tensors[module + ".weight"].float() * tensors[module + ".SCB"][:, None] / 127
    parts = {k.removeprefix(module + ".weight."): v for k, v in tensors.items() if k.startswith(module + ".weight.")}
    state = bnb.QuantState.from_dict(parts, torch.device("cpu"))
    state.dtype = torch.float32
    return bnb.dequantize_4bit(tensors[module + ".weight"], state)


def bitsandbytes(**how):
    def write(model, folder):
        from transformers import BitsAndBytesConfig
        with tempfile.TemporaryDirectory() as plain:
            model.save_pretrained(plain)
            LlamaForCausalLM.from_pretrained(plain, quantization_config=BitsAndBytesConfig(**how), device_map="cpu",
                                             dtype=torch.float16).save_pretrained(folder)
        return unpack_bnb

    return write, {}


CT = dict(ignore=["lm_head"], config_groups=dict(
    group_0=dict(targets=["re:.*mlp.*"], weights=dict(
        num_bits=4, type="int", symmetric=False, strategy="group", group_size=32)),
    group_1=dict(targets=["re:.*q_proj", "re:.*k_proj"],
                 weights=dict(num_bits=8, type="float", symmetric=True, strategy="channel"),
                 input_activations=dict(num_bits=8, type="float", dynamic=True, strategy="token")),
    group_2=dict(targets=["re:.*v_proj"], weights=dict(
        num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[16, 32])),
    group_3=dict(targets=["re:.*o_proj"],
                 weights=dict(num_bits=8, type="int", symmetric=True, strategy="channel"),
                 input_activations=dict(num_bits=8, type="int", dynamic=True, strategy="token"))))


def unpack_ct(tensors, module, config, shape):
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    packed, s = tensors.get(module + ".weight_packed"), tensors[module + ".weight_scale"].float()
    if packed is None:
        w = tensors[module + ".weight"].float()
        return w * s.repeat_interleave(shape[0] // s.shape[0], 0).repeat_interleave(shape[1] // s.shape[1], 1)
    zero = unpack_from_int32(tensors[module + ".weight_zero_point"], 4, s.shape, packed_dim=0).float()
    w = unpack_from_int32(packed, 4, torch.Size(shape)).float()
    return (w - zero.repeat_interleave(32, 1)) * s.repeat_interleave(32, 1)


def compressed_tensors(model, folder):
    """Four groups with regular expressions, and a list of what is left alone."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (QuantizationConfig, QuantizationStatus,
                                                 apply_quantization_config)
    from compressed_tensors.quantization.utils import calculate_qparams
    apply_quantization_config(model, QuantizationConfig.model_validate(CT))
    for m in model.modules():
        scheme = getattr(m, "quantization_scheme", None)
        if scheme is None:
            continue
        n, k = m.weight.shape
        rows, columns = {"group": (1, 32), "channel": (1, k), "block": (16, 32)}[scheme.weights.strategy]
        w = m.weight.float().reshape(n // rows, rows, k // columns, columns)
        scale, zero = calculate_qparams(w.amin((1, 3)), w.amax((1, 3)), scheme.weights)
        m.weight_scale.data = scale.to(m.weight_scale.dtype)
        if hasattr(m, "weight_zero_point"):
            m.weight_zero_point.data = zero.to(m.weight_zero_point.dtype)
        m.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    return unpack_ct


def unpack_gptqmodel(loaded, tensors, module, config, shape):
    """Its linears, which had made the scales bf16 when they were loaded."""
    scales = tensors[module + ".scales"].float()
    if config["quant_method"] == "awq":
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
        parts = [tensors[f"{module}.{k}"] for k in ("qweight", "qzeros")]
        return dequantize_gemm(*parts, scales, config["bits"], config["group_size"]).float().T
    loaded[module].scales.data = scales
    return loaded[module].dequantize_weight().float().T


def gptqmodel(settings=None, **how):
    """Its dynamic rules give layers their own bits and groups, or leave them alone."""

    def write(model, folder):
        os.cpu_count = lambda: 8  # it wants several
        from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
        with tempfile.TemporaryDirectory() as plain:
            model.save_pretrained(plain)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(f"{OUT}/llama/{name}", f"{plain}/{name}")
            quantizer = GPTQModel.load(plain, QuantizeConfig(**how))
            rng = np.random.default_rng(1)
            quantizer.quantize([dict(input_ids=rng.integers(3, 64, 48).tolist(), attention_mask=[1] * 48)
                                for _ in range(24)], batch_size=4)
            quantizer.save(folder)
        loaded = dict(GPTQModel.load(folder, backend=BACKEND.TORCH, device="cpu").model.named_modules())
        return lambda *what: unpack_gptqmodel(loaded, *what)

    return write, dict(vocab_size=64, **settings or {})


def copy(source, folder):
    """The model's own files; weights in one file."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for root, _, names in os.walk(source):
        for name in names:
            if name.endswith(".safetensors") or name in ("config.json", "hf_quant_config.json"):
                shutil.copyfile(f"{root}/{name}", f"{folder}/{name}")


def make(name, seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    write, settings = MODELS[name]
    model = network(rng, settings)
    plain = {k: v.float().clone() for k, v in model.state_dict().items()}
    folder = f"{OUT}/{name}"
    with tempfile.TemporaryDirectory() as source:
        unpack = write(model, source)
        copy(source, folder)
    file = next(f for f in os.listdir(folder) if f.endswith(".safetensors"))
    os.rename(f"{folder}/{file}", f"{folder}/model.safetensors")
    for extra in os.listdir(folder):
        if extra.endswith("index.json"):
            os.remove(f"{folder}/{extra}")
    tensors = load_file(f"{folder}/model.safetensors")
    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    said = config.get("quantization_config")
    if os.path.exists(f"{folder}/hf_quant_config.json"):
        with open(f"{folder}/hf_quant_config.json") as f:
            said = json.load(f)
    arrays, state = {}, {}
    for key in plain:
        module = key.removesuffix(".weight")
        if key in tensors and tensors[key].dtype in (torch.float16, torch.bfloat16, torch.float32):
            state[key] = tensors[key].float()  # norms may have taken over what was before a projection
            continue
        state[key] = unpack(tensors, module, said, plain[key].shape).float()
        assert (state[key] - plain[key]).abs().max() < plain[key].abs().max(), key
        arrays[SHORT[module]] = state[key][::16].numpy()
    exact = LlamaForCausalLM(LlamaConfig(**dict(CONFIG, **settings)))
    exact.load_state_dict(state)
    token = rng.integers(0, exact.config.vocab_size, size=N_TOKENS)
    arrays.update(token=token.astype(np.int32), logits=logits(exact, token))
    fixture.write(f"{folder}/logits.bin", {k: np.ascontiguousarray(v) for k, v in arrays.items()})


DOUBLE = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
WIDE = dict(hidden_size=128, intermediate_size=128)
MODELS = {
    "ar-gptq": auto_round("auto_round:auto_gptq", 4, others={
        "model.layers.0.mlp.down_proj": 8, "model.layers.0.mlp.up_proj": 3, "lm_head": 4}),
    "ar-plain": auto_round("auto_round", 4, others={
        "model.layers.0.mlp.down_proj": 5, "model.layers.0.mlp.up_proj": 2}),
    "ar-awq": auto_round("auto_round:auto_awq", 4),
    "mo-fp8": modelopt("FP8_DEFAULT_CFG"),
    "mo-fp8-channel": modelopt("FP8_PER_CHANNEL_PER_TOKEN_CFG"),
    "mo-nvfp4": modelopt("NVFP4_DEFAULT_CFG"),
    "mo-nvfp4-fp8": modelopt("W4A8_NVFP4_FP8_CFG"),
    "mo-mxfp4": modelopt("MXFP4_DEFAULT_CFG"),
    "mo-mxfp8": modelopt("MXFP8_DEFAULT_CFG"),
    "mo-int8": modelopt("INT8_SMOOTHQUANT_CFG"),
    "mo-int4": modelopt("INT4_AWQ_CFG", WIDE),
    "bnb-nf4": bitsandbytes(**DOUBLE),
    "bnb-int8": bitsandbytes(load_in_8bit=True),
    "ct-model": (compressed_tensors, {}),
    "gm-gptq": gptqmodel(dict(intermediate_size=128), bits=4, group_size=32, dynamic={
        r".*up_proj.*": dict(bits=8, group_size=64), r".*gate_proj.*": dict(bits=3),
        r"-:.*v_proj.*": {}, r".*down_proj.*": dict(bits=2, group_size=64)}),
    "gm-gptq-v2": gptqmodel(bits=4, group_size=32, sym=False, desc_act=True, format="gptq_v2"),
    "gm-awq": gptqmodel(dict(num_key_value_heads=4), bits=4, group_size=32, quant_method="awq", format="gemm"),
}


if __name__ == "__main__":
    for i, model_name in enumerate(MODELS):
        if len(sys.argv) < 2 or model_name in sys.argv[1:]:
            make(model_name, 3200 + i)
