"""Small templates that between them touch every part of the language; template_fixtures.py renders
them with Jinja2 into tests/data/template/cases.json. EXPR are expressions, TEXT whole templates."""

VARS = {
    "n": 7, "z": 0, "neg": -7, "f": 2.5, "big": 12345678901234567890, "t": True, "no": None,
    "s": "Hello World", "e": "", "u": "Grüße, Ωμέγα ß ﬁ 日本語 🎉", "sp": "  a  b\t\nc  ",
    "l": [3, 1, 2], "d": {"b": 1, "a": [1, {"x": None}], "C": "c"}, "nest": {"items": 5, "k": {"v": "w"}},
    "users": [{"name": "bob", "age": 30, "on": True}, {"name": "Al", "age": 25, "on": False},
              {"name": "cy", "age": 30, "on": True}],
    "html": "<a href=\"x\">'&'</a>", "words": ["b", "A", "c", "a", "B"], "mixed": [1, "a", None, 2.0, True, []],
    "lines": "one\ntwo\r\nthree\n\nfour\n",
}

EXPR = r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 // 2
-7.5 % 2
7.5 % -2
2 ** 10
2 ** 3 ** 2
-2 ** 2
2 ** -1
2.0 ** 0.5
(-8) ** (1/3)
7 / 2
6 / 3
1 / 3
1 / 0
1 % 0
1 // 0.0
9223372036854775807
n * 1.0
1e3
1.5e-7
1e16
1e15
123456789.123456789
0.1 + 0.2
1_000 + 0x1f + 0b101 + 0o17
1.0
100000000000000000000.0
-0.0
+n
-n
not n
not not n
- -n
n + true
true + true
s + 1
1 + s
s + e
l + [4]
l + (4,)
(1, 2) + (3,)
s * 2
2 * s
l * 2
s * -1
[0] * 3
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x']
s ~ nope
nope + 1
nope
nope.x
nope[0]
nope()
nope is defined
nope is undefined
nope == nope
nope == none
nope or 'x'
nope and 'x'
not nope
nope|default('x')
nope.y|default('x')
''|default('x')
''|default('x', true)
none|default('x')
none|d('x', boolean=True)
n|default('x')
no
no is none
no == none
none
None
true
True
false
[true, false, none]
[]
()
(1,)
(1, 2)
1, 2
{}
{'a': 1, 'b': [1, 2, {'c': none}]}
{1: 2, 'x': (1,), none: 3, 1.5: 4}
{'a': 1, 'a': 2}
{1: 'a', true: 'b', 1.0: 'c'}
{[1]: 2}
['it\'s', "a\"b", 'both\'"', 'back\\slash', 'nl\n', 'tab\t', '\x00\x7f']
['é', '\u200b', '\xa0', '🎉', '\ud83d']
"\u00e9\x41\101\N"
"\x4"
'\é\q'
'a' 'b' "c"
u
[u]
d
d.b
d['b']
d.a[1].x
d.a[1]['x'] is none
d.zz
d.zz.y
d['zz']
d.items
d.items()
d.keys()
d.values()
d.keys()|list
d.items()|list
d.get('b')
d.get('zz')
d.get('zz', 5)
d|length
d|list
d|items|list
d.pop('b')
d.update({})
d.clear
l.append(1)
l.append
l.sort()
nest.items
nest['items']
nest.items()
nest.k.v
nest['k']['v']
nest.get('items')
l[0]
l[-1]
l[5]
l[-5]
l['0']
l.0
l[1.0]
l[true]
s[0]
s[-1]
s[99]
s[0:5]
s[:5]
s[6:]
s[::-1]
s[::2]
s[-5:]
s[5:2]
s[10:0:-3]
u[1:9]
u[::-1]
u[-1]
u[::3]
u|length
u|upper
u|lower
u|title
u|capitalize
u.title()
u.swapcase()
u.casefold() is string
'ΑΣ ΑΣΑ Σ'.lower()
'İ'.lower()|length
'ǆ'.title()
'ŉ'.upper()
l[1:]
l[:-1]
l[::-1]
l[::0]
l[:'a']
(1,2,3)[1:]
range(10)[2:8:2]
range(5)[::-1]|list
n[0]
n[1:]
no[1:]
d[1:]
nope[1:]
range(3)
range(1, 4)|list
range(10, 0, -3)|list
range(1, 10, 3)
range(0)|list
range(5)|length
range(100001)
range(1.5)
range(1, 2, 0)
3 in range(5)
range(5)[2]
range(5)[-1]
range(3) == range(0, 3)
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'a' < 'b'
'a' == 1
1 < 'a'
[1, 2] < [1, 3]
(1, 2) == [1, 2]
[1, 2] == [1, 2]
{'a': 1} == {'a': 1.0}
none < 1
1 != 2
2 >= 2
'World' in s
'x' not in s
1 in s
1 in l
5 not in l
'b' in d
'zz' in d
[1] in d
1 in 5
1 in nope
'a' in none
not 1 in l
1 in l and 2 in l
1 in l == true
0 or 'x'
1 or 'x'
1 and 'x'
0 and 'x'
'' or [] or none
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
'a' if n > 5 else 'b' if n > 3 else 'c'
1 if n > 5 else 1/0
[x for x in l]
n is number
f is number
t is number
s is number
n is integer
t is integer
f is float
t is boolean
s is string
l is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
nope is sequence
l is iterable
s is iterable
n is iterable
d is iterable
d.items() is iterable
d.items() is sequence
d.items() is mapping
range is callable
s.upper is callable
n is callable
n is odd
n is even
n is not even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is equalto(7)
n is ne 7
n is lt 8
n is gt 8
n is ge 7
n is le 6
n is in [7]
n is in(l)
s is in ['x', s]
s is lower
'abc' is lower
'ABC' is upper
n is sameas 7
none is sameas none
true is true
1 is true
false is false
0 is false
'upper' is filter
'nofilter' is filter
'odd' is test
s is escaped
s|escape is escaped
n is nosuchtest
s|nosuchfilter
s|upper
s|lower
s|title
"hello-world (foo) [bar] <baz> o'neil it's"|title
s|capitalize
'  x '|trim
'xxaxx'|trim('x')
sp|trim
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('', '-')
n|replace('7', '8')
s|length
s|count
n|length
nope|length
s|first
s|last
l|first
l|last
[]|first
[]|last
e|first
d|first
d|last
n|first
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true, true)
mixed|sort
users|sort(attribute='age')|map(attribute='name')|join(',')
users|sort(attribute='age,name')|map(attribute='name')|join(',')
users|sort(reverse=true, attribute='age')|map(attribute='name')|list
d|dictsort
d|dictsort(true)
d|dictsort(reverse=true)
{'x': 2, 'y': 1}|dictsort(by='value')
{'x': 2, 'y': 1}|dictsort(false, 'value', true)
d|dictsort(by='foo')
l|join
l|join(', ')
l|join(d='-')
users|join('|', attribute='name')
users|map(attribute='name')|list
users|map(attribute='nope')|list
users|map(attribute='nope', default='D')|list
users|map('length')|list
words|map('upper')|join(' ')
words|map('replace', 'a', 'z')|list
words|map('nosuch')|list
l|map('string')|list
users|selectattr('on')|map(attribute='name')|list
users|rejectattr('on')|map(attribute='name')|list
users|selectattr('age', 'equalto', 30)|list|length
users|selectattr('age', '==', 25)|map(attribute='name')|first
users|selectattr('age', '>', 26)|map(attribute='name')|join
users|rejectattr('name', 'in', ['bob'])|map(attribute='name')|join
users|selectattr('nope', 'defined')|list
l|select('odd')|list
l|reject('odd')|list
l|select('>', 1)|list
mixed|select|list
mixed|reject|list
mixed|select('string')|list
mixed|select('nosuch')|list
l|select('odd')|length
l|select('odd')|first
nope|map('upper')|list
users|groupby('age')|length
users|groupby('age')|map(attribute='grouper')|list
users|groupby('age')|map(attribute='list')|map('length')|list
(users|groupby('age'))[0].list[0].name
users|groupby('zz', default=1)|length
words|groupby('0')|map('first')|list
words|unique|list
words|unique(true)|list
[1, 1.0, true, 2]|unique|list
users|unique(attribute='age')|map(attribute='name')|list
l|min
l|max
words|min
words|max
words|max(case_sensitive=true)
[]|min
[]|max is defined
users|max(attribute='age')|items|list
mixed|max
l|sum
[1, 2.5]|sum
users|sum(attribute='age')
[[1], [2]]|sum(start=[])
['a']|sum
l|reverse|list
s|reverse
n|reverse
d|reverse|list
l|batch(2)|list
l|batch(2, 0)|list
l|slice(2)|list
l|slice(2, 'x')|list
range(7)|slice(3)|list
s|list
n|list
'12'|int
'12.7'|int
'x'|int
'x'|int(5)
'0x1f'|int(base=16)
'ff'|int(0, 16)
'0b11'|int(0, 2)
'1_000'|int
' 42 '|int
'-5'|int
none|int
f|int
-2.7|int
true|int
l|int
'1e3'|int
'inf'|int
nope|int
'1.5'|float
'x'|float
'x'|float(2.5)
n|float
'1e400'|float
'nan'|float
none|float
big
big|string
big|tojson
big is integer
big + 1
9223372036854775807 + 1
9223372036854775807 * 2
2 ** 63
-5|abs
neg|abs
-2.5|abs
s|abs
2.5|round
3.5|round
2.675|round(2)
2.5|round(0, 'ceil')
2.4|round(0, 'ceil')
2.55|round(1, 'floor')
1234|round(-2)
1250|round(-2)
1250.0|round(-2)
7|round
2.5|round(method='x')
n|string
n|string ~ 'x'
html|e
html|escape|e
html|forceescape
html|safe
html|safe + '<b>'
'<b>' + html|safe
(html|safe) ~ '<b>'
('<%s>'|safe) % '<x>'
('<%s>'|safe) % ('<x>'|safe)
('<{}>'|safe).format('<x>')
[html|safe]
(html|safe)|upper is escaped
(html|safe).replace('a', '<')
('-'|safe).join(['<', '>'])
(html|safe)|replace('a', 'b') is escaped
(html|safe) == html
html|urlencode
'a b/c?d=é&f'|urlencode
{'a b': 'c/d', 'x': 1}|urlencode
{'class': 'a"b', 'id': none, 'n': 1}|xmlattr
{'class': 'x'}|xmlattr(false)
s|center(21)
'ab'|center(5)
'abc'|center(6)
'%s-%d-%5.2f|%-5s|%05d|%+d|%x|%X|%o|%e|%g'|format('a', 3, 2.567, 'b', 42, 5, 255, 255, 8, 12345.678, 0.0001)
'%(a)s %(b)r'|format(a=1, b='x')
'%s'|format
'%s %s'|format('a')
'%d'|format('a')
'%s' % 'x'
'%s %s' % ('x', 1)
'%s' % none
'%s' % [1]
'%s' % (1, 2)
'%%'  % ()
'%r|%a' % ('é', 'é')
'%c%c' % ('a', 98)
'%5s|%-5s|%.2s' % ('ab', 'ab', 'abcdef')
'%*d|%-*d|' % (5, 42, 5, 42)
'%#x %#o % d' % (255, 8, 5)
'%(b)s' % d
'%(zz)s' % d
'%d' % 3.99
'%i %u' % (1, 2)
'%s' % nope
'abc' % nope
'abc' % 1
'abc' % [1]
'%y' % 1
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{x} {y!r}'.format(x=1, y='s')
'{:>8}|{:<8}|{:^8}|{:*^8}'.format('a', 'b', 'c', 'd')
'{:5d}|{:<5d}|{:05d}|{:+d}|{:,}|{:_}'.format(42, 42, 42, 42, 1234567, 1234567)
'{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.1%}'.format(3.14159, 2.5, 12345.678, 0.00001, 0.5, 0.125)
'{:x}|{:X}|{:#x}|{:o}|{:b}|{:#b}|{:c}'.format(255, 255, 255, 8, 5, 5, 5)
'{0[0]} {0[1]}'.format(l)
'{0.k.v}|{0[k]}'.format(nest)
'{{}} {}'.format(1)
'{:{}}|'.format('a', 5)
'{!s:>5}|{!r}'.format('a', 'b')
'{}'.format()
'{x}'.format()
'{'.format()
'}'.format()
'{} {0}'.format(1)
'{:d}'.format('a')
'{:.3}'.format('abcdef')
'{}|{}|{}|{}'.format(none, true, 1.0, [1])
'{:5}|{:>5}'.format(true, none)
'{0[}}k]}|{0[{k]}|{0[k]!r:>4}'.format({'}}k': 1, '{k': 2, 'k': 'v'})
'{0[}k]}'.format({})
[['items', 'k']|max, ['k', 'items']|min, 'i' < 'k', 'k' > 'i', 'k' <= 'i', ['k', 'i', 'm']|sort]
'{0{}'.format(1)
'{a[}'.format(a=1)
'{0[:]}|{0[!]}|{0[:]:3}|'.format({':': 1, '!': 2})
[(l|escape)|last, (l|escape)|first, (l|escape)[0], (l|escape)|reverse]
'{:.3}|{:10}|{}'.format(1234.5678, 1.5, 1e20)
s.upper()
s.lower()
s.split()
s.split('o')
s.split('o', 1)
s.split(maxsplit=1)
s.split('')
s.rsplit('o', 1)
sp.split()
sp.split(none, 1)
sp.rsplit(none, 1)
sp.split(' ')
e.split()
e.split(',')
'a,b,,c'.split(',')
'a,b,,c'.rsplit(',', 2)
'a--b--c'.split('--', 1)[-1]
'</think>x</think>y'.split('</think>')[-1].lstrip('\n')
s.strip('Hd')
sp.strip()
sp.lstrip()
sp.rstrip()
'xxabxx'.lstrip('x')
'abcba'.rstrip('ab')
'\u3000é\u2003'.strip()
s.startswith('Hello')
s.startswith('World', 6)
s.startswith(('a', 'H'))
s.startswith(['H'])
s.startswith(1)
s.endswith('World')
s.endswith(('x', 'd'))
s.endswith('Hello', 0, 5)
s.replace('l', 'L')
s.replace('l', 'L', 2)
s.replace('', '.')
s.replace('l', 1)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.find('')
u.find('日')
u.rfind('ß')
s.index('o')
s.index('zz')
s.count('l')
s.count('')
'aaa'.count('aa')
', '.join(words)
', '.join(l)
','.join('abc')
','.join(d)
lines.splitlines()
lines.splitlines(true)
'a\x0bb\x1cc\u2028d\x85e'.splitlines()
'12'.isdigit()
'1a'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
''.isdigit()
'abc'.isalpha()
'é日'.isalpha()
'a1'.isalnum()
' \t'.isspace()
'abc'.islower()
'ABC1'.isupper()
'1'.isupper()
'Hello World'.istitle()
'hello World'.istitle()
'é'.isascii()
'a_1'.isidentifier()
'1a'.isidentifier()
'a\n'.isprintable()
s.title()
"they're bill's".title()
s.capitalize()
s.swapcase()
s.removeprefix('Hello ')
s.removesuffix('World')
s.removeprefix('x')
s.partition(' ')
s.partition('zz')
s.rpartition('o')
s.rpartition('zz')
'42'.zfill(5)
'-42'.zfill(5)
'a'.ljust(3) ~ '|'
'a'.rjust(3, '*')
'a'.center(4, '-')
'ab'.center(5, '-')
'a'.ljust(3, 'xx')
'a\tb'.expandtabs(4)
'{a}'.format_map({'a': 1})
s.nosuch()
s.__class__
s._x
l.__len__
d.__class__
''.__class__.__mro__
l.index(1)
l.index(9)
l.count(1)
(1, 2, 1).count(1)
l.copy()
d.copy()
d|tojson
d|tojson(indent=2)
d|tojson(indent=0)
d|tojson(indent='--')
d|tojson(sort_keys=true)
d|tojson(separators=(',', ':'))
d|tojson(indent=2, separators=(', ', ' = '))
u|tojson
u|tojson(ensure_ascii=true)
html|tojson
[]|tojson(indent=2)
{}|tojson(indent=2)
[[], {}, [1]]|tojson(indent=1)
'\x00\x1f\x7f"\\\n\r\t\b\f/'|tojson
[1.0, 1e20, 1.5e-7, -0.0, true, none]|tojson
(1, 2)|tojson
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1,): 2}|tojson
nope|tojson
range|tojson
range(3)|tojson
(html|safe)|tojson
{'b': {'d': 1, 'c': 2}, 'a': 0}|tojson(sort_keys=true)
{'b': 1, 2: 1}|tojson(sort_keys=true)
lines|indent
lines|indent(2, true)
lines|indent('> ', blank=true)
lines|indent(first=true)
n|indent
''|indent
'a'|indent(2)
'some well-known long-ish words--and dashes, a-b-c and  blanks  extraordinarily'|wordwrap(12)
'some well-known long-ish words--and dashes, a-b-c and  blanks  extraordinarily'|wordwrap(9, false)
'some well-known long-ish words--and dashes, a-b-c'|wordwrap(7, true, '|', false)
lines|wordwrap(3)
(u * 2)|wordwrap(width=10)
s|wordwrap(0)
n|wordwrap
''|wordwrap
'<!-- <b> --><i>Fish</i>\n  &amp;  &#67;hips &lt;&euro;3&gt; &copyx &#x2014;&#150;&#0;&nosuch; <unclosed'|striptags
html|striptags
l|striptags
'see https://a.example/x(y)?b=c&d. (www.b.org), x@y.z <mailto:m@n.o> http://[::1]:80/ http://1.2.3.4'|urlize
'www.example.org/a/long/path and b.com'|urlize(10, true, target='_top')
'ftp:a.b tel:12 x'|urlize(rel='z "a"', extra_schemes=['ftp:', 'tel:'])
'x'|urlize(extra_schemes=['a b'])
users|pprint
d|pprint
{'key': [s * 4, (1,), {'b': u * 3, 'a': none}], 'a': 'x ' * 50, 'c': html * 5}|pprint
('one two ' * 12)|pprint
'line one\nline two\n' * 5|pprint
[]|pprint
nope|pprint
(l, [l])|pprint
l|random
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
l|truncate(8)
nope|truncate(8)
n|truncate(8)
'foo bar baz qux'|truncate(9, false, '…', 0)
'abc def ghi_x é'|wordcount
1000000|filesizeformat
1|filesizeformat
999|filesizeformat
1500000|filesizeformat(true)
d|attr('items') is callable
d|attr('b')
namespace(a=1).a
namespace(a=1).b
namespace({'a': 1}, b=2)
namespace(a=1)['a']
dict(a=1, b=2)
dict([('a', 1)])
dict({'x': 1}, y=2)
dict(1)
dict('ab')
dict(**d)
dict(**{'a': 1}, **{'b': 2})
cycler(1, 2).next()
cycler()
joiner('x')()
raise_exception('boom')
raise_exception('boom ' ~ n)
raise_exception()
raise_exception(none)
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y %H:%M:%S %j %A %% %f|%z|%Z|')
strftime_now('')
loop
caller
lipsum is callable
n.x.y
n.x
n.upper()
(n)(1)
5(1)
'a'()
[1, 2,]
{'a': 1,}
(1, 2,)
[1, 2
{'a' 1}
1 +
foo(
foo(1, a=2, 3)
foo(*l)
dict(a=1, a=2)
'a' if
is defined
n is
n is is
a b
1 2
{{ 1 }}
@
'unclosed
n|
n.
l[
a = 1
n | upper | lower
(n|string).zfill(3)
n|string.zfill(3)
-n|abs
-1 ** 2
not n == 7
n == 7 and f == 2.5 or 1/0
'%s' % s|upper
1 ~ 2 + 3
1 ~ 2 * 3
'a' ~ 'b' * 2
[l, l] == [l, l]
'a' in 'b' or 'c'
n is defined and n
n is not defined or n
s is string and s|length > 3
s is string | string
users[0]['name']
users[0].name.upper()[:2]
users[-1].name
users[n].name
users[0].nope is defined
users[0].nope.x is defined
d.a[1].x is none
(d.a)[0]
[1,2,3][1]
{'a': 1}.a
{'a': 1}['a']
'abc'[1]
"abc".upper()
(1).x
1.5.x
[1, [2, [3, [4]]]]
{'a': {'b': {'c': {}}}}
range(3)|map('string')|join('+')
range(3)|list|tojson
range(5)|batch(2)|map('list')|list
[3, 1]|sort|first
users|map(attribute='name')|map('upper')|sort|join(', ')
(l|map('string'))|list|length
l|list is sameas l
[none, 1]|join('-')
[nope, 1]|join('-')
[nope]
{'a': nope}
(nope,)|list
nope|list
nope|join
nope|string
nope|upper
nope|trim
nope|first is defined
nope|sort
nope|items|list
nope in [nope]
nope < 1
nope is mapping
nope|replace('a', 'b')
nope.x is defined
nope|abs
nope|round
'é'|urlencode
'A'|lower == 'a'
none|string
none|upper
none|trim
none|length
true|string
1.0|string
[1]|string
l|string|length
"a\
b"
""" .strip("\n").split("\n")

# An expression may span lines only here.
EXPR = [e for e in "\n".join(EXPR).replace("\\\nb\"", "b\"").split("\n") if e]

# Where this interpreter refuses what Python can do: wide and complex numbers, lone surrogates.
LIMITS = ["(-8) ** (1/3)", "['é', '\\u200b', '\\xa0', '🎉', '\\ud83d']", "big + 1", "9223372036854775807 + 1",
          "9223372036854775807 * 2", "2 ** 63", "l|random"]

TEXT = [
    "a\n", "a\n\n", "\n", "", " a \n b ", "a\r\nb\rc\r\n",
    "{% if true %}\nx\n{% endif %}\ny\n", "  {% if true %}\n  x\n  {% endif %}\n  y", "a {% if true %} b {% endif %} c",
    "a\n  {%- if true %}\n  b\n  {%- endif %}\nc", "a  {{- 1 -}}  b", "a\n\n{{- 1 -}}\n\nb", "  {{ 1 }}\n  {{ 2 }}\n",
    "  {%+ if true %}x{% endif %}", "{% if true +%}\nx{% endif %}", "{# c #}\nx", "  {# c #}\nx", " a {# c #} b", "a {#- c -#} b",
    "{# {% if %} {{ #}x", "{#- c +#}\nx", "x\n  {#+ c #}\ny", "{# unclosed", "{% raw %}{{ x }}{% endraw %}",
    "{% raw %}\n  {{ x }}\n{% endraw %}\ny", "a {%- raw -%}  b  {%- endraw -%} c", "{% raw %}{% if %}{% endraw %}\nz", "{% raw %}x",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}", "{{ {'a': {}} }}", "{{ {'a': {'b': 1}}['a'] }}", "{ {", "{{", "{%", "}} %} #}", "{", "{{ }}", "{% %}",
    "{%-if true-%}x{%-endif-%}", "{{1}}{{'a'}}{{-1}}", "{{ -1 }}", "{{- -1 }}", "{{+1}}", "x{{ 1 }}\n", "{{ 1 }}\n\n",
    "\t{% if true %}\t\nx{% endif %}", "\u00a0{% if true %}x{% endif %}", "a\u2003{{- 1 }}", "\u2003\n {%- if true %}x{% endif %}",
    "{% if n %}a{% elif f %}b{% else %}c{% endif %}", "{% if z %}a{% elif f %}b{% else %}c{% endif %}",
    "{% if z %}a{% elif no %}b{% else %}c{% endif %}", "{% if z %}a{% endif %}", "{% if %}a{% endif %}", "{% if n %}a", "{% endif %}",
    "{% if n: %}a{% else: %}b{% endif %}", "{% else %}", "{% if n %}a{% else %}b{% else %}c{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in l %}a{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.first }} {{ loop.last }} {{ loop.revindex }} {{ loop.revindex0 }}\n{% endfor %}",
    "{% for x in l %}[{{ loop.previtem }}|{{ loop.nextitem }}]{% endfor %}", "{% for x in l %}{{ loop.previtem.y }}{% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1,1,2,2,1] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle() }}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l %}{{ loop.nope }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }}\n{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}:{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for x in l if x > 9 %}a{% else %}none{% endfor %}",
    "{% set ns = namespace(go=true) %}{% for x in l if ns.go %}{{ x }}{% set ns.go = false %}{% endfor %}",
    "{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for a, b in l %}x{% endfor %}", "{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}-{{ b }} {% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}x{% endfor %}", "{% for a, b in [(1,)] %}x{% endfor %}",
    "{% for c in u %}{{ c }}.{% endfor %}", "{% for x in n %}x{% endfor %}", "{% for x in none %}x{% endfor %}", "{% for x in nope %}x{% else %}e{% endfor %}",
    "{% for x in l recursive %}{{ x }}{% endfor %}",
    "{% for x in [{'v': 1, 'c': [{'v': 2, 'c': []}, {'v': 3, 'c': [{'v': 4, 'c': []}]}]}] recursive %}{{ x.v }}@{{ loop.depth }}{{ loop.depth0 }}({{ loop(x.c) }}){% endfor %}",
    "{% for x in l %}{{ loop(l) }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% for y in l %}{% break %}{% endfor %}{{ x }}{% endfor %}",
    "{% break %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in l %}{% set y %}a{% break %}{% endset %}{% endfor %}ok",
    "{% for x in l %}{% for y in [] %}{% else %}{% break %}{% endfor %}{{ x }}{% endfor %}z", "{% for x in l %}{% else %}{% endfor",
    "{% for x in range(3) %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in l %}{{ x }}{% set x = i %}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for true in l %}{% endfor %}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x.y in l %}{% endfor %}", "{% for x in l %}{{ n }}{% set n = 1 %}{% endfor %}{{ n }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = l %}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x|length }}",
    "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}aXa{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}",
    "{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% if false %}{% set n = 1 %}{% endif %}{{ n }}", "{% if false %}{% set q = 1 %}{% endif %}{{ q is defined }}",
    "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(t='') %}{% for i in range(40) %}{% set ns.t = ns.t + 'ab' %}{% set old = ns.t %}{% set x = old + 'X' %}{% set y = old + 'Y' %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(9) %}{% set ns.l = ns.l + [i] %}{% set k = ns.l %}{% set a = k + ['a'] %}{% set b = k + ['b'] %}{% if loop.last %}{{ a }}{{ b }}{% endif %}{% endfor %}{{ ns.l }}",
    "{% set x = 1 %}{% set x = x + 1 %}{{ x }}", "{% set true = 1 %}", "{% set x.y.z = 1 %}", "{% set 1 = 2 %}", "{% set x %}", "{% set x = %}", "{% set %}", "{% set _ = l %}{{ _ }}", "{% set x = y = 1 %}",
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}", "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% macro m() %}{% set x = 2 %}{% endmacro %}{{ m() }}{{ x is defined }}",
    "{% macro f(i) %}{{ i }}{% if i > 0 %}{{ f(i - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %} x {% endmacro %}[{{ m()|trim }}]", "{% macro m() %}a{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}",
    "{% macro m(x) %}{{ caller(x) }}{% endmacro %}{% call(v) m(5) %}<{{ v }}>{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}a{% endmacro %}{% call m() %}b{% endcall %}",
    "{% call 5 %}{% endcall %}", "{% macro m(caller) %}{{ caller() }}{% endmacro %}", "{% macro m(caller=none) %}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ m() }}{% call m() %}x{% endcall %}",
    "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m() %}{{ loop is defined }}{% endmacro %}{% for x in l %}{{ m() }}{% endfor %}", "{{ m() }}{% macro m() %}{% endmacro %}",
    "{% macro m(*a) %}{% endmacro %}", "{% macro m() %}{% if true %}{{ raise_exception('in macro') }}{% endif %}{% endmacro %}{{ m() }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(5, *[6]) }}", "{% macro m(a) %}{{ a|tojson }}{% endmacro %}{{ m({'x': [1]}) }}",
    "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aXa{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter nosuch %}{% endfilter %}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}", "{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}", "{% with a = 1, b = a %}{{ b }}{% endwith %}", "{% generation %}a{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}",
    "{% for x in l %}{% generation %}{{ x }}{% endgeneration %}{% endfor %}", "{% for x in l %}{% generation %}\n{{ x }}\n{% endgeneration %}\n{% endfor %}", "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% block b %}x{{ n }}{% endblock %}", "{% block b %}x{% endblock b %}y", "{% set q = 1 %}{% block b %}{{ q }}{% endblock %}", "{% for x in l %}{% block b scoped %}{{ x }}{% endblock %}{% endfor %}", "{% for x in l %}{% block b %}{{ x }}{% endblock %}{% endfor %}",
    "{% print 1, 2 %}", "{% print n + 1 %}", "{% do l.append(1) %}", "{% nosuch %}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% if false %}{% include 'x' %}{% endif %}ok", "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{% if false %}{{ x|nosuch }}{% endif %}ok", "{% if true %}{{ x|nosuch }}{% endif %}", "{{ (x|nosuch) if false else 1 }}", "{% if false %}{% for i in l %}{{ i|nosuch }}{% endfor %}{% endif %}", "{% if false %}{{ x is nosuch }}{% endif %}ok", "{% for i in l %}{{ i|nosuch }}{% endfor %}",
    "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{% set g = l|select('odd') %}{{ g|first }}{{ g|list }}", "{% set g = words|unique %}{{ 'A' in g }}{{ g|list }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}",
    "{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% for g in users|groupby('age') %}{{ g.grouper }}:{{ g.list|length }};{{ g[0] }}{% endfor %}", "{% for age, us in users|groupby('age') %}{{ age }}{{ us|map(attribute='name')|join }}{% endfor %}",
    "{{ raise_exception('a\\nb \"q\" {}%s') }}", "a{{ raise_exception(s) }}b", "{% set x = {'a': 1} %}{% set y = dict(x, b=2) %}{{ x }}{{ y }}", "{% set x = l %}{{ x is sameas l }}", "{{ n }}{#x#}{{ f }}", "{{ s }}\n{% if t %}\n\n{{ n }}\n{% endif %}\n\n",
    "{%- for m in users %}\n    {%- if m.on -%}\n        {{ '<|' + m.name + '|>' }}\n    {%- endif %}\n{%- endfor %}\n", "{% for m in users -%}\n  {{ m.name }}\n{%- if not loop.last %}, {% endif %}\n{% endfor %}", "{% set x = n if n is defined else 0 %}{{ x }}", "{{ nope.a.b if nope is defined else 'no' }}",
    "{{ [1,2,3]|sum / 2 }}", "{{ loop is defined }}", "{% for i in range(2) %}{% for j in range(2) if j == i %}{{ i }}{{ j }}{{ loop.length }} {% endfor %}{% endfor %}", "{% for i in range(3) %}{% if loop.first %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}{% endfor %}",
    "{{ 'a\nb' }}", "{{ 'a\r\nb'|length }}", "{{ \"{% if %}\" }}", "{% if '%}' == '%}' %}x{% endif %}", "{{ ')' }}", "{{ (1 }}", "{{ 1) }}", "{{ [1) }}", "{{ 1 }", "{{ 1 %}", "{% if 1 }}", "{{ x if y }}", "{{ 'x' if y }}", "{{ 08 }}", "{{ 1.e5 }}", "{{ 1a }}", "{{ é }}", "{{ n\u00e9 }}",
    # generators: nothing runs before an item is asked for
    "{{ [1,'x']|map('int')|first }}", "{{ [1, none]|map('upper')|first }}", "{{ [1, nope]|map('round')|first }}", "{% set x = l|select('nosuch') %}ok",
    "{% set x = 1|map('upper') %}ok", "{{ 1|map('upper')|list }}", "{{ 0|map('upper')|list }}", "{{ [1,{}]|map('abs')|first }}",
    "{% for x in [1,{}]|map('abs') %}{{ x }}{% break %}{% endfor %}", "{% for x in [1,{}]|map('abs') %}{{ x }}{{ loop.last }}{% break %}{% endfor %}",
    "{{ 1 in [1,{}]|map('abs') }}", "{{ 2 in [1,{}]|map('abs') }}", "{% set g = [1,2,3]|map('abs') %}{{ g|first }}{{ g|first }}{{ g|list }}{{ g|list }}",
    "{% set g=[1,2,3,4]|select('odd') %}{{ 1 in g }}{{ g|list }}", "{% set g=range(7)|batch(3,'x') %}{{ g|first }}{{ g|list }}",
    "{% set g=range(7)|slice(3,'x') %}{{ g|first }}{{ g|list }}", "{% set g=[1,1,2]|unique %}{{ g|first }}{{ g|list }}", "{% set g = d|items %}{{ g|first }}{{ g|list }}",
    "{% set g = 5|items %}ok", "{{ nope|items|list }}", "{{ 5|items|list }}", "{% set g = 5|unique %}ok", "{% set g = 5|batch(2) %}ok", "{{ 5|slice(2)|list }}",
    "{% set g = 5|slice(2) %}{{ 1 }}",
    "{% for x in [3,1]|map('abs') %}{{ loop.index }}/{{ loop.length }}{{ loop.revindex }}{{ loop.nextitem }}{{ loop.previtem }} {% else %}none{% endfor %}",
    "{% for x in []|map('abs') %}a{% else %}none{% endfor %}", "{% for x in [3,1]|map('abs') recursive %}{{ x }}{{ loop([5]|map('abs')) if x == 3 }}{% endfor %}",
    "{% for x in [3,1,4]|map('abs') if x > 1 %}{{ x }}{{ loop.last }}{% endfor %}", "{% set g=[1,2]|map('abs') %}{% set a, b = g %}{{ a }}{{ b }}{{ g|list }}",
    "{{ [[1,2],[3,[]]]|map('sum')|first }}", "{{ users|map(attribute='name')|first }}", "{{ users|map(attribute='name', x=1)|first }}",
    "{% set g=users|map(attribute='name', x=1) %}a", "{{ []|map() |list}}", "{{ [1]|map() |list}}", "{{ [1]|selectattr() |list}}", "{% set q=[1]|selectattr() %}k",
    "{{ l|map('map','abs')|list|length }}", "{{ [[1],[2]]|map('map','abs')|map('list')|list }}", "{{ dict(nope) }}", "{{ dict(nope, b=2) }}", "{{ namespace(nope) }}",
    "{{ dict() }}", "{{ dict([]) }}", "{{ dict([nope]) }}", "{% set ns=namespace(l=[1,2]|map('abs')) %}{{ ns.l|first }}{{ ns.l|join }}",
    "{{ ([1,2]|map('abs')) is iterable }}{{ ([1,2]|map('abs')) is sequence }}", "{% for x in l if x %}{{ loop|length }}{% endfor %}",
    "{% for x in l if x %}{{ loop }}{% endfor %}", "{% for x in l|map('abs') %}{{ loop|length }}{% break %}{% endfor %}", "{{ [1,2]|map('abs')|last }}",
    "{{ [3,1,2]|map('abs')|sort }}", "{{ [3,1,2]|map('abs')|max }}", "{{ [3,1,2]|map('abs')|sum }}", "{{ [3,1]|map('abs')|length }}", "{{ ([3,1]|map('abs'))[0] }}",
    "{{ [3,1]|map('abs')|reverse|list }}", "{{ [3,1]|map('abs')|tojson }}", "{{ '%s' % ([3,1]|map('string')|join) }}",
    "{% macro m(x) %}{{ varargs|map('string')|first }}{% endmacro %}{{ m(1,2,'b') }}", "{{ [1,2]|map('default','x', boolean=true)|list }}",
    "{{ ''.join(['a','b']|map('upper')) }}", "{{ ','.join([1]|map('string')) }}", "{{ [1,2]|map('string')|batch(1)|map('first')|list }}",
    "{% set x = [1]|map('abs') %}{% set y = x %}{{ x == y }}{{ y|list }}{{ x|list }}", "{{ [1,2]|select('divisibleby', 0)|first }}",
    "{% for a, b in d|items %}{{ a }}={{ b }};{% endfor %}", "{{ [[1,2],[1,2]]|unique|list }}", "{{ [[1,2],[1,2]]|unique|first }}",
    "{% set ns = namespace(g=[1,2]) %}{% for i in range(100) %}{% set ns.g = ns.g|map('abs') %}{% endfor %}{{ ns.g|list }}",
    "{% set ns = namespace(g=[1, 2]) %}{% for i in range(5000) %}{% set ns.g = ns.g|map('abs') %}{% endfor %}{{ ns.g|list }}",
]
