"""tests/data/models/*.gguf and *.bin: tiny random checkpoints of each family with the logits that
Transformers computes in float32, for tests/engine/test_models.c.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.23.0 gguf==0.19.0 numpy
    v/bin/python tests/tools/make_checkpoints.py [name ...]

A quantised file's reference has the weights that the gguf package decodes from that same file's
blocks, so that only the arithmetic on activations may differ.
"""

import glob
import os
import sys

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter, RopeScalingType, TokenType
from gguf.quants import dequantize, quantize
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

import fixture

OUT = "tests/data/models"
N_TOKENS = 24

SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5)
# K-quants have blocks of 256 inputs.
WIDE = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8,
            num_key_value_heads=1, max_position_embeddings=256, rms_norm_eps=1e-5)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=32)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=4.0)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64)
LONG = dict(rope_type="longrope", rope_theta=10000.0, attention_factor=1.2, original_max_position_embeddings=16,
            short_factor=[1 + 0.1 * i for i in range(8)], long_factor=[1 + 0.6 * i for i in range(8)])
PLAIN = dict(rope_type="default", rope_theta=10000.0)

# name: architecture in the file, pre-tokenizer, config class, network class, settings, types
MODELS = {
    "llama": ("llama", "gpt-2", LlamaConfig, LlamaForCausalLM,
              dict(SMALL, rope_parameters=PLAIN), Q.F32),
    "llama-linear": ("llama", "gpt-2", LlamaConfig, LlamaForCausalLM,
                     dict(SMALL, num_key_value_heads=4, rope_parameters=LINEAR), Q.F32),
    "llama-yarn": ("llama", "gpt-2", LlamaConfig, LlamaForCausalLM,
                   dict(SMALL, num_attention_heads=2, num_key_value_heads=1,
                        rope_parameters=YARN), Q.F32),
    "llama3": ("llama", "llama-bpe", LlamaConfig, LlamaForCausalLM,
               dict(SMALL, num_attention_heads=2, num_key_value_heads=1, rope_parameters=LLAMA3),
               Q.F32),
    "mistral": ("llama", "gpt-2", MistralConfig, MistralForCausalLM,
                dict(SMALL, head_dim=16, sliding_window=9, rope_parameters=PLAIN), Q.F32),
    "smollm2": ("llama", "smollm", LlamaConfig, LlamaForCausalLM,
                dict(SMALL, num_attention_heads=3, num_key_value_heads=1, hidden_size=48,
                     tie_word_embeddings=True,
                     rope_parameters=dict(PLAIN, rope_theta=100000.0)), Q.F32),
    "qwen2": ("qwen2", "qwen2", Qwen2Config, Qwen2ForCausalLM,
              dict(SMALL, tie_word_embeddings=True,
                   rope_parameters=dict(PLAIN, rope_theta=1e6)), Q.F32),
    "qwen3": ("qwen3", "qwen2", Qwen3Config, Qwen3ForCausalLM,
              dict(SMALL, head_dim=16, rope_parameters=dict(PLAIN, rope_theta=1e6)), Q.F32),
    "llama-k": ("llama", "gpt-2", LlamaConfig, LlamaForCausalLM,
                dict(WIDE, tie_word_embeddings=True, rope_parameters=PLAIN), "k"),
}
# After the others, whose seeds are their places in this list.
LATE = {
    "llama-long": ("llama", "gpt-2", LlamaConfig, LlamaForCausalLM,
                   dict(SMALL, num_attention_heads=2, num_key_value_heads=1, rope_parameters=LONG), Q.F16),
}
for t in (Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1):
    MODELS["qwen2-" + t.name.lower()] = MODELS["qwen2"][:5] + (t,)
MODELS["qwen2-mxfp4"] = MODELS["qwen2"][:5] + (Q.MXFP4,)
MODELS["llama-split"] = MODELS["llama"]  # in files of SPLIT tensors
MODELS["llama-codes"] = MODELS["llama-k"][:5] + ("codes",)
MODELS["llama-low"] = MODELS["llama-k"][:5] + ("low",)
MODELS["llama-nvfp4"] = MODELS["llama-k"][:5] + ("nvfp4",)  # with its companions
MODELS.update(LATE)
SPLIT = 8

# Which K-quant each tensor of llama-k has: Q, K and V differ, so that they cannot be fused.
K_TYPES = {"attn_v": Q.Q6_K, "ffn_down": Q.Q6_K, "attn_output": Q.Q5_K, "token_embd": Q.Q5_K}
# K-quants are random bits under these scales: (offset of an f16, value).
K_SCALES = {Q.Q4_K: ((0, 2.4e-4), (2, 1.8e-3)), Q.Q5_K: ((0, 1.2e-4), (2, 1.86e-3)),
            Q.Q6_K: ((208, 4.6e-5), )}
K_BYTES = {Q.Q4_K: 144, Q.Q5_K: 176, Q.Q6_K: 210}
# Formats of few values: which each tensor has, and where the blocks have f16 scales. The package can
# quantize to the TQ and MXFP4 only; all others are random bits under scales of the right size.
CODES = {
    "codes": {"token_embd": Q.IQ4_XS, "attn_q": Q.IQ3_XXS, "attn_k": Q.IQ2_S, "attn_v": Q.Q3_K,
              "attn_output": Q.IQ3_S, "ffn_gate": Q.IQ4_NL, "ffn_up": Q.NVFP4, "ffn_down": Q.Q2_K},
    "low": {"token_embd": Q.Q3_K, "attn_q": Q.IQ2_XXS, "attn_k": Q.IQ2_XS, "attn_v": Q.TQ1_0,
            "attn_output": Q.IQ1_S, "ffn_gate": Q.IQ1_M, "ffn_up": Q.TQ2_0, "ffn_down": Q.MXFP4},
    "nvfp4": {"token_embd": Q.Q8_0, "attn_q": Q.NVFP4, "attn_k": Q.NVFP4, "attn_v": Q.NVFP4,
              "attn_output": Q.NVFP4, "ffn_gate": Q.NVFP4, "ffn_up": Q.NVFP4, "ffn_down": Q.NVFP4},
}
CODE_SCALES = {Q.Q2_K: (80, 82), Q.Q3_K: (108, )}


def byte_alphabet():
    """GPT-2's spelling of each byte."""
    fine = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in fine else chr(next(extra)) for b in range(256)]


def vocabulary():
    tokens = byte_alphabet()
    merges = ["h e", "Ġ t", "i n", "e r", "o n", "Ġ a", "l l", "Ġt he", "r e", "he ll"]
    tokens += [m.replace(" ", "") for m in merges]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return tokens, merges, special


def random_state(model, rng, gain):
    """Weights of a spread like a trained network's, so that every part of it matters. A smaller gain
    makes attention softer, which amplifies the rounding of activations less."""
    state = {}
    for name, p in model.state_dict().items():
        shape = tuple(p.shape)
        w = rng.normal(size=shape)
        if name.endswith("norm.weight"):
            w = 1 + 0.2 * w
        elif name.endswith("bias"):
            w = 0.3 * w
        elif "embed" not in name or model.config.tie_word_embeddings:
            w = w / np.sqrt(shape[-1]) * (gain if "proj" in name else 1)
        state[name] = w.astype(np.float32)
    if model.config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def gguf_name(name):
    for a, b in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
                 ("lm_head", "output"), ("model.layers.", "blk."), ("self_attn.", "attn_"),
                 ("mlp.", "ffn_"), ("_proj", ""), ("attn_o.", "attn_output."),
                 ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")):
        name = name.replace(a, b)
    return name


def permute(w, heads):
    """Half-split rotary order to adjacent pairs, as files of architecture "llama" have it."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def k_blocks(shape, t, rng):
    raw = rng.integers(0, 256, size=(shape[0], shape[1] // 256, K_BYTES[t]), dtype=np.uint8)
    for at, scale in K_SCALES[t]:
        raw[:, :, at:at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return raw.reshape(shape[0], -1)


def put_scale(raw, t, d):
    """d, an f16, into all blocks; minima are such that the mean is about 0."""
    if t == Q.IQ1_M:  # four pieces of 4 bits
        bits = int(np.float16(d).view(np.uint16))
        for i in range(4):
            at = raw[:, 49 + 2 * i]
            raw[:, 49 + 2 * i] = (at & 15) | (bits >> 4 * i & 15) << 4
    for i, at in enumerate(CODE_SCALES.get(t, (0, ))):
        if t != Q.IQ1_M:
            raw[:, at:at + 2] = np.frombuffer(np.float16(d * 1.5**i).tobytes(), np.uint8)


def code_blocks(w, t, rng):
    if t in (Q.TQ1_0, Q.TQ2_0, Q.MXFP4, Q.Q8_0):
        return quantize(w, t)
    size, bytes_ = GGML_QUANT_SIZES[t]
    raw = rng.integers(0, 256, size=(w.size // size, bytes_), dtype=np.uint8)
    if t == Q.NVFP4:  # scales from 2^-6 to 2^-5
        raw[:, :4] = rng.integers(8, 17, size=(len(raw), 4))
    else:
        put_scale(raw, t, 2.0**-4)
        put_scale(raw, t, 2.0**-4 * w.std() / dequantize(raw, t).std())
    return raw.reshape(w.shape[0], -1)


def encode(name, w, kind, rng):
    """(data for the writer, its type, the weights that it stands for)"""
    if w.ndim == 1 or kind == Q.F32:
        return w, Q.F32, w
    if kind == "k":
        t = K_TYPES.get(name.replace("blk.0.", "").split(".")[0], Q.Q4_K)
        data = k_blocks(w.shape, t, rng)
        return data, t, dequantize(data, t)
    if kind in CODES:
        t = CODES[kind][name.replace("blk.0.", "").split(".")[0]]
        data = code_blocks(w, t, rng)
        return data, t, dequantize(data, t)
    if kind == Q.F16:
        return w.astype(np.float16), kind, w.astype(np.float16).astype(np.float32)
    data = quantize(w, kind)
    return data, kind, dequantize(data, kind)


def write_keys(g, arch, pre, cfg, n_vocab):
    tokens, merges, special = vocabulary()
    rope = cfg.rope_parameters
    g.add_name("tiny-" + arch)
    g.add_context_length(cfg.max_position_embeddings)
    g.add_embedding_length(cfg.hidden_size)
    g.add_block_count(cfg.num_hidden_layers)
    g.add_feed_forward_length(cfg.intermediate_size)
    g.add_head_count(cfg.num_attention_heads)
    g.add_head_count_kv(cfg.num_key_value_heads)
    g.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    g.add_rope_freq_base(rope["rope_theta"])
    g.add_vocab_size(n_vocab)
    d = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    g.add_key_length(d)
    g.add_value_length(d)
    if arch == "llama":
        g.add_rope_dimension_count(d)
    if getattr(cfg, "sliding_window", None):
        g.add_sliding_window(cfg.sliding_window)
    if rope["rope_type"] in ("linear", "yarn"):
        g.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        g.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "longrope":
        g.add_rope_scaling_type(RopeScalingType.LONGROPE)
        g.add_rope_scaling_attn_factors(rope["attention_factor"])
    if rope["rope_type"] in ("yarn", "longrope"):
        g.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    g.add_tokenizer_model("gpt2")
    g.add_tokenizer_pre(pre)
    g.add_token_list(tokens + special)
    g.add_token_types([TokenType.NORMAL] * len(tokens) + [TokenType.CONTROL] * len(special))
    g.add_token_merges(merges)
    g.add_bos_token_id(len(tokens) + 1)
    g.add_eos_token_id(len(tokens) + 2)
    g.add_add_bos_token(False)
    return d


def rope_factors(cfg, d):
    """Llama 3's scaling as the tensor that files of it carry."""
    p = cfg.rope_parameters
    wave = 2 * np.pi * p["rope_theta"]**(np.arange(0, d, 2) / d)
    low = p["original_max_position_embeddings"] / p["low_freq_factor"]
    high = p["original_max_position_embeddings"] / p["high_freq_factor"]
    smooth = (p["original_max_position_embeddings"] / wave - p["low_freq_factor"]) / (
        p["high_freq_factor"] - p["low_freq_factor"])
    between = 1 / ((1 - smooth) / p["factor"] + smooth)
    return np.where(wave < high, 1, np.where(wave > low, p["factor"], between)).astype(np.float32)


def make(name, seed):
    arch, pre, config, network, settings, kind = MODELS[name]
    rng = np.random.default_rng(seed)
    n_vocab = sum(len(part) for part in (vocabulary()[0], vocabulary()[2]))
    settings.setdefault("tie_word_embeddings", False)
    cfg = config(vocab_size=n_vocab, attn_implementation="eager", **settings)
    model = network(cfg).float().eval()
    state = random_state(model, rng, 2 if kind == Q.F32 else 1)

    path = f"{OUT}/{name}.gguf"
    g = GGUFWriter(path, arch, split_max_tensors=SPLIT if name == "llama-split" else 0)
    d = write_keys(g, arch, pre, cfg, n_vocab)
    if cfg.rope_parameters["rope_type"] == "llama3":
        g.add_tensor("rope_freqs.weight", rope_factors(cfg, d))
    for which in ("short", "long") if cfg.rope_parameters["rope_type"] == "longrope" else ():
        g.add_tensor(f"rope_factors_{which}.weight", np.array(cfg.rope_parameters[which + "_factor"], np.float32))
    exact = {}
    for key, w in state.items():
        if key == "lm_head.weight" and cfg.tie_word_embeddings:
            continue
        heads = {"q_proj": cfg.num_attention_heads, "k_proj": cfg.num_key_value_heads}
        turned = next((h for p, h in heads.items() if p in key and arch == "llama"), None)
        data, t, decoded = encode(gguf_name(key), permute(w, turned) if turned else w, kind, rng)
        g.add_tensor(gguf_name(key), data, raw_dtype=t)
        if kind == "nvfp4" and t == Q.NVFP4:  # blocks of a weight divided by its global scale
            scale = np.float32(rng.uniform(0.7, 1.4) if "self_attn.k" not in key else q_scale)
            q_scale = scale  # Q and K have the same, V another
            g.add_tensor(gguf_name(key).replace(".weight", ".scale"), np.array([scale], np.float32))
            g.add_tensor(gguf_name(key).replace(".weight", ".input_scale"),
                         np.array([0.01], np.float32))
            decoded = decoded * scale
        if turned:  # back to Transformers' order: the inverse of permute
            decoded = decoded.reshape(turned, w.shape[0] // turned // 2, 2, -1).swapaxes(
                1, 2).reshape(w.shape)
        exact[key] = torch.from_numpy(np.ascontiguousarray(decoded, np.float32))
    if cfg.tie_word_embeddings:
        exact["lm_head.weight"] = exact["model.embed_tokens.weight"]
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()

    model.load_state_dict(exact)
    token = rng.integers(0, n_vocab, size=N_TOKENS)
    with torch.no_grad():
        logits = model(torch.from_numpy(token)[None]).logits[0].numpy()
    if name == "llama-split":
        path = min(glob.glob(f"{OUT}/{name}-*.gguf"))
    print(path, os.path.getsize(path), "bytes, logits", np.abs(logits).max(), logits.std())
    fixture.write(path.replace(".gguf", ".bin"), {"token": token.astype(np.int32), "logits": logits})


os.makedirs(OUT, exist_ok=True)
for i, name in enumerate(MODELS):
    if len(sys.argv) < 2 or name in sys.argv[1:]:
        make(name, 2000 + i)
