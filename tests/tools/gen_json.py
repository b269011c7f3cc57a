#!/usr/bin/env python3
"""Writes tests/data/base/json_pairs.txt: random documents by Python's json module, two lines each.

First line: escaped and spaced at random. Second line: what a compact writer must print for it
(non-ASCII raw, the numbers' source text kept). Usage: gen_json.py > tests/data/base/json_pairs.txt
"""

import json
import random

rng = random.Random(20240607)
CHARS = 'ab"\\/\b\f\n\r\t\x01\x1f\x7f \u00e9\u20ac\u2028\ud7ff\ue000\ufffd\U0001f600\U0010ffff'
NUMBERS = [
    '0',
    '-0',
    '7',
    '-12',
    '9223372036854775807',
    '0.5',
    '1e5',
    '1E+05',
    '-2.50e-3',
    '123456789012345678901234567890',
    '0.' + '3' * 80,
    '1' * 70,
]


class Number(float):
    """Printed as the text it was made from."""

    def __new__(cls, text):
        self = float.__new__(cls, text)
        self.text = text
        return self


def text():
    return ''.join(rng.choice(CHARS) for _ in range(rng.randrange(6)))


def value(depth):
    kind = rng.randrange(8 if depth < 6 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return Number(rng.choice(NUMBERS))
    if kind in (3, 4):
        return text()
    n = rng.randrange(5) if rng.random() < 0.9 else rng.randrange(30)
    if kind == 5:
        return [value(depth + 1) for _ in range(n)]
    return {text() + str(i): value(depth + 1) for i in range(n)}


def space(loose):
    return rng.choice(['', '', ' ', '\t', ' \r ']) if loose else ''


def string(s, loose):
    if not loose:
        return json.dumps(s, ensure_ascii=False)
    quoted = json.dumps(s, ensure_ascii=rng.random() < 0.5)
    return quoted.replace('/', '\\/') if rng.random() < 0.5 else quoted


def write(v, loose):
    def sp():
        return space(loose)

    if isinstance(v, Number):
        return v.text
    if isinstance(v, str):
        return string(v, loose)
    if isinstance(v, list):
        return '[' + sp() + ','.join(sp() + write(x, loose) + sp() for x in v) + ']'
    if isinstance(v, dict):
        return (
            '{'
            + sp()
            + ','.join(
                sp() + string(k, loose) + sp() + ':' + sp() + write(x, loose) + sp()
                for k, x in v.items()
            )
            + '}'
        )
    return json.dumps(v)


for _ in range(120):
    doc = value(0)
    loose = write(doc, True)
    assert json.loads(loose) == json.loads(write(doc, False))
    print(loose)
    print(write(doc, False))
