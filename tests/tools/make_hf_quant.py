"""tests/data/hf/*/ with packed weights: tiny random directories of each packing, with the logits that
Transformers computes in float32 from the weights that the packing stands for (logits.bin), and every
sixteenth row of those weights, for tests/engine/test_hf.c.

    python -m venv v
    v/bin/pip install torch==2.13.0 transformers==5.23.0 numpy safetensors compressed-tensors==0.20.0 \\
        bitsandbytes==0.50.2
    v/bin/python tests/tools/make_hf_quant.py [name ...]

compressed-tensors and bitsandbytes pack and unpack their own formats. GPTQ, AWQ, Marlin, EXL2 and DeepSeek's FP8
are written here from their definitions: the weights come from the codes, scales and zero points before
they are packed. make_hf_libs.py has those that other libraries write.
"""

import json
import os
import shutil
import sys

import bitsandbytes.functional as bnb
import numpy as np
import torch
from compressed_tensors.compressors import (MXFP4PackedCompressor, NaiveQuantizationCompressor,
                                            NVFP4PackedCompressor, PackedQuantizationCompressor)
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

import fixture
from make_hf import N_TOKENS, OUT, logits

CONFIG = dict(vocab_size=32, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
              rms_norm_eps=1e-5, attn_implementation="eager", tie_word_embeddings=False)
PROJECTIONS = [f"model.layers.0.{m}" for m in (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]


def words(q, bits):
    """Whole numbers [K, N] as a stream of bits along K, in words of 32: [K bits / 32, N]."""
    k, n = q.shape
    b = (q[:, None, :].astype(np.int64) >> np.arange(bits)[None, :, None]) & 1
    b = b.reshape(k * bits // 32, 32, n)
    return (b << np.arange(32)[None, :, None]).sum(1).astype(np.uint32).view(np.int32)


def group_codes(w, bits, group, sym, index, least_zero=1):
    """Codes [K, N], zero points and f16 scales [G, N] of w [N, K]; row k belongs to index[k]."""
    w, top = w.T, 2**bits - 1
    n_groups = index.max() + 1
    lo = np.stack([w[index == g].min(0) for g in range(n_groups)])
    hi = np.stack([w[index == g].max(0) for g in range(n_groups)])
    lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
    if sym:
        s = 2 * np.maximum(-lo, hi) / top
        z = np.full(s.shape, 2**(bits - 1))
    else:
        s = (hi - lo) / top
        z = np.clip(np.rint(-lo / s), least_zero, top)
    s = s.astype(np.float16)
    q = np.clip(np.rint(w / s.astype(np.float32)[index] + z[index]), 0, top).astype(np.int64)
    return q, z.astype(np.int64), s, ((q - z[index]) * s.astype(np.float32)[index]).T


def gptq(rng, bits=4, group=32, sym=True, act=False, version=1, positive=False):
    """Version 1 takes one off each zero point: GPTQModel does so to whole words where bits divide 32
    (convert_gptq_v2_to_v1_format_module), so that a zero point of 0 borrows from its neighbour."""

    def pack(name, w):
        w = np.where(rng.random(w.shape[0])[:, None] < 0.5, np.abs(w), w) if positive else w
        k = w.shape[1]
        g = k if group < 0 else group
        index = np.arange(k) // g
        if act:
            index = index[rng.permutation(k)]
        q, z, s, exact = group_codes(w, bits, g, sym, index, 0 if positive else 1)
        whole = 32 % bits == 0
        zeros = words(((z - (version == 1 and not whole)) % 2**bits).T, bits).T
        if version == 1 and whole:
            ones = (2**32 - 1) // (2**bits - 1)
            zeros = (zeros.view(np.uint32).astype(np.int64) - ones).astype(np.uint32).view(np.int32)
        out = {"qweight": words(q, bits), "qzeros": zeros, "scales": s,
               "g_idx": index.astype(np.int32)}
        return {name + "." + t: torch.from_numpy(np.ascontiguousarray(v)) for t, v in out.items()}, exact

    return pack, dict(quant_method="gptq", bits=bits, group_size=group, sym=sym, desc_act=act,
                      checkpoint_format="gptq" if version == 1 else "gptq_v2"), {}, ["lm_head"] if positive else []


def exl2(rng):
    """Groups of 32 to 64 rows in every width, in falling order; the rows in an order of their own; N
    padded to 32. As ExLlamaV2's AdaptiveGPTQ.pack, pack_columns and pack_rows_4 write them: codes from the
    lowest bit of the first word on, each group in whole words; q_scale holds 0 .. 15 for 1 .. 16. And as
    its kernels read them: q_scale_max / 256 is f16, and so is its product with the square."""
    plans = {"down": [(8, 32), (6, 32)], "gate": [(5, 32), (3, 32)], "up": [(4, 32), (2, 32)],
             "lm_head": [(6, 64)]}

    def pack(name, w):
        k = w.shape[1]
        perm = rng.permutation(k)  # row i of the file is k = perm[i]
        x = w.T[perm]
        groups, codes, scales, tops, exact, row = [], [], [], [], [], 0
        x = np.pad(x, ((0, 0), (0, -x.shape[1] % 32)))
        for bits, rows in next((v for k, v in plans.items() if k in name), [(4, 64)]):
            part = x[row:row + rows]
            want = np.abs(part).max(0) / (2**(bits - 1) - 0.5)
            top = np.float16(want.max())
            q = np.clip(np.ceil(np.sqrt(want / np.float32(top) * 256)) - 1, 0, 15).astype(np.int64)
            s = ((q + 1)**2 * np.float16(top / np.float16(256)).astype(np.float32)).astype(np.float16)
            s = s.astype(np.float32)
            c = np.clip(np.rint(part / s), -2**(bits - 1), 2**(bits - 1) - 1)
            groups += [bits, sum(len(v) for v in codes)]
            codes.append(words(c.astype(np.int64) + 2**(bits - 1), bits))
            scales.append(q)
            tops.append(top)
            exact.append(c * s)
            row += rows
        out = np.empty_like(w)
        out[:, perm] = np.concatenate(exact).T[:w.shape[0]]
        parts = {"q_weight": np.concatenate(codes), "q_scale": words(np.stack(scales).T, 4).T,
                 "q_scale_max": np.array(tops), "q_groups": np.array(groups, np.int16),
                 "q_invperm": np.argsort(perm).astype(np.int32)}
        return {f"{name}.{t}": torch.from_numpy(np.ascontiguousarray(v))
                for t, v in parts.items()}, out

    return pack, dict(quant_method="exl2", version="0.2.0", bits=4.0), dict(vocab_size=30), ["lm_head"]


def awq(rng):
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def nibbles(q):
        """[R, N] -> [R, N / 8]: nibble i holds column order[i] of eight."""
        q = q.reshape(q.shape[0], -1, 8)[:, :, order].astype(np.int64)
        return (q << (4 * np.arange(8))).sum(2).astype(np.uint32).view(np.int32)

    def pack(name, w):
        q, z, s, exact = group_codes(w, 4, 32, False, np.arange(w.shape[1]) // 32)
        out = {"qweight": nibbles(q), "qzeros": nibbles(z), "scales": s}
        return {name + "." + t: torch.from_numpy(v) for t, v in out.items()}, exact

    return pack, dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemm")


def gemv(rng):
    """AutoAWQ's WQLinear_GEMV: all along K from the lowest nibble on; scales and zeros are padded to
    whole words, and to two or four of those for groups of 64 or 32 (calculate_zeros_width)."""

    def pack(name, w):
        q, z, s, exact = group_codes(w, 4, 32, False, np.arange(w.shape[1]) // 32, 0)
        width = -(-len(z) // 8 // 4) * 4 if len(z) >= 8 else 4
        zeros, scales = np.zeros((w.shape[0], width * 8), np.int64), np.zeros((w.shape[0], width * 8), np.float16)
        zeros[:, :len(z)], scales[:, :len(s)] = z.T, s.T
        out = {"qweight": words(q, 4).T, "qzeros": words(zeros.T, 4).T, "scales": scales}
        return {name + "." + t: torch.from_numpy(np.ascontiguousarray(v)) for t, v in out.items()}, exact

    return pack, dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemv")


def marlin(names, said):
    """Marlin's order, from what its kernel does: lane l of a warp holds, of each of four squares of 16 x 16, the
    codes (row, column) of the two 8-column halves of an mma.m16n8k16 operand, even ones in the low half word."""

    def make(rng):
        def pack(name, w):
            k = w.shape[1]
            group = 32 if "mlp" in name else k
            q, _, s, exact = group_codes(w, 4, group, True, np.arange(k) // group)
            out = np.zeros((k // 16, 2 * q.shape[1]), np.int64)
            for tile, square, lane in np.ndindex(k // 16, q.shape[1] // 16, 32):
                held = [q[16 * tile + 2 * (lane % 4) + row, 16 * square + lane // 4 + column]
                        for column in (0, 8) for row in (0, 1, 8, 9)]
                word = sum(int(v) << 4 * i for i, v in enumerate(held[0::2] + held[1::2]))
                out[tile, square // 4 * 128 + 4 * lane + square % 4] = word
            if len(s) > 1:
                s = s.reshape(len(s), -1, 8, 8).swapaxes(2, 3).reshape(len(s), -1)
            else:  # a thread's accumulators: of four blocks of 8 columns two neighbours each
                s = s.reshape(-1, 4, 4, 2).swapaxes(1, 2).reshape(1, -1)
            parts = {names[0]: out.astype(np.uint32).view(np.int32), names[1]: np.ascontiguousarray(s)}
            return {name + "." + t: torch.from_numpy(v) for t, v in parts.items()}, exact

        return pack, said, dict(num_key_value_heads=4), []

    return make


def gemv_fast(rng):
    """AutoAWQ's WQLinear_GEMVFast: 16 bits hold a code of each quarter of a strip of four rows by 64 k; scales and
    scaled zeros are [groups, N], padded as gemv's. The weight is the number that was packed, not s q + f16(-s z)."""

    def pack(name, w):
        q, z, s, exact = group_codes(w, 4, 32, False, np.arange(w.shape[1]) // 32, 0)
        n, k = q.shape[::-1]
        a = q.T.reshape(n, k // 32, 4, 4, 2).transpose(0, 1, 3, 4, 2)  # k = 8 a + 2 b + c is at 8 b + 4 c + a
        a = a.reshape(n // 4, 4, k // 64, 64).swapaxes(1, 2).reshape(n // 4, k, 4)
        shift = np.zeros((32, n), np.float16)
        scale = shift.copy()
        scale[:len(s)], shift[:len(s)] = s, -(s.astype(np.float32) * z).astype(np.float16)
        out = {"qweight": (a << 4 * np.arange(4)).sum(2).astype(np.uint16).view(np.int16), "qzeros": shift, "scales": scale}
        return {name + "." + t: torch.from_numpy(np.ascontiguousarray(v)) for t, v in out.items()}, exact

    return pack, dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemv_fast")


def ct(compressor, scale, args, zero=None, global_scale=None):
    """A pack function of compressed-tensors: `scale` (w) gives the scales."""

    def pack(name, w):
        w = torch.from_numpy(w)
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
        state = {"weight": w, "weight_scale": scale(w)}
        if zero:
            state["weight_zero_point"] = zero(w)
        if global_scale:
            state["weight_global_scale"] = global_scale(w)
        packed = compressor.compress(state, scheme)
        plain = exact_ct(packed, args)
        theirs = compressor.decompress(dict(packed), scheme)["weight"].float()
        assert (theirs - plain).abs().max() <= 2**-8 * plain.abs().max()
        return {f"{name}.{k}": v.contiguous() for k, v in packed.items()}, plain.float().numpy()

    return pack


def exact_ct(packed, args):
    """The library computes in the type of the scale; this in float32, from the library's codes."""
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
    q = packed.get("weight_packed")
    s = packed["weight_scale"]
    if q is None:
        return packed["weight"].float() * s.float()
    if q.dtype == torch.uint8:
        s = torch.exp2(s.float() - 127) if s.dtype == torch.uint8 else s.float()
        v = unpack_fp4_from_uint8(q, q.shape[0], q.shape[1] * 2).float()
        if "weight_global_scale" in packed:
            s = s / packed["weight_global_scale"].float()
    else:
        v = unpack_from_int32(q, args["num_bits"], torch.Size(packed["weight_shape"])).float()
        if "weight_zero_point" in packed:
            z = unpack_from_int32(packed["weight_zero_point"], args["num_bits"],
                                  torch.Size((q.shape[0], s.shape[1])), packed_dim=0).float()
            v = v - z.repeat_interleave(v.shape[1] // z.shape[1], 1)
    return v * s.float().repeat_interleave(v.shape[1] // s.shape[1], 1)


def by_group(size, top, dtype):
    return lambda w: (w.reshape(w.shape[0], -1, size).abs().amax(-1) / top).to(dtype)


def channel(top, dtype):
    return lambda w: (w.abs().amax(1, keepdim=True) / top).to(dtype)


def nv_global(w):
    return (448 * 6 / w.abs().max()).reshape(1).float()


def nv_scale(w):
    s = w.reshape(w.shape[0], -1, 16).abs().amax(-1) / 6 * nv_global(w)
    return s.to(torch.float8_e4m3fn).float()


PACKED, NAIVE = PackedQuantizationCompressor, NaiveQuantizationCompressor
INT4 = dict(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
CT_INT = [  # one for each projection
    ct(PACKED, by_group(32, 7, torch.bfloat16), INT4),
    ct(PACKED, by_group(32, 7, torch.float16), dict(INT4, symmetric=False),
       zero=lambda w: torch.arange(w.shape[0] * 2).reshape(-1, 2).remainder(13).sub(6).to(torch.int8)),
    ct(PACKED, channel(127, torch.float32), dict(num_bits=8, type="int", strategy="channel")),
    ct(PACKED, by_group(32, 15, torch.float16), dict(INT4, num_bits=5)),
    ct(NAIVE, channel(127, torch.bfloat16), dict(num_bits=8, type="int", strategy="channel")),
    ct(PACKED, by_group(64, 3, torch.float16), dict(INT4, num_bits=3, group_size=64)),
    ct(PACKED, channel(7, torch.float32), dict(num_bits=4, type="int", strategy="channel")),
]
FP8 = dict(num_bits=8, type="float")
BY_ROW = ct(NAIVE, channel(448, torch.float32), dict(FP8, strategy="channel"))
FP4 = dict(num_bits=4, type="float", symmetric=True)
NV = ct(NVFP4PackedCompressor, nv_scale, dict(FP4, strategy="tensor_group", group_size=16),
        global_scale=nv_global)
CT_FLOAT = [
    NV, NV, NV,
    ct(NAIVE, lambda w: (w.abs().max() / 448).reshape(1).float(), dict(FP8, strategy="tensor")),
    ct(NAIVE, channel(448, torch.float32), dict(FP8, strategy="channel")),
    ct(NAIVE, channel(448, torch.bfloat16), dict(FP8, strategy="channel")),
    ct(MXFP4PackedCompressor, lambda w: torch.exp2(torch.floor(torch.log2(
        w.reshape(w.shape[0], -1, 32).abs().amax(-1))) - 2), dict(FP4, strategy="group", group_size=32)),
]


def each(packers):
    return lambda name, w: packers[PROJECTIONS.index(name)](name, w)


def tables(embed, head, settings):
    """The token table and the head packed too."""
    def pack(name, w):
        return (embed if "embed" in name else head)(name, w)

    return lambda rng: (pack, dict(quant_method="compressed-tensors", format="mixed-precision"), settings,
                        ["model.embed_tokens", "lm_head"])


def fp8_block(rng, rows=24, columns=40, exponents=False, settings=None):
    """DeepSeek's: squares, the last ones short; of V3.1 (scale_fmt ue8m0) scales are exponents."""

    def pack(name, w):
        n, k = w.shape
        up = np.zeros((-(-n // rows) * rows, -(-k // columns) * columns), np.float32)
        up[:n, :k] = w
        s = np.abs(up.reshape(up.shape[0] // rows, rows, -1, columns)).max((1, 3)) / 448
        s = np.exp2(np.ceil(np.log2(s))).astype(np.float32) if exponents else s
        full = s.repeat(rows, 0).repeat(columns, 1)[:n, :k]
        q = torch.from_numpy(w / full).to(torch.float8_e4m3fn)
        kind = torch.float8_e8m0fnu if exponents else torch.float32
        return {name + ".weight": q, name + ".weight_scale_inv": torch.from_numpy(s).to(kind)}, \
            q.float().numpy() * full

    return pack, dict(quant_method="fp8", weight_block_size=[rows, columns],
                      activation_scheme="dynamic", fmt="e4m3"), settings or {}, []


def bitsandbytes(rng):
    def pack(name, w):
        w = torch.from_numpy(w)
        if "mlp.up" in name:
            q, s, _ = bnb.int8_vectorwise_quant(w.half())
            return {name + ".weight": q, name + ".SCB": s,
                    name + ".weight_format": torch.tensor(0, dtype=torch.uint8)}, \
                (q.float() * s[:, None] / 127).numpy()
        kind = "fp4" if "mlp.gate" in name else "nf4"
        q, state = bnb.quantize_4bit(w, blocksize=64, quant_type=kind,
                                     compress_statistics="self_attn" in name)
        parts = {f"{name}.weight.{k}": v for k, v in state.as_dict(packed=True).items()}
        return {name + ".weight": q, **parts}, bnb.dequantize_4bit(q, state).numpy()

    return pack, dict(quant_method="bitsandbytes", load_in_4bit=True)


MODELS = {
    "gptq4": lambda rng: gptq(rng),
    "gptq4-v2": lambda rng: gptq(rng, group=32, sym=False, version=2),
    "gptq4-act": lambda rng: gptq(rng, act=True),
    "gptq2": lambda rng: gptq(rng, bits=2, group=16, sym=False),
    "gptq3": lambda rng: gptq(rng, bits=3, group=-1, sym=False),
    "gptq8": lambda rng: gptq(rng, bits=8),
    "gptq4-borrow": lambda rng: gptq(rng, sym=False, positive=True),
    "gptq3-borrow": lambda rng: gptq(rng, bits=3, sym=False, positive=True),
    "awq-gemv": gemv,
    "awq": awq,
    "ct-int": lambda rng: (each(CT_INT), dict(quant_method="compressed-tensors", format="mixed-precision")),
    "ct-tables": tables(CT_INT[0], CT_INT[2], {}),
    "ct-tied": tables(ct(PACKED, by_group(32, 7, torch.float16), INT4), CT_INT[2], dict(tie_word_embeddings=True)),
    "ct-tables8": tables(BY_ROW, NV, {}),
    "ct-float": lambda rng: (each(CT_FLOAT), dict(quant_method="compressed-tensors", format="mixed-precision")),
    "fp8-block": fp8_block,
    "bnb": bitsandbytes,
    "exl2": exl2,
    "fp8-ue8m0": lambda rng: fp8_block(rng, 64, 64, True, dict(hidden_size=128, intermediate_size=128)),
    "gptq-marlin": marlin(("B", "s"), dict(quant_method="gptq", bits=4, group_size=32, is_marlin_format=True)),
    "awq-marlin": marlin(("qweight", "scales"), dict(quant_method="awq", bits=4, group_size=32, zero_point=False, version="marlin")),
    "awq-fast": gemv_fast,
}


def make(models, name, seed):
    """models[name] is (rng) -> pack, quantization_config, and maybe settings of the network and modules that
    are packed besides the projections."""
    rng = np.random.default_rng(seed)
    pack, said, *more = models[name](rng)
    settings, besides = more or ({}, [])
    model = LlamaForCausalLM(LlamaConfig(**dict(CONFIG, **settings)))
    tensors, arrays, state = {}, {}, {}
    for key, p in model.state_dict().items():
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        w = rng.normal(size=tuple(p.shape))
        w = 1 + 0.2 * w if key.endswith("norm.weight") else w
        w = w / np.sqrt(w.shape[-1]) if "proj" in key or "lm_head" in key else w
        w, module = w.astype(np.float16), key.removesuffix(".weight")
        if module not in PROJECTIONS + besides:
            tensors[key] = torch.from_numpy(w)
        else:
            parts, w = pack(module, w.astype(np.float32))
            tensors.update(parts)
            short = module.replace("model.layers.0.", "").replace("model.", "")
            arrays[short] = w[::16].astype(np.float32)
        state[key] = torch.from_numpy(w.astype(np.float32))
    model.load_state_dict(state, strict=not model.config.tie_word_embeddings)
    model.tie_weights()
    folder = f"{OUT}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
    config = json.loads(model.config.to_json_string())
    with open(f"{folder}/config.json", "w") as f:
        json.dump(dict(config, quantization_config=said), f, indent=1)
    token = rng.integers(0, model.config.vocab_size, size=N_TOKENS)
    arrays.update(token=token.astype(np.int32), logits=logits(model, token))
    fixture.write(f"{folder}/logits.bin", arrays)


def main(models, seed):
    for i, name in enumerate(models):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(models, name, seed + i)


if __name__ == "__main__":
    main(MODELS, 3100)
