"""tests/fuzz/corpus/hf/*: small Hugging Face directories, whole, truncated and lying.

    python3 tests/tools/gen_hf.py
"""

import json
import os
import struct

OUT = "tests/fuzz/corpus/hf"
NAMES = ("config.json", "model.safetensors", "model.safetensors.index.json",
         "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
         "generation_config.json", "tokenizer_config.json", "quantize_config.json", "hf_quant_config.json",
         "chat_template.jinja")

CONFIG = dict(model_type="llama", num_hidden_layers=1, hidden_size=8, intermediate_size=8,
              num_attention_heads=2, num_key_value_heads=1, vocab_size=12, rms_norm_eps=1e-5,
              max_position_embeddings=32, hidden_act="silu", tie_word_embeddings=True,
              rope_parameters=dict(rope_type="yarn", rope_theta=1e4, factor=2.0, mscale=1,
                                   mscale_all_dim=0.5))
QWEN = dict(CONFIG, model_type="qwen2", sliding_window=4, use_sliding_window=True,
            max_window_layers=0, layer_types=["sliding_attention"],
            rope_scaling=dict(type="linear", factor=2))
GENERATION = dict(eos_token_id=[2, 7], temperature=0.7)
TOKENIZER = dict(added_tokens_decoder={"0": {"content": "<s>", "special": True}},
                 bos_token="<s>", eos_token=dict(content="</s>"), add_bos_token=True,
                 chat_template=[dict(name="default", template="{{ messages }}"),
                                dict(name="tool_use", template="x")])
PREFIX = "model.layers.0."
SHAPES = {"model.embed_tokens": (12, 8), "model.norm": (8, ), PREFIX + "input_layernorm": (8, ),
          PREFIX + "post_attention_layernorm": (8, ), PREFIX + "self_attn.q_proj": (8, 8),
          PREFIX + "self_attn.k_proj": (4, 8), PREFIX + "self_attn.v_proj": (4, 8),
          PREFIX + "self_attn.o_proj": (8, 8), PREFIX + "mlp.gate_proj": (8, 8),
          PREFIX + "mlp.up_proj": (8, 8), PREFIX + "mlp.down_proj": (8, 8)}
SIZES = dict(F64=8, F32=4, F16=2, BF16=2, F8_E4M3=1, F8_E5M2=1, I64=8, I32=4, I16=2, I8=1, U8=1,
             BOOL=1)


def safetensors(tensors, change=None, metadata=None):
    """{name: (dtype, shape)} with data of ones; `change` edits the header."""
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape) in tensors.items():
        n = SIZES[dtype]
        for d in shape:
            n *= d
        header[name] = dict(dtype=dtype, shape=list(shape), data_offsets=[at, at + n])
        at += n
    if change:
        change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\x3c" * at


def network(dtype="F16"):
    return {name + ".weight": (dtype, shape) for name, shape in SHAPES.items()}


def save(name, **files):
    parts = []
    for n in NAMES:
        key = n.split(".safetensors")[0].replace("model-0000", "part").split("-of")[0]
        key = "index" if "index" in n else key.replace(".json", "").replace(".jinja", "")
        data = files.get(key, b"")
        parts.append(data if isinstance(data, bytes) else json.dumps(data).encode())
    with open(f"{OUT}/{name}", "wb") as f:
        f.write(struct.pack(f"<{len(parts)}I", *map(len, parts)) + b"".join(parts))


Q = PREFIX + "self_attn.q_proj."
STATE = json.dumps(dict(shape=[32, 32], blocksize=64, nested_blocksize=256,
                        nested_offset=0.5)).encode()
# name: quantization_config, tensors of one weight [32, 32] (64 for NVFP4)
PACKED = {
    "gptq4": (dict(quant_method="gptq", bits=4, group_size=16), dict(
        qweight=("I32", (4, 32)), qzeros=("I32", (2, 4)), scales=("F16", (2, 32)))),
    "gptq3": (dict(quant_method="gptq", bits=3, checkpoint_format="gptq_v2"), dict(
        qweight=("I32", (3, 32)), qzeros=("I32", (1, 3)), scales=("F16", (1, 32)))),
    "gptq_idx": (dict(quant_method="gptq", bits=8), dict(
        qweight=("I32", (8, 32)), qzeros=("I32", (1, 8)), scales=("F16", (1, 32)),
        g_idx=("I32", (32, )))),
    "gptq_act": (dict(quant_method="gptq", bits=4, group_size=32), dict(
        qweight=("I32", (8, 32)), qzeros=("I32", (2, 4)), scales=("F16", (2, 32)),
        g_idx=("I32", (64, )))),
    "awq": (dict(quant_method="awq"), dict(
        qweight=("I32", (32, 4)), qzeros=("I32", (1, 4)), scales=("F16", (1, 32)))),
    "awq_gemv": (dict(quant_method="awq", version="gemv", group_size=32), dict(
        qweight=("I32", (32, 8)), qzeros=("I32", (32, 4)), scales=("F16", (32, 32)))),
    "auto_round": (dict(quant_method="auto-round", bits=5, packing_format="auto_round"), dict(
        qweight=("I32", (5, 32)), qzeros=("I32", (1, 5)), scales=("F16", (1, 32)))),
    "auto_round_awq": (dict(quant_method="auto-round", packing_format="auto_round:auto_awq"), dict(
        qweight=("I32", (32, 4)), qzeros=("I32", (1, 4)), scales=("F16", (1, 32)))),
    "unknown": (dict(quant_method="aqlm"), dict(codes=("I16", (4, 4)))),
    "ct": ({}, dict(weight_packed=("I32", (32, 4)), weight_scale=("BF16", (32, 1)),
                    weight_shape=("I64", (2, )), weight_zero_point=("I32", (4, 1)))),
    "int8": ({}, dict(weight=("I8", (32, 32)), weight_scale=("F32", (32, 1)),
                      weight_zero_point=("I8", (32, 1)))),
    "fp8": ({}, dict(weight=("F8_E4M3", (32, 32)), weight_scale=("F32", ()))),
    "fp8_block": (dict(weight_block_size=[20, 12]), dict(
        weight=("F8_E4M3", (32, 32)), weight_scale_inv=("F32", (2, 3)))),
    "fp8_groups": (dict(quant_method="compressed-tensors", config_groups=dict(group_1=dict(
        weights=dict(block_structure=[20, 12])))), dict(
            weight=("F8_E4M3", (32, 32)), weight_scale=("F32", (2, 3)))),
    "fp8_four": ({}, dict(weight=("F8_E4M3", (32, 32)), weight_scale=("F32", (1, 1, 1, 1)))),
    "mxfp8": ({}, dict(weight=("F8_E4M3", (32, 64)), weight_scale=("U8", (32, 2)))),
    "fp8_before": ({}, dict(weight=("F8_E4M3", (32, 64)), weight_scale=("F32", ()),
                            pre_quant_scale=("F16", (64, )))),
    "int8_before": ({}, dict(weight=("I8", (32, 32)), weight_scale=("F32", (32, )),
                             pre_quant_scale=("BF16", (32, )))),
    "int4": ({}, dict(weight=("U8", (16, 32)), weight_scale=("F32", (32, 1)),
                      pre_quant_scale=("F16", (32, )))),
    "nvfp4_wide": ({}, dict(weight=("U8", (32, 32)), weight_scale=("F8_E4M3", (32, 2)),
                            weight_scale_2=("F32", ()))),
    "mxfp4_modelopt": ({}, dict(weight=("U8", (32, 16)), weight_scale=("U8", (32, 1)))),
    "e5m2": ({}, dict(weight=("F8_E5M2", (32, 32)), weight_scale=("BF16", (32, )))),
    "nvfp4": ({}, dict(weight_packed=("U8", (32, 32)), weight_scale=("F8_E4M3", (32, 4)),
                       weight_global_scale=("F32", (1, )))),
    "nvfp4_odd": ({}, dict(weight=("U8", (32, 8)), weight_scale=("F8_E4M3", (32, 1)),
                           weight_scale_2=("F32", ()))),
    "mxfp4": ({}, dict(weight_packed=("U8", (32, 16)), weight_scale=("U8", (32, 1)))),
    "gpt_oss": ({}, {"x_blocks": ("U8", (2, 4, 1, 16)), "x_scales": ("U8", (2, 4, 1))}),
    "exl2": ({}, dict(q_weight=("I32", (10, 32)), q_scale=("I32", (2, 4)),
                      q_scale_max=("F16", (2, )), q_groups=("I16", (4, )), q_invperm=("I32", (64, )))),
    "bnb": ({}, {"weight": ("U8", (512, 1)), "weight.absmax": ("U8", (16, )),
                 "weight.quant_map": ("F32", (16, )), "weight.nested_absmax": ("F32", (1, )),
                 "weight.nested_quant_map": ("F32", (256, )),
                 "weight.quant_state.bitsandbytes__nf4": ("U8", (len(STATE), ))}),
    "bnb_int8": ({}, dict(weight=("I8", (32, 32)), SCB=("F32", (32, )), weight_format=("U8", ()))),
}


def packed(name):
    said, tensors = PACKED[name]
    data = bytearray(safetensors({Q + t: v for t, v in tensors.items()}))
    end = len(data)
    for t, (dtype, shape) in reversed(tensors.items()):
        n = SIZES[dtype]
        for d in shape:
            n *= d
        if t == "weight_shape":
            data[end - n:end] = struct.pack("<2q", 32, 32)
        elif t == "g_idx":
            data[end - n:end] = b"".join(
                struct.pack("<i", i % 2 if n == 256 else 0) for i in range(n // 4))
        elif t == "q_groups":
            data[end - n:end] = struct.pack("<4h", 4, 0, 6, 4)
        elif t == "q_invperm":
            data[end - n:end] = b"".join(struct.pack("<i", 63 - i) for i in range(64))
        elif "quant_state" in t:
            data[end - n:end] = STATE
        end -= n
    return dict(config=dict(CONFIG, quantization_config=said), model=bytes(data))


def split():
    names = sorted(network())
    a = {n: network()[n] for n in names[:5]}
    b = {n: network()[n] for n in names[5:]}
    where = {n: f"model-0000{1 if n in a else 2}-of-00002.safetensors" for n in names}
    return safetensors(a), safetensors(b), dict(metadata=dict(total_size=1), weight_map=where)


def main():
    os.makedirs(OUT, exist_ok=True)
    whole = safetensors(network(), metadata={"format": "pt", "esc": "a\"b\\"})
    save("whole", config=CONFIG, model=whole, generation_config=GENERATION,
         tokenizer_config=TOKENIZER)
    save("qwen", config=QWEN, model=safetensors(network("BF16")))
    save("bare", config=CONFIG, model=safetensors(
        {n.replace("model.", ""): t for n, t in network("F32").items()}))
    one, two, index = split()
    save("split", config=CONFIG, part1=one, part2=two, index=index)
    save("split_short", config=CONFIG, part1=one, part2=two[:-1], index=index)
    save("split_absent", config=CONFIG, part1=one, index=index)
    save("split_wrong", config=CONFIG, part1=two, part2=one, index=index)
    save("split_path", config=CONFIG, part1=one, part2=two,
         index=dict(weight_map={"a": "../../etc/passwd"}))
    save("types", config=CONFIG, model=safetensors(
        {t.lower(): (t, (2, 3)) for t in SIZES} | {"scalar": ("F32", ()), "none": ("U8", (0, 4)),
                                                   "deep": ("U8", (1, 2, 1, 2, 1, 3))}))
    for cut in (1, 7, 8, 20, 400, len(whole) - 1):
        save(f"cut_{cut}", config=CONFIG, model=whole[:cut])
    for name in PACKED:
        save("packed_" + name, **packed(name))
    gptq = packed("gptq4")
    save("old_gptq", config=CONFIG, model=gptq["model"], quantize_config=dict(bits=4, group_size=16))
    save("old_modelopt", config=CONFIG, model=packed("nvfp4_odd")["model"],
         hf_quant_config=dict(quantization=dict(quant_algo="NVFP4", group_size=16)))
    save("old_cut", config=CONFIG, model=gptq["model"], quantize_config=b'{"bits": 4, "group')
    save("template", config=CONFIG, model=whole, chat_template=b"{{ messages }}",
         tokenizer_config=TOKENIZER)
    save("alone", model=whole)
    norm = "model.norm.weight"
    lies = {
        "offset": lambda h: h[norm].update(data_offsets=[1 << 60, (1 << 60) + 16]),
        "hole": lambda h: h.pop(norm),
        "overlap": lambda h: h[norm].update(data_offsets=[0, 16]),
        "backwards": lambda h: h[norm].update(data_offsets=[16, 0]),
        "shape": lambda h: h[norm].update(shape=[1 << 31, 1 << 31, 1 << 31]),
        "short": lambda h: h[norm].update(shape=[7]),
        "dtype": lambda h: h[norm].update(dtype="F7"),
        "field": lambda h: h[norm].update(extra=1),
        "none": lambda h: h[norm].pop("shape"),
        "fraction": lambda h: h[norm].update(shape=[8.5]),
        "name": lambda h: h.update({"": h.pop(norm)}),
    }
    for name, change in lies.items():
        save("lie_" + name, config=CONFIG, model=safetensors(network(), change))
    save("header_long", config=CONFIG, model=struct.pack("<Q", 1 << 40) + whole[8:])
    save("twice", config=CONFIG, model=whole.replace(b"v_proj", b"k_proj"))
    save("deep", config=b"[" * 200)
    save("keys", config=dict(CONFIG, **{f"k{i}": i for i in range(300)}), model=whole)
    save("rope", config=dict(CONFIG, rope_parameters=dict(rope_type="dynamic")), model=whole)
    long = dict(rope_type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 4.0],
                original_max_position_embeddings=16)
    save("longrope", config=dict(CONFIG, rope_parameters=long), model=whole)
    save("longrope_lie", config=dict(CONFIG, rope_scaling=dict(long, long_factor=[1e300, "x"])), model=whole)
    save("exact", config=dict(CONFIG, rope_parameters=dict(rope_type="yarn", factor=None, truncate=False)),
         model=whole)
    save("tied", config=CONFIG, model=safetensors(network() | {"lm_head.weight": ("F16", (12, 8))}))
    save("repeated", config=b'{"model_type": "qwen2", "a": {"b": 1, "b": {"b": 2, "c": 3, "b": [{"d": 1, "d": 2}]}},'
         + json.dumps(CONFIG).encode()[1:], model=whole)
    save("layers", config=dict(CONFIG, num_hidden_layers=1e9), model=whole)


main()
