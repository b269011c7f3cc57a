"""Writes tests/data/tokenizer/json/NAME.json: small tokenizer.json files of every kind, and what the `tokenizers`
package makes of tests/data/tokenizer/json/texts.json with them.

    python3 tests/tools/gen_tokenizer_json.py [DIRECTORY [SCALE [SEED [NAME ...]]]]

Each file: {"tokenizer": the tokenizer.json, "ids": one list a text, "decoded": [the ids of some texts as text]}.
Needs: tokenizers up to 0.22 (0.23 decodes an added token that is normalised as its normalised spelling, "\u2581</s>", and
skips no such token), sentencepiece (for a compiled table of normalisation). A text is left out (null) where libraries
of different Unicode versions must differ.
"""

import base64
import json
import random
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizer_texts import CODE, EMOJI, PLAIN, texts

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL,
    "qwen35": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL,
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL,
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL,
    "odd": r"[[a-f][0-9]x]+|[\w&&[^\d_]]{2,}+|\h\h|[^\W\d]|(?m:.)\d|[[:punct:]]{,2}[^[\s]a]?",
}
WORDS = ("language model token text memory bandwidth sentence computer government water people station quite little because "
         "through would could other their which there these about Hello World testing international").split()


def corpus():
    return [t for t in PLAIN + EMOJI + CODE if "\0" not in t] * 3 + [" ".join(WORDS)] * 5 + [w.title() + "'s " + w for w in WORDS]


def trained(model, trainer, normalizer=None, pre=None, decoder=None, post=None):
    t = Tokenizer(model)
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.train_from_iterator(corpus(), trainer)
    if decoder:
        t.decoder = decoder
    if post:
        t.post_processor = post
    return t


def byte_bpe(pre, normalizer=None, n=420, **kw):
    # Without special tokens the vocabulary has all bytes.
    trainer = trainers.BpeTrainer(vocab_size=n, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    return trained(models.BPE(**kw), trainer, normalizer, pre, decoders.ByteLevel())


def split(*patterns, last=BYTES):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] + [last])


def patched(t, change):
    j = json.loads(t.to_str())
    change(j)
    return Tokenizer.from_str(json.dumps(j))


def sp_bpe(scheme, split_blanks=False):
    """As Llama 2 (normalizer), Mistral (Metaspace) and Gemma have it."""
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    pre = {"metaspace": pre_tokenizers.Metaspace("\u2581", "first", split_blanks), "llama": None,
           "gemma": pre_tokenizers.Split(" ", "merged_with_previous")}[scheme]
    norm = {"metaspace": None, "gemma": normalizers.Replace(" ", "\u2581"),
            "llama": normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])}[scheme]
    dec = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if scheme != "gemma":
        dec.append(decoders.Strip(" ", 1, 0))
    train_pre = pre if scheme == "metaspace" else pre_tokenizers.Metaspace("\u2581", "never", True)
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if norm:
        t.normalizer = norm
    t.pre_tokenizer = train_pre
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=620, special_tokens=special, show_progress=False,
                                                        initial_alphabet=["\u2581"], limit_alphabet=150))
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoders.Sequence(dec)
    j = json.loads(t.to_str())
    if not pre:
        j["pre_tokenizer"] = None
    j["added_tokens"] = j["added_tokens"][:3]
    for a in j["added_tokens"]:
        a["normalized"] = scheme == "llama"
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def fields(message):
    """The last value of each length-delimited field of a protocol buffer."""
    def varint(i):
        v = shift = 0
        while True:
            v |= (message[i] & 127) << shift
            i, shift = i + 1, shift + 7
            if message[i - 1] < 128:
                return v, i

    out, i = {}, 0
    while i < len(message):
        tag, i = varint(i)
        if tag & 7 == 2:
            n, i = varint(i)
            out[tag >> 3] = message[i:i + n]
            i += n
        elif tag & 7 == 0:
            i = varint(i)[1]
        else:
            i += 4 if tag & 7 == 5 else 8
    return out


def charsmap(folder=None):
    """A compiled table from rules of our own: some of NFKC, one to many, many to one, deletion."""
    rules = {"\u00c4": "A", "\ufb01": "fi", "e\u0301": "\u00e9", "\uff21": "A", "\uff22": "B", "\u3000": " ", "\u2474": "(1)", "\u00a0": " ", "\t": " ",
             "\u200b": "", "\ufdfa": "\u0635 \u0639", "\u0928\u094d": "n", "\U0001f600": ":)", "\n": " ", "\u0085": " "}
    with tempfile.TemporaryDirectory() as d:
        d = folder or d
        Path(d, "r.tsv").write_text("".join(" ".join("%04X" % ord(c) for c in a) + "\t" + " ".join("%04X" % ord(c) for c in b) + "\n"
                                            for a, b in rules.items()))
        Path(d, "t.txt").write_text("\n".join(WORDS * 20))
        sentencepiece.SentencePieceTrainer.train(input=d + "/t.txt", model_prefix=d + "/m", vocab_size=45, model_type="unigram",
                                                 normalization_rule_tsv=d + "/r.tsv", minloglevel=2)
        spec = fields(Path(d, "m.model").read_bytes())[3]  # ModelProto.normalizer_spec
        return base64.b64encode(fields(spec)[2]).decode()  # .precompiled_charsmap


def unigram(normalizer, pre, decoder, byte_fallback=False, charsmap_code=None, n=400):
    special = ["<unk>", "<s>", "</s>"]
    t = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=n, special_tokens=special, unk_token="<unk>", show_progress=False),
                normalizer, pre, decoder)
    j = json.loads(t.to_str())
    if byte_fallback:
        j["model"]["byte_fallback"] = True
        j["model"]["vocab"] += [["<0x%02X>" % b, -20.0] for b in range(256)]
    for v in j["model"]["vocab"]:  # GGUF files hold single precision
        v[1] = round(v[1] * 1024) / 1024
    if charsmap_code:
        j["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": charsmap_code},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}
    return Tokenizer.from_str(json.dumps(j))


def blank_runs(blank):
    """Runs of blanks can be cut in several ways of nearly one sum; without `blank` one blank is no token."""
    rng = random.Random(5)
    unk = {"id": 0, "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    pieces = ["<unk>"] + ["\u2581" * k for k in ((1, 2, 3, 4, 5, 8) if blank else ())] + list("abcdefghij") + ["\u2581a", "\u2581b", "ab", "\u2581ab"]
    return Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [unk], "normalizer": None, "post_processor": None, "decoder": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [[p, -rng.random() * 9 if i else 0] for i, p in enumerate(pieces)]}}))


def wordpiece(lower, cleanup=True, n=500):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t = trained(models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(vocab_size=n, special_tokens=special, show_progress=False),
                normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(cleanup=cleanup))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def added(t):
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("</s>", rstrip=True, special=True)])
    t.add_tokens([AddedToken("extra", single_word=True, normalized=False), AddedToken("<extra>", normalized=False),
                  AddedToken("hello", normalized=True)])
    return t


def kinds():
    P, N, D = pre_tokenizers, normalizers, decoders
    yield "gpt2", byte_bpe(P.ByteLevel(add_prefix_space=False))
    yield "llama3", byte_bpe(split(PATTERNS["llama3"]), ignore_merges=True)
    yield "qwen35", byte_bpe(split(PATTERNS["qwen35"]), N.NFC())
    yield "o200k", byte_bpe(split(PATTERNS["o200k"]))
    yield "kimi", byte_bpe(split(PATTERNS["kimi"]))
    yield "deepseek", byte_bpe(split(r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", PATTERNS["llama3"]))
    yield "falcon", byte_bpe(P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False), P.Digits(False),
                                         P.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))
    yield "odd-pattern", byte_bpe(split(PATTERNS["odd"]))
    yield "bounds", byte_bpe(split(r"\b\w+\b", r"[^\W\d_]+", r"[\S]\B"), n=300)
    yield "roberta", patched(added(byte_bpe(P.ByteLevel(add_prefix_space=True), N.Lowercase())), lambda j: j.update(
        post_processor={"type": "RobertaProcessing", "sep": ["</s>", 422], "cls": ["<mask>", 420], "trim_offsets": True, "add_prefix_space": False}))
    t = byte_bpe(P.Sequence([P.Split(Regex(r"'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
                             P.ByteLevel(add_prefix_space=False)]), N.Sequence([N.NFC(), N.Replace(Regex(r"\s+"), " "), N.Lowercase()]),
                 end_of_word_suffix="</w>")
    t.decoder = D.Sequence([D.ByteLevel(), D.BPEDecoder("</w>")])
    t.decoder = D.BPEDecoder("</w>")
    yield "clip", t
    yield "llama2", sp_bpe("llama")
    yield "mistral", sp_bpe("metaspace")
    yield "mistral-split", sp_bpe("metaspace", True)
    yield "gemma", sp_bpe("gemma")
    t = trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=False),
                trainers.BpeTrainer(vocab_size=420, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=60, show_progress=False),
                N.StripAccents(), P.Whitespace())
    yield "bpe-prefix", t
    yield "bpe-white", trained(models.BPE(), trainers.BpeTrainer(vocab_size=400, limit_alphabet=150, show_progress=False), N.Lowercase(), P.WhitespaceSplit())
    meta = P.Metaspace("\u2581", "always", True)
    yield "t5", unigram(None, meta, D.Metaspace("\u2581", "always", True), charsmap_code=charsmap())
    t = unigram(N.Sequence([N.Nmt(), N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace("\u2581", "first", False), D.Metaspace("\u2581", "first", False))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    yield "xlm", t
    yield "unigram-bytes", unigram(N.Strip(True, True), P.Sequence([P.WhitespaceSplit(), P.Metaspace("\u2581", "never", True)]),
                                   D.Sequence([D.Metaspace("\u2581", "never", True), D.ByteFallback(), D.Fuse()]), byte_fallback=True)
    yield "unigram-scripts", unigram(N.NFKD(), P.Sequence([P.UnicodeScripts(), P.CharDelimiterSplit(",")]), None)
    yield "unigram-runs", blank_runs(True)
    yield "unigram-no-blank", blank_runs(False)
    yield "bert", wordpiece(True)
    yield "bert-cased", wordpiece(False, cleanup=False)
    yield "words", trained(models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False),
                           N.Sequence([N.NFD(), N.Lowercase()]), P.Sequence([P.WhitespaceSplit(), P.Punctuation("merged_with_next"), P.Digits(True)]))
    t = trained(models.WordLevel(unk_token="<pad>"), trainers.WordLevelTrainer(vocab_size=100, special_tokens=["<pad>"], show_progress=False),
                N.Replace(" ", "|"), P.Split("", "isolated"))
    t.decoder = D.CTC("<pad>", "|", True)
    yield "ctc", t
    for name in ("removed", "merged_with_previous", "contiguous"):
        pre = P.Sequence([P.Split(Regex(r"[\s,.]"), name), P.Split("e", "merged_with_previous", invert=name == "contiguous"), P.FixedLength(length=5)])
        yield "cut-" + name.replace("_", "-"), byte_bpe(P.Sequence([pre, BYTES]), n=300)
    yield "byte-normalizer", trained(models.BPE(), trainers.BpeTrainer(vocab_size=400, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False),
                                     N.Sequence([N.Prepend("x"), N.ByteLevel()]), P.Split(Regex("\u0120"), "merged_with_next"), D.ByteLevel())


OLD = re.compile("[%s]" % "".join(chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn"))


def older():
    """Characters that BERT's parts and Punctuation, whose tables are those of Unicode 8, take for something else."""
    accents = normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False, clean_text=False)
    found = set()
    for c in map(chr, range(0x250, 0x110000)):
        kind = unicodedata.category(c)
        if kind != "Cs" and (kind[0] == "P") != (len(pre_tokenizers.Punctuation().pre_tokenize_str("a" + c)) == 2):
            found.add(c)
        if kind != "Cs" and (kind == "Mn") != (accents.normalize_str("a" + c) == "a"):
            found.add(c)
    return found


def same_unicode(t, text):
    """Whether the package's tables agree with Python's on this text, where the tokenizer normalises."""
    n = t.normalizer
    if n is None:
        return True
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        if getattr(normalizers, form)().normalize_str(text) != unicodedata.normalize(form, text):
            return False
    if normalizers.Lowercase().normalize_str(text) != "".join(c.lower() for c in text):
        return False
    strip = normalizers.StripAccents().normalize_str(text)
    if strip != "".join(c for c in text if not unicodedata.category(c).startswith("M")):
        return False
    return normalizers.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=False).normalize_str(text) == "".join(
        " " if c.isspace() and c not in "\x1c\x1d\x1e\x1f" else c for c in text
        if c in "\t\n\r" or c in "\u0085" and False or not unicodedata.category(c).startswith("C") and c != "\ufffd")


def comparable(name, t, text, old):
    if name in ("bert", "bert-cased", "words", "falcon") and old & set(text):
        return False
    if name == "unigram-scripts" and any(unicodedata.ucd_3_2_0.category(c) == "Cn" for c in text):
        return False  # the package's scripts are those of an old Unicode
    if name == "unigram-bytes" and "<0x" in text:
        return False  # the package reads a byte token where its name is written; SentencePiece does not
    return same_unicode(t, text)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/tokenizer/json")
    scale, seed = (int(sys.argv[i]) if len(sys.argv) > i else 1 for i in (2, 3))
    out.mkdir(parents=True, exist_ok=True)
    all_texts = texts(seed, scale)
    dump = lambda v: json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    (out / "texts.json").write_text("[\n" + ",\n".join(dump({"hex": t.encode().hex()} if "\0" in t else {"text": t}) for t in all_texts) + "\n]\n")
    old = older()
    for name, t in kinds():
        if len(sys.argv) > 4 and name not in sys.argv[4:]:
            continue
        ids = [t.encode(x).ids if comparable(name, t, x, old) else None for x in all_texts]
        decoded = [None if i is None else t.decode(i, skip_special_tokens=False) for i in ids]
        decoded = [d if d is None or ("\ufffd" not in d and "\0" not in d and k % 4 == 0) else None for k, d in enumerate(decoded)]
        (out / (name + ".json")).write_text('{"tokenizer":%s,\n"ids":[\n%s\n],\n"decoded":[\n%s\n]}\n' % (
            dump(json.loads(t.to_str())), ",\n".join(map(dump, ids)), ",\n".join(map(dump, decoded))))
        print(name, t.get_vocab_size(), sum(i is not None for i in ids), (out / (name + ".json")).stat().st_size)


if __name__ == "__main__":
    main()
