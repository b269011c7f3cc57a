"""Writes tests/data/tokenizer/kinds.json: a small RWKV "world" vocabulary and a small PLaMo-2 vocabulary, as GGUF files
spell them, and the ids that the models' own programs give tests/data/tokenizer/json/texts.json.

    python3 tests/tools/gen_kind.py TOKENIZATION_PLAMO.PY [SCALE]

needs: rwkv (its tokenizer and full vocabulary), tokenizers, sentencepiece, numba; and tokenization_plamo.py of a PLaMo-2
repository. With SCALE also more texts and the full vocabulary, for a run by hand.
"""

import ast
import importlib.util
import json
import random
import sys
import tempfile
from pathlib import Path

import rwkv
from gen_tokenizer_json import corpus
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
from tokenizer_texts import texts
from tokenizers import Tokenizer, models, trainers

DATA = Path("tests/data/tokenizer")


def noise(n):
    """Bytes that are no UTF-8, for a tokenizer of bytes."""
    rng = random.Random(5)
    return [bytes(rng.choice(b"\xe4\xb8\xad\xf0\x9f\x98a \n\xc3\xff") for _ in range(rng.randint(1, 20))) for _ in range(n)]


def world(all_texts, whole):
    """Of the published vocabulary the bytes, what the texts need, and each 100th of the rest; ids anew."""
    lines = Path(rwkv.__file__).with_name("rwkv_vocab_v20230424.txt").read_text().splitlines()
    token = [ast.literal_eval(" ".join(l.split(" ")[1:-1])) for l in lines]
    token = [t.encode() if isinstance(t, str) else t for t in token]
    text = b"\0".join(t.encode() for t in all_texts)
    if not whole:
        token = [t for i, t in enumerate(token) if len(t) == 1 or (t in text and i % 3 == 0) or i % 100 == 0]
    with tempfile.TemporaryDirectory() as d:
        path = Path(d, "vocab.txt")
        path.write_text("".join("%d %r %d\n" % (i + 1, t, len(t)) for i, t in enumerate(token)))
        ref = TRIE_TOKENIZER(str(path))
    raw = noise(20)
    return {"model": "rwkv", "pieces": [["<s>", 0, 3]] + [[repr(t)[2:-1], 0, 1] for t in token], "unk": -1, "ids": [ref.encode(t) for t in all_texts],
            "noise": [{"hex": r.hex()} for r in raw], "noise_ids": [ref.encodeBytes(r) for r in raw]}


def plamo(all_texts, path):
    spec = importlib.util.spec_from_file_location("tokenization_plamo", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    t = Tokenizer(models.Unigram())
    t.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>"], max_piece_length=12, show_progress=False))
    rows = [["<|plamo:unk|>", 0.0, "UNKNOWN"], ["<|plamo:bos|>", 0.0, "CONTROL"]] + [["<0x%02X>" % b, 0.0, "BYTE"] for b in range(256)]
    # Few different scores, so that ways of the same cost meet.
    rows += [[p, round(s), "NORMAL"] for p, s in json.loads(t.to_str())["model"]["vocab"] if p != "<unk>"]
    ref = module.AhoCorasick()
    ref.build(rows)
    types = {"NORMAL": 1, "UNKNOWN": 2, "CONTROL": 3, "BYTE": 6}
    return {"model": "plamo2", "pieces": [[p, s, types[k]] for p, s, k in rows], "unk": 0, "ids": [ref.encode(t).tolist() if t else [] for t in all_texts]}


def main():
    scale = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    all_texts = [t for t in texts(2, scale) if "\0" not in t] if scale else [bytes.fromhex(t["hex"]).decode() if "hex" in t else t["text"]
                                               for t in json.loads((DATA / "json/texts.json").read_text())]
    rows = {"rwkv": world(all_texts, scale > 0), "plamo2": plamo(all_texts, sys.argv[1])}
    out = DATA / "kinds.json"
    if scale:
        out = Path("kinds-large.json")
        rows["texts"] = all_texts
    out.write_text("{\n" + ",\n".join('"%s":%s' % (k, json.dumps(v, ensure_ascii=False, separators=(",", ":"))) for k, v in rows.items()) + "\n}\n")
    print(out.stat().st_size, {k: len(v["pieces"]) for k, v in rows.items() if k != "texts"})


main()
