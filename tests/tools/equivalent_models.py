"""A GGUF model of the llama architecture as another one that computes the same function with other weights, to tell
what an encoder of block formats does to weights in general from how single roundings fall on those of one file:

    v/bin/pip install gguf==0.19.0
    v/bin/inferd quantize FILE f32.gguf --type f32
    v/bin/python tests/tools/equivalent_models.py f32.gguf OUT.gguf --kind order|scale|rotate --seed N

order   permutes the residual stream's channels, each layer's FFN neurons and each key head's value channels: the same
        numbers, each with other neighbours in its block.
scale   does that, and multiplies the columns behind each norm, the rows of attn_v and those of ffn_up by exp(N(0, 0.15)),
        which the norm, attn_output and ffn_down divide by.
rotate  turns the residual stream and each head's values by random orthogonal matrices, the norms' weights multiplied
        into what stands behind them: every weight is a sum of hundreds. The output is no longer tied to the embedding.

All sums are in f64. `inferd perplexity OUT.gguf --reference` of f32.gguf's logits shows a divergence of rounding only.
Matrices here are as NumPy sees them, [rows, columns] with a column an input.
"""

import argparse

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

SIGMA = 0.15
ATTN, FFN = ("attn_q", "attn_k", "attn_v"), ("ffn_gate", "ffn_up")


def layer(w, i):
    """The tensors of layer i by their short names, in f64, and the names in full."""
    names = {k.split(".")[2]: k for k in w if k.startswith(f"blk.{i}.")}
    return {short: w[name].astype(np.float64) for short, name in names.items()}, names


def order(w, shape, rng):
    n_layer, heads, kv_heads = shape
    channel = rng.permutation(w["token_embd.weight"].shape[1])
    for name in ("token_embd.weight", "output_norm.weight"):
        w[name] = w[name][..., channel]
    for i in range(n_layer):
        t, names = layer(w, i)
        neuron = rng.permutation(t["ffn_down"].shape[1])
        width = t["attn_v"].shape[0] // kv_heads
        value = [rng.permutation(width) for _ in range(kv_heads)]
        v = np.concatenate([h * width + p for h, p in enumerate(value)])
        o = np.concatenate([h * width + value[h * kv_heads // heads] for h in range(heads)])
        for k in (*ATTN, *FFN, "attn_norm", "ffn_norm"):
            t[k] = t[k][..., channel]
        t["attn_v"] = t["attn_v"][v]
        t["attn_output"] = t["attn_output"][channel][:, o]
        for k in FFN:
            t[k] = t[k][neuron]
        t["ffn_down"] = t["ffn_down"][channel][:, neuron]
        w.update({names[k]: x for k, x in t.items()})


def scale(w, shape, rng):
    order(w, shape, rng)
    n_layer, heads, kv_heads = shape
    for i in range(n_layer):
        t, names = layer(w, i)
        for norm, behind in (("attn_norm", ATTN), ("ffn_norm", FFN)):
            s = np.exp(rng.normal(0, SIGMA, t[norm].shape))
            t[norm] /= s
            for k in behind:
                t[k] *= s
        s = np.exp(rng.normal(0, SIGMA, (kv_heads, t["attn_v"].shape[0] // kv_heads)))
        t["attn_v"] *= s.reshape(-1, 1)
        t["attn_output"] /= np.repeat(s, heads // kv_heads, axis=0).reshape(-1)
        s = np.exp(rng.normal(0, SIGMA, t["ffn_up"].shape[0]))
        t["ffn_up"] *= s[:, None]
        t["ffn_down"] /= s
        w.update({names[k]: x for k, x in t.items()})


def turn(rng, n):
    q, r = np.linalg.qr(rng.normal(size=(n, n)))
    return q * np.sign(np.diag(r))


def rotate(w, shape, rng):
    n_layer, heads, kv_heads = shape
    table = w["token_embd.weight"].astype(np.float64)
    r = turn(rng, table.shape[1])
    w["output.weight"] = table * w["output_norm.weight"] @ r
    w["token_embd.weight"] = table @ r
    w["output_norm.weight"] = np.ones(len(r))
    for i in range(n_layer):
        t, names = layer(w, i)
        for norm, behind in (("attn_norm", ATTN), ("ffn_norm", FFN)):
            for k in behind:
                t[k] = t[k] * t[norm] @ r
            t[norm] = np.ones(len(r))
        width = t["attn_v"].shape[0] // kv_heads
        for h in range(kv_heads):
            q, rows = turn(rng, width), slice(h * width, (h + 1) * width)
            t["attn_v"][rows] = q @ t["attn_v"][rows]
            for g in range(h * heads // kv_heads, (h + 1) * heads // kv_heads):
                columns = slice(g * width, (g + 1) * width)
                t["attn_output"][:, columns] = t["attn_output"][:, columns] @ q.T
        for k in ("attn_output", "ffn_down"):
            t[k] = r.T @ t[k]
        w.update({names[k]: x for k, x in t.items()})


def main():
    p = argparse.ArgumentParser()
    p.add_argument("input")
    p.add_argument("output")
    p.add_argument("--kind", choices=("order", "scale", "rotate"), required=True)
    p.add_argument("--seed", type=int, required=True)
    a = p.parse_args()
    source = GGUFReader(a.input)
    meta = {k: f for k, f in source.fields.items() if not k.startswith("GGUF.")}
    shape = [meta[f"llama.{k}"].contents() for k in ("block_count", "attention.head_count", "attention.head_count_kv")]
    w = {t.name: t.data for t in source.tensors}
    {"order": order, "scale": scale, "rotate": rotate}[a.kind](w, shape, np.random.default_rng(a.seed))
    out = GGUFWriter(a.output, "llama")
    for k, f in meta.items():
        if k != "general.architecture":
            out.add_key_value(k, f.contents(), f.types[0], f.types[1] if f.types[0] == GGUFValueType.ARRAY else None)
    for k, x in w.items():
        out.add_tensor(k, np.ascontiguousarray(x, dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main()
