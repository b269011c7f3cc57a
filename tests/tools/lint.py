#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not (docs/architecture.md).

Usage: lint.py [FOLDER]      prints "file:line: [rule] what", exits 1 when there is any.

A rule is a function of a Source, or of all of them, that yields findings. This is no C parser: it
relies on the layout that clang-format gives, and looks at text without comments and strings.
"""

import os
import re
import subprocess
import sys

CPP_SUFFIX = ('.cu', '.cuh', '.cc')
C_SUFFIX = ('.c', '.h') + CPP_SUFFIX
FILE_MAX, PARAMS_MAX, HEADER_BODY_MAX = 1000, 6, 5
COLUMNS = 100  # but for tables, between clang-format off and on
FUNCTION_MAX, FUNCTION_MAX_LONG = 120, 200
EMULATOR = 'tests/simt/'  # stands in for the CUDA runtime: its names and signatures are NVIDIA's
CPP_FOLDERS = ('kernels/cuda/', EMULATOR, 'tests/gpu/')  # C++, and device code under #if
LONG_FUNCTIONS = ('engine/models/', 'kernels/cpu/', 'kernels/cuda/')  # forwards and kernels
FIXTURES = ('tests/data/', 'tests/fuzz/corpus/')
FIXTURES_MAX = 10 << 20  # what every clone and CI run carries besides source
CLANG_FORMAT = '14'  # what Debian 12 has; others lay some lines out differently

TOP_LEVEL = {
    'Makefile',
    'README.md',
    'LICENSE',
    'server',
    'engine',
    'kernels',
    'api',
    'docker',
    'tests',
    'models',
    'docs',
    '.ci',
}

# Floors from the ground up. A file may include its own floor and those that its row names.
FLOORS = [  # path prefix, what it may include (prefixes)
    ('kernels/base/', ['kernels/base/']),
    ('kernels/', ['kernels/']),
    ('engine/', ['engine/', 'kernels/']),
    ('api/', ['api/', 'engine/engine.h', 'kernels/base/']),
    ('server/cmd/', ['server/', 'api/', 'engine/', 'kernels/']),  # commands look inside files
    ('server/', ['server/', 'api/api.h', 'engine/engine.h', 'kernels/base/']),
    ('tests/', ['']),
]
# Inside the engine, lower numbers may not include higher ones. engine.h is vocabulary: anyone's.
ENGINE_RANK = [
    ('engine/text/', 0),
    ('engine/image/', 0),
    ('engine/audio/', 0),
    ('engine/nn/', 0),
    ('engine/load/', 1),
    ('engine/models/', 1),
    ('engine/run/', 2),
    ('engine/tasks/', 3),
    ('engine/', 4),
]
BACKENDS = re.compile(r'kernels/(cpu|cuda|null)/')

THIRD_PARTY = [  # header, who may include it (regular expression over paths)
    (r'(cjson/)?cJSON\.h', r'api/[^/]*\.c|kernels/base/json\.c'),
    (r'microhttpd\.h', r'server/http\.c'),
    (r'pcre2\.h', r'engine/text/[^/]*\.c'),
    (r'utf8proc\.h', r'engine/text/[^/]*\.c|tests/.*\.c'),
    (r'(cuda|cublas|nccl|nvml|nvrtc).*\.h', r'kernels/cuda/.*|tests/(simt|gpu)/.*'),
    (r'cmocka\.h', r'tests/.*'),
]
FORBIDDEN = [  # call, who may make it, why not
    (
        r'getenv|secure_getenv|setenv',
        r'server/config\.c|tests/.*',
        'options come through server/config.c',
    ),
    (
        r'printf|vprintf|puts|putchar|perror',
        r'server/cmd/.*|kernels/configs/embed\.c|tests/.*',
        'report by status or log',
    ),
    (
        r'malloc|calloc|realloc|reallocarray|free|strdup|strndup|aligned_alloc|posix_memalign'
        r'|asprintf|vasprintf',
        r'kernels/base/mem\.c|tests/.*',
        'kernels/base/mem.h has the heap',
    ),
    (
        r'exit|_exit|_Exit|quick_exit|atexit',
        r'server/main\.c|tests/.*',
        'only main ends the process',
    ),
    (r'abort', r'kernels/base/.*|tests/.*', 'return a status'),
    (
        r'strcpy|strcat|sprintf|vsprintf|atoi|atol|atoll|atof|gets|strtok|alloca',
        r'(?!)',
        'has no bound or no error',
    ),
    (r'assert', r'tests/.*', 'check input and return a status'),
]
STREAMS = (r'stdout|stderr', r'server/cmd/.*|server/logsink\.c|kernels/configs/embed\.c|tests/.*')
LOOSE_ENDS = ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK']
# Built from parts, so that this file does not find itself.
MACHINE_PATH = re.compile(
    r'(?<![\w.$}-])/('
    + '|'.join(['wo' + 'rk', 'ro' + 'ot', 'fa' + 'rm', 'home' + r'/\w+', 'tmp' + '/s'])
    + r')(/|\b(?=["\'\s]))'
)
SHARED = re.compile(r'\.\./sha' + r'red/(?!data\b)')


class Source:
    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), 'rb') as f:
            raw = f.read()
        self.binary = b'\0' in raw[:8000]
        self.text = '' if self.binary else raw.decode('utf-8', 'replace')
        self.lines = self.text.splitlines()
        self.is_c = path.endswith(C_SUFFIX)
        self.code = strip(self.text).splitlines() if self.is_c else []
        self.includes = [
            (i + 1, m.group(1), m.group(2))
            for i, line in enumerate(self.lines if self.is_c else [])
            for m in [re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)]
            if m
        ]


def strip(text):
    """Comments, strings and character constants become blanks; lines stay where they are."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r'[^\n]', ' ', m.group()), text)


def first(table, path):
    return next(value for prefix, value in table if path.startswith(prefix))


def layering(src):
    if not any(src.path.startswith(prefix) for prefix, _ in FLOORS):
        return
    allowed = first(FLOORS, src.path)
    for line, kind, name in src.includes:
        if kind != '"':
            continue
        if not any(name.startswith(prefix) for prefix in allowed):
            yield line, f'{name} is above, or is none of this floor\'s business'
        elif (
            src.path.startswith('engine/')
            and name.startswith('engine/')
            and name != 'engine/engine.h'
            and first(ENGINE_RANK, name) > first(ENGINE_RANK, src.path)
        ):
            yield line, f'{name} is above this part of the engine'
        backend = BACKENDS.match(name)
        if (
            backend
            and not src.path.startswith((backend.group(), 'tests/', 'server/cmd/'))
            and src.path not in ('kernels/backend.c', 'kernels/tune.c')
        ):
            yield line, f'{name} is private to its backend; kernels/backend.c chooses one'


def include_paths(src, paths):
    for line, kind, name in src.includes:
        if kind == '"' and name not in paths:
            yield line, f'"{name}" is no file of this tree (write paths from the root)'
    own = src.path[:-2] + '.h'
    if src.path.endswith('.c') and own in paths and (not src.includes or src.includes[0][2] != own):
        yield 1, f'{own} must be its first include'


def third_party(src):
    for line, _, name in src.includes:
        for header, where in THIRD_PARTY:
            if re.fullmatch(header, name) and not re.fullmatch(where, src.path):
                yield line, f'<{name}> does not belong here'


def forbidden(src):
    for names, where, why in FORBIDDEN:
        if re.fullmatch(where, src.path):
            continue
        pattern = re.compile(r'(?<![\w.>])(' + names + r')\s*\(')
        for i, line in enumerate(src.code):
            for m in pattern.finditer(line):
                yield i + 1, f'{m.group(1)}(): {why}'
    if not re.fullmatch(STREAMS[1], src.path):
        for i, line in enumerate(src.code):
            m = re.search(r'\b(' + STREAMS[0] + r')\b', line)
            if m:
                yield i + 1, f'{m.group(1)}: report by status or log'
    for i, line in enumerate(src.code):
        if re.search(r'\btypedef\s+(struct|union)\b', line):
            yield i + 1, 'a typedef hides a struct'


def functions(src):
    """Yields (first line, signature, lines, body) of what stands around a brace in column 0."""
    for i, line in enumerate(src.code):
        if line.rstrip() != '{':
            continue
        start = i
        while (
            start > 0
            and src.code[start - 1].strip()
            and not src.code[start - 1].startswith(('}', '#'))
        ):
            start -= 1
        end = next(
            (k for k in range(i, len(src.code)) if src.code[k].startswith('}')), len(src.code) - 1
        )
        signature = ' '.join(src.code[start:i])
        if '(' in signature:
            yield start + 1, signature, end - start + 1, range(i + 1, end)


def count_parameters(signature):
    """Commas at depth 1 of the parenthesis that follows the function's name."""
    m = re.search(r'\w+\s*\(', re.sub(r'__attribute__\s*\(\(.*?\)\)', '', signature))
    depth, commas, any_text = 0, 0, ''
    for ch in signature[m.end() - 1 :] if m else '':
        depth += (ch == '(') - (ch == ')')
        if depth == 0:
            break
        commas += depth == 1 and ch == ','
        any_text += ch
    return 0 if any_text.strip('( ') in ('', 'void') else commas + 1


def sizes(src):
    if src.path.endswith(C_SUFFIX + ('.py', '.sh')) and len(src.lines) > FILE_MAX:
        yield FILE_MAX, f'{len(src.lines)} lines; at most {FILE_MAX}'
    table = False
    for i, line in enumerate(src.lines if src.is_c else []):
        if 'clang-format o' in line:
            table = 'clang-format off' in line
        if len(line) > COLUMNS and not table:
            yield i + 1, f'{len(line)} columns; at most {COLUMNS}'
    limit = FUNCTION_MAX_LONG if src.path.startswith(LONG_FUNCTIONS) else FUNCTION_MAX
    for line, signature, length, body in functions(src):
        if length > limit:
            yield line, f'a function of {length} lines; at most {limit}'
        n = count_parameters(signature)
        theirs = 'struct MHD_Connection' in signature or src.path.startswith(EMULATOR)
        if n > PARAMS_MAX and not theirs:  # the signature is given by somebody's API
            yield line, f'{n} parameters; above {PARAMS_MAX} take a struct'
        if (
            src.path.endswith('.h')
            and len(body) > HEADER_BODY_MAX
            and not src.path.startswith(('kernels/', EMULATOR))
        ):
            yield line, f'a body of {len(body)} lines in a header'
        for i in body:
            if re.match(
                r'\s*#\s*(if|ifdef|ifndef|elif)\b', src.code[i]
            ) and not src.path.startswith(CPP_FOLDERS):
                yield i + 1, '#if inside a function'


def headers(src):
    if src.is_c and not src.text.startswith('/*'):
        yield 1, 'a comment must say what this file is'
    if src.path.endswith(CPP_SUFFIX) and not src.path.startswith(CPP_FOLDERS):
        yield 1, 'C++ is for ' + ' and '.join(CPP_FOLDERS)
    if not src.path.endswith(('.h', '.cuh')):
        return
    guard = re.sub(r'\W', '_', src.path).upper()
    directives = [line.split() for line in src.code if line.startswith('#')]
    if directives[:2] != [['#ifndef', guard], ['#define', guard]]:
        yield 1, f'the include guard must be {guard}'


def loose_ends(src):
    for i, line in enumerate(src.lines):
        for word in LOOSE_ENDS:
            if re.search(rf'\b{word}\b', line):
                yield i + 1, f'{word}: finish it, or write an issue'
        if MACHINE_PATH.search(line) or SHARED.search(line):
            yield i + 1, 'a path of one machine'


def doc_paths(src, paths):
    """A file or folder that a page names between backticks must exist; <x> and * stand for any."""
    for i, line in enumerate(src.lines if src.path.endswith('.md') else []):
        for name in re.findall(
            r'`((?:server|engine|kernels|api|docker|tests|models|docs)/[^`\s:]*)`', line
        ):
            pattern = re.sub(r'\\?<[^>]*>|\\\*', '[^/]*', re.escape(name.rstrip('/')))
            if not any(re.match(pattern + '(/|$)', path) for path in paths):
                yield i + 1, f'there is no {name}'


def tree(root, sources, sizes_of):
    for path in sorted({src.split('/')[0] for src in sizes_of}):
        hidden = path.startswith('.') and os.path.isfile(os.path.join(root, path))
        if path not in TOP_LEVEL and not hidden:
            yield path, 1, 'tree', 'is no entry of the top folder'
    total = sum(size for path, size in sizes_of.items() if path.startswith(FIXTURES))
    if total > FIXTURES_MAX:
        yield '.', 1, 'tree', f'fixtures have {total >> 10} KiB in all; at most {FIXTURES_MAX >> 10}'
    for src in sources:
        if src.binary and not src.path.startswith(FIXTURES):
            yield src.path, 1, 'tree', 'is not text'


def clang_format():
    """The program, or None where it is missing or lays lines out differently."""
    try:
        got = subprocess.run(['clang-format', '--version'], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return 'clang-format' if f'version {CLANG_FORMAT}.' in got.stdout else None


def formatting(root, sources):
    program, files = clang_format(), [src.path for src in sources if src.is_c]
    if not program:
        print(f'SKIP the layout is not checked: it needs clang-format {CLANG_FORMAT}')
    for i in range(0, len(files) if program else 0, 40):
        command = [program, '--dry-run', '-Werror', '--ferror-limit=1', '-style=file']
        got = subprocess.run(command + files[i : i + 40], cwd=root, capture_output=True, text=True)
        for m in re.finditer(r'^(\S+?):(\d+):\d+: error: code should be', got.stderr, re.M):
            yield m.group(1), int(m.group(2)), 'format', 'run make format'


RULES = [layering, third_party, forbidden, sizes, headers]


def listing(root):
    """Files git knows or would add; every file where there is no git."""
    if os.path.exists(os.path.join(root, '.git')):
        out = subprocess.run(
            ['git', '-C', root, 'ls-files', '-z', '-co', '--exclude-standard'],
            capture_output=True,
            check=True,
        ).stdout
        names = out.decode().split('\0')
    else:
        names = [
            os.path.relpath(os.path.join(folder, name), root)
            for folder, _, files in os.walk(root)
            for name in files
        ]
        names = [n for n in names if not n.startswith(('build/', '.venv/'))]
    return sorted({n for n in names if n and os.path.isfile(os.path.join(root, n))})


def lint(root, layout=True):
    names = listing(root)
    paths = set(names)
    sources = [
        Source(root, name)
        for name in names
        if not name.startswith(('tests/data/', 'tests/fuzz/corpus/'))
    ]
    for src in sources:
        for rule in RULES if src.is_c else []:
            for line, what in rule(src):
                yield src.path, line, rule.__name__, what
        for line, what in include_paths(src, paths):
            yield src.path, line, 'include_paths', what
        for line, what in doc_paths(src, paths):
            yield src.path, line, 'doc_paths', what
        for line, what in loose_ends(src):
            yield src.path, line, 'loose_ends', what
        if not src.is_c:
            for line, what in sizes(src):
                yield src.path, line, 'sizes', what
    yield from tree(root, sources, {n: os.path.getsize(os.path.join(root, n)) for n in names})
    if layout:
        yield from formatting(root, sources)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else '.'
    found = list(lint(root))
    for path, line, rule, what in found:
        print(f'{path}:{line}: [{rule}] {what}')
    print(f'{len(found)} findings' if found else 'clean')
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
