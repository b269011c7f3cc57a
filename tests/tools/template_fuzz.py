#!/usr/bin/env python3
"""Differential fuzzing: random templates over random values, rendered by Jinja2 and by us.

  template_fuzz.py [SECONDS [SEED]]     needs jinja2 and a built build/libinferd.a
  template_fuzz.py -n COUNT [SEED]      so many templates; without a seed always the same

Differences are printed. Left out of the comparison: error messages, addresses, and what we refuse by
design (integers above 64 bits, complex numbers), and slices of a literal number or none, which Jinja's
constant folding makes undefined although the same slice of a variable raises."""
import json
import os
import random
import re
import subprocess
import sys
import time
import warnings

from jinja_env import environment, render
from template_cases import EXPR, TEXT, VARS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DESIGN = re.compile(r"64 bits|integer out of range|complex number|illegal Unicode|not supported$|steps|bytes"
                    r"|object is not subscriptable|unhashable type: 'slice'|width or precision|nests more|number of 1 to|the same each time")
ATOMS = ["0", "1", "-1", "2", "7", "1.5", "-2.5", "0.1", "1e20", "''", "'a'", "'Hello World'", "'a,b,,c'", "'  x y '", "'é日🎉'",
         "true", "false", "none", "nope", "[]", "{}", "[1, 2, 3]", "['b', 'A', 'a']", "{'a': 1, 'b': [1]}", "(1, 'x')", "range(4)",
         "'see https://a.example/x(y)?b=c&d. (www.b.org), x@y.z <mailto:m@n.o>'", "'a<b>c</b> &amp; &#x41;&copy;<!-- <i> -->&lt;d'",
         "'some well-known long-ish words--and dashes, a-b-c and  blanks  extraordinarily'", "(users + [d, nest]) * 2", "(s + ' ') * 12",
         "n", "f", "s", "u", "l", "d", "users", "words", "mixed", "lines", "html", "nest", "sp", "t", "z"]
OPS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "list", "first", "last", "sort", "unique|list", "join", "join(',')",
           "reverse|list", "string", "int", "float", "abs", "round", "round(1)", "tojson", "tojson(indent=2)", "default('D')", "default('D', true)",
           "items|list", "dictsort", "min", "max", "sum", "map('string')|list", "map('upper')|join('-')", "map(attribute='name')|list", "select|list",
           "reject|list", "select('string')|list", "selectattr('name')|list", "rejectattr('on')|list", "batch(2)|list", "slice(2)|list", "indent", "indent(2, true)",
           "replace('a', 'b')", "escape", "safe", "wordcount", "truncate(8)", "urlencode", "center(12)", "groupby('age')|list", "sort(attribute='age')|list",
           "wordwrap(9)", "wordwrap(5, false)", "wordwrap(4, true, '|', false)", "striptags", "urlize", "urlize(9, true)", "urlize(target='_b', rel='x y')", "pprint",
           "sort(reverse=true)", "tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "count", "map('length')|list", "select('odd')|list", "format(1, 'x')",
           "map('abs')|first", "map('upper')|first", "select('nosuch')", "select('gt', 1)|first", "unique|first", "batch(2)|first", "items|first", "map('int')"]
METHODS = [".upper()", ".lower()", ".strip()", ".lstrip('a ')", ".rstrip()", ".split()", ".split(',')", ".split('a', 1)", ".rsplit(' ', 1)", ".splitlines()",
           ".title()", ".capitalize()", ".replace('l', 'L', 1)", ".startswith('H')", ".endswith(('d', 'x'))", ".find('o')", ".count('a')", ".items()|list", ".keys()|list",
           ".values()|list", ".get('a')", ".get('zz', 1)", "[0]", "[-1]", "[1:]", "[::-1]", "[:2]", "['a']", "[1:3]", "[::2]", ".a", ".name", ".isdigit()", ".islower()",
           ".join(['x', 'y'])", ".partition(' ')", ".zfill(6)", ".index(1)", ".swapcase()", ".format(1, n)", ".isalpha()", ".removeprefix('H')"]
TESTS = ["defined", "none", "string", "number", "mapping", "sequence", "iterable", "odd", "even", "divisibleby 2", "in [1, 'a']", "eq 1", "boolean", "integer", "float", "true",
         "lower", "upper", "callable", "sameas none"]


def expr(r, depth):
    k = r.random()
    if depth <= 0 or k < 0.15:
        return r.choice(ATOMS)
    a = expr(r, depth - 1)
    if k < 0.35:
        return "%s %s %s" % (a, r.choice(OPS), expr(r, depth - 1))
    if k < 0.42:
        return "(%s)" % a
    if k < 0.62:
        return "%s|%s" % (a, r.choice(FILTERS))
    if k < 0.80:
        return "(%s)%s" % (a, r.choice(METHODS))
    if k < 0.87:
        return "%s is %s%s" % (a, r.choice(["", "not "]), r.choice(TESTS))
    if k < 0.92:
        return "%s if %s else %s" % (a, expr(r, depth - 1), expr(r, depth - 1))
    return r.choice(["not %s", "[%s]", "{'k': %s}", "-%s", "(%s,)", "'%%s|%%5s' %% (%s, 1)"]) % a


def block(r, depth):
    o = "{%" + r.choice(["", "", "-", "+"]) + " "
    c = " " + r.choice(["", "", "-", "+"]) + "%}"
    p, q = "{{" + r.choice(["", "", "-"]) + " ", " " + r.choice(["", "", "-"]) + "}}"
    text = r.choice(["", " ", "\n", "x", " x\n", "\n  ", "\t\n\n y"])
    k = r.random()
    inner = lambda: "".join(block(r, depth - 1) for _ in range(r.randint(1, 3)))
    if depth <= 0 or k < 0.4:
        return text + p + expr(r, 3) + q
    if k < 0.55:
        return text + o + "if " + expr(r, 2) + c + inner() + o + "else" + c + inner() + o + "endif" + c
    if k < 0.75:
        cond = r.choice(["", "", " if loop_x != 1"]).replace("loop_x", "x")
        body = r.choice(["{{ loop.index }}", "{{ x }}", "{{ loop.last }}{{ loop.length }}", "{{ loop.previtem }}", "{% if loop.index > 2 %}{% break %}{% endif %}", "{% set n = x %}"])
        return text + o + "for x in " + expr(r, 1) + cond + c + body + inner() + o + "endfor" + c
    if k < 0.85:
        return text + o + "set " + r.choice("nxyl") + " = " + expr(r, 2) + c
    if k < 0.92:
        return text + o + "macro m(x, y=2)" + c + inner() + o + "endmacro" + c + p + "m(" + expr(r, 1) + ")" + q
    if k < 0.96:
        return text + "{#" + r.choice(["", "-"]) + " c " + r.choice(["", "-"]) + "#}"
    return text + o + "set y" + c + inner() + o + "endset" + c + p + "y" + q


PIECES = ["see", "a.example", "https://x.org/a(b)?c=d&e#f", "(www.b.net),", "x@y.z", "<mailto:m@n.org>.", "&lt;http://1.2.3.4:80/>", "http://[::1]/", "well-known",
          "a-b-c", "--", "dash--dash", "-x", "extraordinarily-long-hyphenated", "it's", "\u00e9t\u00e9-\u00fcber", "\u65e5\u672c\u8a9e", "1-2-3", "<b>", "</b>",
          "<!-- <i> -->", "<a href='x>y'>", "&amp;", "&copy;", "&copyx", "&#65;", "&#x42;", "&#150;", "&#0;", "&nosuch;", "&lt", "&", "<", ">", "'", "q\"q", "\\", ".", "ftp:z"]
BLANKS = [" ", " ", "  ", "\n", "\t", "\n\n", "\u00a0", ""]
TEXTS = ["wordwrap(%d)", "wordwrap(%d, false)", "wordwrap(%d, true, '|')", "wordwrap(%d, true, none, false)", "striptags|truncate(%d)", "urlize(%d)",
         "urlize(%d, true, target='_t')", "urlize(rel='b a %d', extra_schemes=['ftp:'])", "pprint|replace('%d', '')", "split|pprint|center(%d)", "indent(%d, true)"]


def text(r):
    s = "".join(r.choice(PIECES) + r.choice(BLANKS) for _ in range(r.randint(1, 24)))
    return "{{ %s|%s }}" % (json.dumps(s, ensure_ascii=False).replace("\\u", "\\u"), r.choice(TEXTS) % r.randint(1, 40))


def data(r, depth=3):
    k = r.random()
    if depth == 0 or k < 0.35:
        return json.dumps("".join(r.choice(PIECES) + " " for _ in range(r.randint(0, 14))), ensure_ascii=False) if r.random() < 0.6 else r.choice(["1", "2.5", "none", "true", "'x'", "'\u00e9'"])
    inner = [data(r, depth - 1) for _ in range(r.randint(0, 5))]
    if k < 0.65:
        return "[%s]" % ", ".join(inner)
    if k < 0.75:
        return "(%s)" % "".join(i + ", " for i in inner)
    return "{%s}" % ", ".join("%s: %s" % (r.choice(["'key'", "'b'", "'a long key'", "'z'", "'k%d'" % n]), i) for n, i in enumerate(inner))


def mutate(r):
    t = r.choice(TEXT) if r.random() < 0.4 else "{{ %s }}" % r.choice(EXPR)
    for _ in range(r.randint(1, 3)):
        i, n = r.randint(0, len(t)), r.randint(0, 4)
        t = t[:i] + r.choice(["", "", "-", "+", " ", "\n", "{{", "}}", "{%", "%}", "|", "(", ")", "'", ".", "1", "n", "l[0]", " is ", " if "]) + t[i + n:]
    return t


def build():
    out = os.path.join(ROOT, "build", "template_driver")
    libs = subprocess.check_output(["pkg-config", "--libs", "libcjson", "libutf8proc", "libpcre2-8"], text=True).split()
    subprocess.check_call(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-I", ROOT, "-o", out, os.path.join(ROOT, "tests/tools/template_driver.c"),
                           os.path.join(ROOT, "build/libinferd.a")] + libs + ["-lm", "-pthread"])
    return out


def main():
    args = sys.argv[1:]
    count = int(args[1]) if args[:1] == ["-n"] else 0
    seconds = float(args[0]) if args and not count else 30
    rest = args[2:] if count else args[1:]
    seed = int(rest[0]) if rest else 1 if count else random.randrange(1 << 32)
    r, env, end = random.Random(seed), environment(), time.time() + seconds
    driver = subprocess.Popen([os.environ.get("DRIVER") or build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, "TZ": "UTC"})
    done = rendered = bad = 0
    warnings.simplefilter("ignore")  # of Python, about templates that subscript numbers
    while done < count if count else time.time() < end:
        k = r.random()
        t = text(r) if k < 0.2 else "{{ %s|pprint }}" % data(r) if k < 0.3 else mutate(r) if k < 0.5 else "".join(block(r, 2) for _ in range(r.randint(1, 3)))
        driver.stdin.write(json.dumps({"template": t, "vars": VARS}) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        if not line:
            sys.exit("the driver ended on %r (seed %d)" % (t, seed))
        got = json.loads(line)
        kind, want = render(env, t, VARS)
        done += 1
        rendered += kind == "ok"
        if " at 0x" in want or " object>" in got["text"] or DESIGN.search(got["text"] if not got["ok"] else ""):
            continue
        if got["ok"] != (kind == "ok") or (got["ok"] and got["text"] != want) or (kind == "raised" and got["text"] != want):
            bad += 1
            print("DIFFERS %r\n  jinja2 %s %r\n  here   %s %r" % (t, kind, want[:300], got["ok"], got["text"][:300]))
    print("seed %d: %d templates, %d render in Jinja2, %d differ" % (seed, done, rendered, bad))
    sys.exit(bad > 0)


main()
