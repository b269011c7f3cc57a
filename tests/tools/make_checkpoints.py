"""tests/data/models/*.gguf and *.bin: tiny random checkpoints of each family with the logits that
Transformers computes in float32, for tests/engine/test_models.c.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.23.0 gguf==0.19.0 numpy
    v/bin/python tests/tools/make_checkpoints.py [name ...]

A quantised file's reference has the weights that the gguf package decodes from that same file's
blocks, so that only the arithmetic on activations may differ.
"""

import os
import sys

import numpy as np
import torch
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
for t in (Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1):
    MODELS["qwen2-" + t.name.lower()] = MODELS["qwen2"][:5] + (t,)

# Which K-quant each tensor of llama-k has: Q, K and V differ, so that they cannot be fused.
K_TYPES = {"attn_v": Q.Q6_K, "ffn_down": Q.Q6_K, "attn_output": Q.Q5_K, "token_embd": Q.Q5_K}
# K-quants are random bits under these scales: (offset of an f16, value).
K_SCALES = {Q.Q4_K: ((0, 2.4e-4), (2, 1.8e-3)), Q.Q5_K: ((0, 1.2e-4), (2, 1.86e-3)),
            Q.Q6_K: ((208, 4.6e-5), )}
K_BYTES = {Q.Q4_K: 144, Q.Q5_K: 176, Q.Q6_K: 210}


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


def encode(name, w, kind, rng):
    """(data for the writer, its type, the weights that it stands for)"""
    if w.ndim == 1 or kind == Q.F32:
        return w, Q.F32, w
    if kind == "k":
        t = K_TYPES.get(name.replace("blk.0.", "").split(".")[0], Q.Q4_K)
        data = k_blocks(w.shape, t, rng)
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
    if rope["rope_type"] == "yarn":
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
    g = GGUFWriter(path, arch)
    d = write_keys(g, arch, pre, cfg, n_vocab)
    if cfg.rope_parameters["rope_type"] == "llama3":
        g.add_tensor("rope_freqs.weight", rope_factors(cfg, d))
    exact = {}
    for key, w in state.items():
        if key == "lm_head.weight" and cfg.tie_word_embeddings:
            continue
        heads = {"q_proj": cfg.num_attention_heads, "k_proj": cfg.num_key_value_heads}
        turned = next((h for p, h in heads.items() if p in key and arch == "llama"), None)
        data, t, decoded = encode(gguf_name(key), permute(w, turned) if turned else w, kind, rng)
        g.add_tensor(gguf_name(key), data, raw_dtype=t)
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
    print(path, os.path.getsize(path), "bytes, logits", np.abs(logits).max(), logits.std())
    fixture.write(f"{OUT}/{name}.bin", {"token": token.astype(np.int32), "logits": logits})


os.makedirs(OUT, exist_ok=True)
for i, name in enumerate(MODELS):
    if len(sys.argv) < 2 or name in sys.argv[1:]:
        make(name, 2000 + i)
