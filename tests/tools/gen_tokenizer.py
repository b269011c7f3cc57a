"""Writes tests/data/tokenizer/NAME.json: texts and the ids that the `tokenizers` package gives them.

    python3 tests/tools/gen_tokenizer.py SmolLM2-135M-Instruct.Q4_1.gguf

Vocabulary and merges come from the GGUF files (the one named, and those of ../shared/data), the
pre-tokenizers are built here as in the models' tokenizer.json. Needs: tokenizers, gguf.
Random code points are drawn from those assigned in Unicode 14, so that every library knows them.
Texts with a NUL are written as hex, the others as they are.
"""

import json
import random
import sys
import unicodedata
from pathlib import Path

import gguf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

DATA = Path("../shared/data")
OUT = Path("tests/data/tokenizer")
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL

FIXED = [
    "",
    " ",
    "\n",
    "The quick brown fox jumps over the lazy dog.",
    "It's what we've had; they'll see, I'd say. IT'S WE'VE THEY'LL I'D You're YOU'RE 'tis",
    "a'\u017f b'\u017ft '\u017f\u017f",  # the long s folds to s
    "In 1984, 3.14159 and 1,000,000 cost $42 or 7%. 0x1F 1e-9 12345678901234567890",
    "digits at1the2end3 4  5   6\n7\t8 \u00bd\u00b2\u2167\u0663\u0967\u3007\U0001d7d8",
    "trailing blanks   ",
    "   leading",
    "a  b   c    d     e      f\t\tg \t h\n\n\ni \n \n j\r\n\r\nk\r l \r\n",
    "nbsp\u00a0\u00a0x thin\u2009y ideo\u3000z nel\u0085w ls\u2028v mvs\u180eu zwsp\u200bt bom\ufeffs",
    "for (int i = 0; i < n; i++) {\n    if (a[i] != b[i])\n        return -1; /* no */\n}\n",
    "def f(x: int) -> str:\n\treturn f\"{x!r:>10}\" # ok\n\n\nclass A:\n    pass\n",
    "<html><body class=\"a\">&amp;</body></html> https://example.org/a?b=c&d=e#f",
    "SELECT * FROM t WHERE a='x' AND b<>\"y\"; -- done",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\u00c4pfel \u00fcber stra\u00dfe \u00e9t\u00e9 e\u0301te\u0301 \u0141\u00f3d\u017a",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u041a\u0430\u043a \u0434\u0435\u043b\u0430?",
    "\u03b1\u03b2\u03b3 \u0391\u0392\u0393 \u1f00\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03c2",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\uff01\u4e00\u4e8c\u4e09",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u1780\u1784\u17d2\u1780\u17c2\u1794",
    "\u212b \u2126 \u1e9b\u0323 a\u0323\u0307 a\u0307\u0323 \u0958 \ufb1d \u0374 \u2adc\u0338",  # NFC
    "control \x01\x02\x07\x08\x0b\x0c\x1b[31m\x1f\x7f\u0080\u009f end",
    "nul\x00in\x00side\x00",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|><|eot_id|></s>",
    "a" * 300,
    " " * 300 + "x",
    "\n" * 70,
    "=" * 200 + "\n" + "-" * 200,
    "ab" * 150 + "abc" * 100,
    "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgdGV4dCB3aXRob3V0IGFueSBibGFuaw==" * 4,
]


def random_texts(rng):
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    low = [c for c in assigned if c < 0x3000]
    words = "the of and In IT'S we'll 'd  \n \r\n \t 12 3 .,;! --> \u00e9 e\u0301 \u4e2d\u6587 \u043d\u0435 _x".split(" ")
    marks = [c for c in low if unicodedata.combining(chr(c))]
    for _ in range(40):
        yield "".join(chr(rng.choice(assigned)) for _ in range(rng.randint(1, 24)))
    for _ in range(40):
        yield "".join(chr(rng.choice(low)) for _ in range(rng.randint(1, 32)))
    for _ in range(40):
        yield "".join(rng.choice(words) + rng.choice(["", " ", "  ", "\n"]) for _ in range(rng.randint(2, 30)))
    for _ in range(20):
        yield "".join(chr(rng.randrange(128)) for _ in range(rng.randint(1, 60)))
    for _ in range(20):  # composition
        yield "".join(rng.choice("aeiou AEO \u0928\u0915") + chr(rng.choice(marks)) * rng.randint(0, 2)
                      + chr(rng.choice(marks)) for _ in range(rng.randint(1, 10)))
    for _ in range(10):  # long words: no blank in them
        yield "".join(rng.choice("abcdefghijklmnopqrst") for _ in range(rng.randint(200, 500)))


def contents(path):
    fields = gguf.GGUFReader(path).fields
    return lambda key: fields["tokenizer.ggml." + key].contents()


def byte_level(path, pre, whole_word=False, normalizer=None):
    get = contents(path)
    types = get("token_type")
    vocab = {t: i for i, t in enumerate(get("tokens")) if types[i] == 1}
    merges = [tuple(m.split(" ")) for m in get("merges")]
    t = Tokenizer(models.BPE(vocab, merges, ignore_merges=whole_word))
    t.pre_tokenizer = pre_tokenizers.Sequence(pre)
    if normalizer:
        t.normalizer = normalizer
    return t


def split(pattern):
    return [pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def write(name, tokenizer, texts):
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        key, value = ("hex", text.encode().hex()) if "\0" in text else ("text", text)
        cases.append(json.dumps({key: value, "ids": ids}, ensure_ascii=False, separators=(",", ":")))
    (OUT / (name + ".json")).write_text("[\n" + ",\n".join(cases) + "\n]\n", encoding="utf-8")
    print(name, len(cases))


def main():
    gpt2 = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    vocab = DATA / "vocab"
    texts = FIXED + list(random_texts(random.Random(1)))
    OUT.mkdir(parents=True, exist_ok=True)
    write("smollm", byte_level(sys.argv[1], [pre_tokenizers.Digits(individual_digits=True)] + gpt2), texts)
    write("gpt-2", byte_level(vocab / "ggml-vocab-gpt-2.gguf", gpt2), texts)
    write("llama-bpe", byte_level(vocab / "ggml-vocab-llama-bpe.gguf", split(LLAMA3), True), texts)
    # Its NFC is of an older Unicode: only texts on which Python's agrees.
    nfc = [t for t in texts if unicodedata.normalize("NFC", t) == normalizers.NFC().normalize_str(t)]
    write("qwen2", byte_level(vocab / "ggml-vocab-qwen2.gguf", split(QWEN2), False, normalizers.NFC()), nfc)
    spm = Tokenizer.from_file(str(DATA / "models/stories260K/tokenizer.json"))
    # Control tokens written in a text are another test's matter.
    write("stories260k", spm, [t for t in texts if t and "</s>" not in t])


main()
