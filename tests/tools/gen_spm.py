"""Writes tests/data/tokenizer/sentencepiece.json: small SentencePiece models, as a GGUF file has them (and as they are in
model/NAME.model), and the ids that
SentencePiece gives tests/data/tokenizer/json/texts.json.

    python3 tests/tools/gen_spm.py        needs: sentencepiece
"""

import base64
import json
import tempfile
from pathlib import Path

import sentencepiece
from gen_tokenizer_json import charsmap, corpus

KINDS = {  # model type, options
    "t5": ("unigram", {"charsmap": True}),
    "t5-bytes": ("unigram", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}),
    "llama": ("bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}),
    "bpe-clean": ("bpe", {"charsmap": True, "byte_fallback": True}),
    "llama-no-space": ("bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}),
}


def main():
    data = Path("tests/data/tokenizer")
    texts = [bytes.fromhex(t["hex"]).decode() if "hex" in t else t["text"] for t in json.loads((data / "json/texts.json").read_text())]
    rows = []
    for name, (kind, options) in KINDS.items():
        with tempfile.TemporaryDirectory() as d:
            options = dict(options)
            table = ""
            if options.pop("charsmap", False):
                table = base64.b64decode(charsmap(d)).hex()
                options["normalization_rule_tsv"] = d + "/r.tsv"
            Path(d, "t.txt").write_text("\n".join(x for t in corpus() for x in t.splitlines() if x.strip()))
            sentencepiece.SentencePieceTrainer.train(input=d + "/t.txt", model_prefix=d + "/m", vocab_size=560 if options.get("byte_fallback") else 400, model_type=kind,
                                                     minloglevel=2, hard_vocab_limit=False, character_coverage=0.98, **options)
            (data / "model").mkdir(exist_ok=True)
            Path(d, "m.model").replace(data / "model" / (name + ".model"))
            sp = sentencepiece.SentencePieceProcessor(model_file=str(data / "model" / (name + ".model")))
            n = sp.get_piece_size()
            types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 5 if sp.is_unused(i) else 1 for i in range(n)]
            # A NUL ends text in the trainer's world; other libraries' own texts have none.
            ids = [None if "\0" in t else sp.encode(t) for t in texts]
            model = {"model": "t5" if kind == "unigram" else "llama", "charsmap": table, "add_space": options.get("add_dummy_prefix", True),
                     "one_space": options.get("remove_extra_whitespaces", True), "unk": sp.unk_id(),
                     "pieces": [[sp.id_to_piece(i), sp.get_score(i), types[i]] for i in range(n)], "ids": ids}
            rows.append('"%s":%s' % (name, json.dumps(model, ensure_ascii=False, separators=(",", ":"))))
    (data / "sentencepiece.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(len(rows), (data / "sentencepiece.json").stat().st_size)


main()
