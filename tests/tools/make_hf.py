"""tests/data/hf/*/: tiny random Hugging Face directories, each with the logits that Transformers
computes in float32 (logits.bin), for tests/engine/test_hf.c.

    python -m venv v && v/bin/pip install torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 numpy safetensors
    v/bin/python tests/tools/make_hf.py [name ...]

Transformers itself writes the files (save_pretrained).
"""

import os
import shutil
import sys

import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import fixture

OUT = "tests/data/hf"
N_TOKENS, N_VOCAB = 24, 64

SMALL = dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             rms_norm_eps=1e-5, attn_implementation="eager", tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, attention_factor=1.3,
            original_max_position_embeddings=64)

LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.2, 1.3],
            long_factor=[1.0, 1.5, 2.5, 4.0], original_max_position_embeddings=16)
EXACT = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=64, truncate=False)

# name: network, its configuration, type of the file, settings of save_pretrained
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SMALL, rope_parameters=LLAMA3, attention_bias=True,
                                            mlp_bias=True), "float32", dict(max_shard_size="40KB")),
    "mistral": (MistralForCausalLM, MistralConfig(**SMALL, head_dim=16, sliding_window=9),
                "float16", {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**dict(SMALL, tie_word_embeddings=True)), "bfloat16", {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SMALL, head_dim=16, rope_parameters=YARN), "float16", {}),
    "qwen2-mixed": (Qwen2ForCausalLM, Qwen2Config(**dict(SMALL, num_hidden_layers=3), use_sliding_window=True,
                                                  sliding_window=5, max_window_layers=1), "float16", {}),
    "qwen3-types": (Qwen3ForCausalLM, Qwen3Config(
        **dict(SMALL, num_hidden_layers=3), head_dim=16, use_sliding_window=True, sliding_window=7, layer_types=[
            "sliding_attention", "full_attention", "sliding_attention"]), "float16", {}),
    "llama-long": (LlamaForCausalLM, LlamaConfig(**SMALL, rope_parameters=LONG), "float16", {}),
    "qwen2-exact": (Qwen2ForCausalLM, Qwen2Config(**SMALL, rope_parameters=EXACT), "float16", {}),
}


def random_weights(model, rng):
    """Of a spread like a trained network's, so that every part of it matters."""
    for name, p in model.named_parameters():
        w = rng.normal(size=tuple(p.shape))
        if name.endswith("norm.weight"):
            w = 1 + 0.2 * w
        elif name.endswith("bias"):
            w = 0.3 * w
        elif "embed" not in name or model.config.tie_word_embeddings:
            w = w / np.sqrt(w.shape[-1]) * (2 if "proj" in name else 1)
        p.data = torch.from_numpy(w.astype(np.float32))
    model.tie_weights()


def logits(model, token):
    with torch.no_grad():
        return model.float().eval()(torch.from_numpy(token)[None]).logits[0].numpy()


CHAT = [dict(role="user", content="ab 12?"), dict(role="assistant", content="ba")]
TEMPLATE = ("{% for m in messages %}<s>{{ m.role[0] }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
            "{% if add_generation_prompt %}<s>a:{% endif %}")


def tokenizer(folder):
    """54 tokens for 64 rows: special ones, bytes of some characters, a few merges."""
    special = ["<pad>", "<s>", "</s>"]
    alphabet = [*"abcdefghijklmnopqrstuvwxyz0123456789.,:?!\u0120\u010a"]
    vocab = {t: i for i, t in enumerate(special + alphabet)}
    merges = [("a", "b"), ("\u0120", "a"), ("b", "a")]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(special + ["<end>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    text = fast.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = fast.encode(text, add_special_tokens=False)
    print(repr(text), ids, len(fast))
    return {"text": np.frombuffer(text.encode(), np.uint8),
            "ids": np.array(ids, np.int32)}, fast.convert_tokens_to_ids("<end>")


def make(name, seed):
    network, config, kind, how = MODELS[name]
    rng = np.random.default_rng(seed)
    model = network(config)
    random_weights(model, rng)
    model = model.to(getattr(torch, kind))
    folder = f"{OUT}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    arrays = {}
    if name == "llama":
        arrays, end = tokenizer(folder)
        model.generation_config.eos_token_id = [2, end]
    model.save_pretrained(folder, **how)
    token = rng.integers(0, N_VOCAB, size=N_TOKENS)
    exact = network(config)  # rotary frequencies stay in float32
    exact.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    arrays.update(token=token.astype(np.int32), logits=logits(exact, token))
    fixture.write(f"{folder}/logits.bin", arrays)


def main():
    os.makedirs(OUT, exist_ok=True)
    for i, name in enumerate(MODELS):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(name, 3000 + i)


if __name__ == "__main__":
    main()
