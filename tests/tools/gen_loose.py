"""Writes tests/data/tokenizer/loose.json: directories without a tokenizer.json, and what the libraries that read such
directories make of tests/data/tokenizer/json/texts.json.

    python3 tests/tools/gen_loose.py

Needs: transformers 5.23, tiktoken, mistral-common. The vocabularies are those of tests/data/tokenizer/json. Each
directory: {"files": {name: text}, "ids": one list a text, "decoded": the ids of some texts as text}; null: a text that
is left out, where libraries of different Unicode versions differ (those that gen_tokenizer_json.py leaves out).
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import tiktoken
from mistral_common.tokens.tokenizers.tekken import SpecialTokenPolicy, Tekkenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

DATA = Path("tests/data/tokenizer")
ENDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ADDED = {"lstrip": False, "rstrip": False, "single_word": False}


def model(name):
    return json.loads((DATA / "json" / (name + ".json")).read_text())["tokenizer"]["model"]


def dump(v):
    return json.dumps(v, ensure_ascii=False)


def pair(name, vocab_first=(), version=True):
    """vocab.json and merges.txt."""
    m = model(name)
    vocab = {t: i for i, t in enumerate(vocab_first)}
    vocab.update({t: i + len(vocab_first) for t, i in m["vocab"].items()})
    merges = "".join(a + " " + b + "\n" for a, b in m["merges"])
    return {"vocab.json": dump(vocab), "merges.txt": ("#version: 0.2\n" if version else "") + merges}, len(vocab)


def kinds():
    """name, files, model_type"""
    files, n = pair("gpt2")
    yield "gpt2", dict(files, **{
        "tokenizer_config.json": dump({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": False, "unk_token": "<|endoftext|>"}),
        "special_tokens_map.json": dump({"bos_token": "<s>", "eos_token": {"content": "</s>", "normalized": True, **ADDED},
                                         "additional_special_tokens": ["<|im_end|>"]}),
        "added_tokens.json": dump({"</s>": n + 1, "<s>": n, "extra": n + 2})}), "gpt2"
    files, n = pair("gpt2", version=False)
    yield "gpt2-space", dict(files, **{"tokenizer_config.json": dump({
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "bos_token": "<mask>", "eos_token": "<mask>", "add_bos_token": True,
        "pad_token": None})}), "llama"
    files, n = pair("qwen35")
    yield "qwen2", dict(files, **{"tokenizer_config.json": dump({
        "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "additional_special_tokens": ENDS[1:],
        "added_tokens_decoder": {str(n + i): {"content": t, "normalized": False, "special": i < 3, **ADDED} for i, t in enumerate(ENDS + ["<extra>"])}})}), "qwen2"
    yield "qwen3-old", dict(files, **{"added_tokens.json": dump({t: n + i for i, t in enumerate(ENDS)})}), "qwen3"
    files, n = pair("gpt2", ["<s>", "<pad>", "</s>", "<unk>"])
    files["vocab.json"] = files["vocab.json"][:-1] + ', "<mask>": %d}' % n
    yield "roberta", dict(files, **{"tokenizer_config.json": dump({"tokenizer_class": "RobertaTokenizer", "model_max_length": 512})}), "roberta"
    for name, lower in (("bert", True), ("bert-cased", False)):
        vocab = model(name)["vocab"]
        words = sorted(vocab, key=vocab.get)
        assert [vocab[w] for w in words] == list(range(len(words)))
        yield name, {"vocab.txt": "".join(w + "\n" for w in words),
                     "tokenizer_config.json": dump({"do_lower_case": lower, **({} if lower else {"tokenizer_class": "BertTokenizer"})})}, "bert"


def ranks(name):
    """The tokens of a vocabulary as bytes, in the order in which they are made."""
    byte = {c: b for b, c in bytes_to_unicode().items()}
    m = model(name)
    tokens = [bytes(byte[c] for c in t) for t in sorted(m["vocab"], key=m["vocab"].get)]
    single = [bytes([b]) for b in range(256)]
    return single + [t for t in tokens if len(t) > 1]


def tekken(named, n_special):
    tokens = ranks("o200k")
    special = [{"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<mask>"])]
    return {"config": {"pattern": TEKKEN, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) - 7 + n_special,
                       "default_num_special_tokens": n_special, "version": "v11" if named else "v3"},
            **({"special_tokens": special} if named else {}),
            "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": t.decode() if t.isascii() else None}
                      for i, t in enumerate(tokens)]}


def write(folder, files, model_type):
    for name, text in files.items():
        Path(folder, name).write_bytes(text.encode())
    Path(folder, "config.json").write_text(dump({"model_type": model_type}))


def main():
    texts = [bytes.fromhex(v["hex"]).decode() if "hex" in v else v["text"] for v in json.loads((DATA / "json/texts.json").read_text())]
    out = {}

    def put(name, files, model_type, encode, decode, left_out=()):
        ids = [None if i in left_out else encode(t) for i, t in enumerate(texts)]
        decoded = [decode(v) if v is not None and i % 4 == 0 else None for i, v in enumerate(ids)]
        decoded = [d if d is not None and "\ufffd" not in d and "\0" not in d else None for d in decoded]
        out[name] = {"model_type": model_type, "files": files, "ids": ids, "decoded": decoded}
        print(name, sum(v is not None for v in ids), sum(d is not None for d in decoded))

    for name, files, model_type in kinds():
        with tempfile.TemporaryDirectory() as d:
            write(d, files, model_type)
            t = AutoTokenizer.from_pretrained(d)
            same = name if name.startswith("bert") else "qwen35" if name.startswith("qwen") else "gpt2"
            skip = [i for i, v in enumerate(json.loads((DATA / "json" / (same + ".json")).read_text())["ids"]) if v is None]
            put(name, files, model_type, t.encode, lambda v: t.decode(v, skip_special_tokens=False, clean_up_tokenization_spaces=False), skip)
    for name, named, n in (("tekken", True, 10), ("tekken-old", False, 24)):
        with tempfile.TemporaryDirectory() as d:
            files = {"tekken.json": json.dumps(tekken(named, n))}
            write(d, files, "mistral")
            t = Tekkenizer.from_file(d + "/tekken.json")
            plain = [k for k, s in enumerate(texts) if "<s>" in s or "<mask>" in s]  # that library reads no special tokens in text
            put(name, files, "mistral", lambda s: t.encode(s, bos=True, eos=False),
                lambda v: t.decode(v, special_token_policy=SpecialTokenPolicy.KEEP), plain)
    tokens = ranks("llama3")
    enc = tiktoken.Encoding("x", pat_str=LLAMA3, mergeable_ranks={t: i for i, t in enumerate(tokens)}, special_tokens={"<mask>": len(tokens)})
    files = {"tokenizer.model": "".join(base64.b64encode(t).decode() + " %d\n" % i for i, t in enumerate(tokens)),
             "tokenizer_config.json": dump({"added_tokens_decoder": {str(len(tokens)): {"content": "<mask>", "special": True}}})}
    put("tiktoken", files, "llama", lambda s: enc.encode(s, allowed_special="all"), enc.decode)
    (DATA / "loose.json").write_text("{\n" + ",\n".join(
        '%s:{"model_type":%s,"files":%s,\n"ids":[\n%s\n],\n"decoded":[\n%s\n]}' % (
            dump(k), dump(v["model_type"]), dump(v["files"]), ",\n".join(json.dumps(i, separators=(",", ":")) for i in v["ids"]),
            ",\n".join(map(dump, v["decoded"]))) for k, v in out.items()) + "\n}\n")
    print((DATA / "loose.json").stat().st_size, file=sys.stderr)


if __name__ == "__main__":
    main()
