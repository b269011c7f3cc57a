"""Texts for the fixtures of tokenizers: writing systems, emoji, controls, code in ten languages, random Unicode."""

import random
import unicodedata

PLAIN = [
    "",
    " ",
    "\n",
    "The quick brown fox jumps over the lazy dog.",
    "It's what we've had; they'll see, I'd say. IT'S WE'VE THEY'LL I'D You're YOU'RE 'tis don't I'm",
    "a'\u017f b'\u017ft '\u017f\u017f",  # the long s folds to s
    "In 1984, 3.14159 and 1,000,000 cost $42 or 7%. 0x1F 1e-9 12345678901234567890",
    "digits at1the2end3 4  5   6\n7\t8 \u00bd\u00b2\u2167\u0663\u0967\u3007\U0001d7d8",
    "trailing blanks   ",
    "   leading",
    "a  b   c    d     e      f\t\tg \t h\n\n\ni \n \n j\r\n\r\nk\r l \r\n",
    "nbsp\u00a0\u00a0x thin\u2009y ideo\u3000z nel\u0085w ls\u2028v mvs\u180eu zwsp\u200bt bom\ufeffs",
    "camelCaseWords HTTPServer iPhone XMLHttpRequest snake_case_name kebab-case __init__ $var @user #tag",
    "<html><body class=\"a\">&amp;</body></html> https://example.org/a?b=c&d=e#f",
    "\u00c4pfel \u00fcber stra\u00dfe \u00e9t\u00e9 e\u0301te\u0301 \u0141\u00f3d\u017a \u0130stanbul \u01c5 \ufb01n",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u041a\u0430\u043a \u0434\u0435\u043b\u0430?",
    "\u03b1\u03b2\u03b3 \u0391\u0392\u0393 \u1f00\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03c2",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u30fc\uff01\u4e00\u4e8c\u4e09 \u6f22\u5b57\u304b\u306a",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u1780\u1784\u17d2\u1780\u17c2\u1794",
    "\u212b \u2126 \u1e9b\u0323 a\u0323\u0307 a\u0307\u0323 \u0958 \ufb1d \u0374 \u2adc\u0338 \uff21\uff22\uff13 \u2460\u2474 \u33a1 \ufdfa",
    "control \x01\x02\x07\x08\x0b\x0c\x1b[31m\x1f\x7f\u0080\u009f end",
    "nul\x00in\x00side\x00",
    "\u2581meta\u2581 \u2581\u2581 space",
    "<s>x</s> <unk> [CLS] hi [SEP] <0x41> <mask>  <extra> wordextraword EXTRA extra, [MASK].",
    "a" * 120 + " " + "b" * 90 + "ab" * 40,
    " " * 70 + "x",
    "\n" * 40,
    "=" * 60 + "\n" + "-" * 60,
]
EMOJI = [
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 1\ufe0f\u20e3 #\ufe0f\u20e3 \U0001f9d1\U0001f3ff\u200d\U0001f680\U0001f64f\U0001f64f",
]
CODE = [
    "#include <stdio.h>\nint main(void) {\n    for (int i = 0; i < 10; i++)\n        printf(\"%d\\n\", i); /* no */\n    return 0;\n}\n",
    "def f(x: int) -> str:\n\treturn f\"{x!r:>10}\" # ok\n\n\nclass A:\n    pass\n",
    "fn main() -> Result<(), Box<dyn Error>> { let v: Vec<u8> = vec![0; 3]; println!(\"{v:?}\"); Ok(()) }",
    "export const f = async (a) => { await g(`${a}_${1 + 2}`); return a?.b ?? null; };",
    "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tx := map[string]int{\"a\": 1}\n\tfmt.Println(x)\n}\n",
    "public class Main { public static void main(String[] args) { System.out.println(\"h\\u00e9\"); } }",
    "SELECT t.a, COUNT(*) FROM t WHERE a='x' AND b<>\"y\" GROUP BY 1; -- done",
    "#!/bin/sh\nset -e\nfor f in *.txt; do echo \"${f%.txt}\" >> out 2>&1 || exit 1; done\n",
    "main :: IO ()\nmain = mapM_ print $ filter ((== 0) . (`mod` 3)) [1..]\n",
    "body > .a:hover { color: #ff00aa; margin: 0 auto !important; } @media (max-width: 3em) {}",
]


def random_texts(seed, scale=1):
    rng = random.Random(seed)
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    low = [c for c in assigned if c < 0x3000]
    marks = [c for c in low if unicodedata.combining(chr(c))]
    words = "the of and In IT'S we'll 'd  \n \r\n \t 12 3 .,;! --> \u00e9 e\u0301 \u4e2d\u6587 \u043d\u0435 _x HeLLo".split(" ")
    for _ in range(5 * scale):
        yield "".join(chr(rng.choice(assigned)) for _ in range(rng.randint(1, 24)))
    for _ in range(5 * scale):
        yield "".join(chr(rng.choice(low)) for _ in range(rng.randint(1, 32)))
    for _ in range(6 * scale):
        yield "".join(rng.choice(words) + rng.choice(["", " ", "  ", "\n"]) for _ in range(rng.randint(2, 30)))
    for _ in range(3 * scale):
        yield "".join(chr(rng.randrange(128)) for _ in range(rng.randint(1, 60)))
    for _ in range(3 * scale):  # composition
        yield "".join(rng.choice("aeiou AEO \u0928\u0915") + chr(rng.choice(marks)) * rng.randint(0, 2)
                      + chr(rng.choice(marks)) for _ in range(rng.randint(1, 10)))


def mixed_texts(seed, n):
    """For runs by hand: emoji sequences, controls, code cut and joined, names of control tokens, long runs."""
    rng = random.Random(seed)
    faces = [chr(c) for a, b in ((0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F900, 0x1F9FF), (0x2600, 0x27BF)) for c in range(a, b)]
    joins = ["\u200d", "\ufe0f", "\ufe0e", "\u20e3"] + [chr(c) for c in range(0x1F3FB, 0x1F400)] + [chr(c) for c in range(0x1F1E6, 0x1F200)] + [
        chr(c) for c in range(0xE0061, 0xE0080)]
    controls = [chr(c) for c in (*range(1, 32), *range(127, 160), 0xAD, 0x200B, 0x200E, 0x2028, 0x2060, 0xFEFF, 0xFFFD, 0x180E, 0x3000, 0xA0)]
    names = ["<s>", "</s>", "<unk>", "[CLS]", "[MASK]", "<mask>", "extra", "<extra>", "hello", "Hello", "<0x41>", "\u2581", "##a", "</w>", "'s", "'LL"]
    for k in range(n):
        parts = []
        for _ in range(rng.randint(1, 12)):
            c = rng.choice(CODE + PLAIN[3:])
            i = rng.randrange(len(c))
            parts.append(rng.choice([
                "".join(rng.choice(faces) + "".join(rng.choice(joins) for _ in range(rng.randint(0, 3))) for _ in range(rng.randint(1, 4))),
                "".join(rng.choice(controls) for _ in range(rng.randint(1, 5))), c[i:i + rng.randint(1, 30)], rng.choice(names),
                rng.choice("ab1 \n\t.=-_\u00e9\u4e2d") * rng.randint(1, 40), str(rng.randrange(10 ** rng.randint(1, 18))), rng.choice(["", " ", "\n", "\r\n", "\t"])]))
        yield "".join(p.replace("\0", "") for p in parts)


def texts(seed=1, scale=1):
    more = list(mixed_texts(seed, 12 * scale)) if scale > 1 else []
    return PLAIN + EMOJI + CODE + list(random_texts(seed, scale)) + more
