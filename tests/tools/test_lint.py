#!/usr/bin/env python3
"""Plants each kind of violation in a small clean tree; lint.py must find it, and only it."""

import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import lint  # noqa: E402

CLEAN = {
    'Makefile': 'all:\n',
    'kernels/base/mem.h': '''/* mem.h - memory. */
#ifndef KERNELS_BASE_MEM_H
#define KERNELS_BASE_MEM_H

void *xmalloc(unsigned long n);

#endif
''',
    'kernels/base/mem.c': '''/* mem.c - memory; malloc( in a comment and "malloc(" in a string are fine. */
#include "kernels/base/mem.h"

#include <stdlib.h>

void *xmalloc(unsigned long n)
{
    return malloc(n);
}
''',
    'engine/engine.h': '''/* engine.h - words. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "kernels/base/mem.h"

#endif
''',
}


def header(path, body):
    guard = path.replace('/', '_').replace('.', '_').upper()
    return f'/* A header. */\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n'


def source(body):
    return f'/* A source. */\n{body}'


class Lint(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        shutil.copy(os.path.join(HERE, '..', '..', '.clang-format'), self.root)
        self.put(CLEAN)

    def tearDown(self):
        shutil.rmtree(self.root)

    def put(self, files):
        for path, text in files.items():
            full = os.path.join(self.root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, 'w', encoding='utf-8') as f:
                f.write(text)

    def findings(self):
        return [(path, rule) for path, _, rule, _ in lint.lint(self.root, layout=False)]

    def finds(self, rule, path, text):
        """Exactly this rule speaks of exactly this file; the file is gone afterwards."""
        self.put({path: text})
        found = set(self.findings())
        os.remove(os.path.join(self.root, path))
        self.assertEqual(found, {(path, rule)}, text)

    def accepts(self, path, text):
        self.put({path: text})
        found = self.findings()
        os.remove(os.path.join(self.root, path))
        self.assertEqual(found, [], text)

    def test_clean_tree(self):
        self.assertEqual(self.findings(), [])

    def test_include_upward(self):
        for path, name in [
            ('kernels/base/buf.c', 'kernels/ops.h'),
            ('kernels/dtype.c', 'engine/engine.h'),
            ('engine/text/bpe.c', 'api/api.h'),
            ('api/chat.c', 'server/http.h'),
            ('api/chat.c', 'engine/run/job.h'),
            ('api/chat.c', 'kernels/ops.h'),
            ('server/http.c', 'kernels/ops.h'),
        ]:
            with self.subTest(path=path, name=name):
                self.put({name: header(name, '')})
                self.finds('layering', path, source(f'#include "{name}"\n'))
                if name not in CLEAN:
                    os.remove(os.path.join(self.root, name))

    def test_include_upward_inside_engine(self):
        order = [
            'engine/text/a',
            'engine/load/b',
            'engine/run/c',
            'engine/tasks/d',
            'engine/recipes',
        ]
        self.put({p + '.h': header(p + '.h', '') for p in order})
        for i, low in enumerate(order):
            for high in order[i + 1 :]:
                with self.subTest(low=low, high=high):
                    self.finds('layering', low + '_x.c', source(f'#include "{high}.h"\n'))
                    self.accepts(low + '_x.c', source('#include "engine/engine.h"\n'))
                    self.accepts(high + '_x.c', source(f'#include "{low}.h"\n'))

    def test_backend_is_private(self):
        self.put({'kernels/cpu/pool.h': header('kernels/cpu/pool.h', '')})
        self.finds('layering', 'engine/run/worker.c', source('#include "kernels/cpu/pool.h"\n'))
        self.accepts('kernels/backend.c', source('#include "kernels/cpu/pool.h"\n'))

    def test_include_path(self):
        self.finds('include_paths', 'engine/text/a.c', source('#include "engine/text/none.h"\n'))

    def test_own_header_first(self):
        self.put({'engine/text/a.h': header('engine/text/a.h', '')})
        self.finds(
            'include_paths',
            'engine/text/a.c',
            source('#include <stdlib.h>\n#include "engine/text/a.h"\n'),
        )

    def test_third_party(self):
        for name, path in [
            ('cjson/cJSON.h', 'engine/load/a.c'),
            ('cjson/cJSON.h', 'kernels/base/buf.c'),
            ('microhttpd.h', 'server/watch.c'),
            ('pcre2.h', 'api/a.c'),
            ('cuda_runtime.h', 'kernels/cpu/a.c'),
            ('cublasLt.h', 'engine/run/a.c'),
            ('cmocka.h', 'engine/run/b.c'),
        ]:
            with self.subTest(name=name, path=path):
                self.finds('third_party', path, source(f'#include <{name}>\n'))
        self.accepts('api/a.c', source('#include <cjson/cJSON.h>\n'))
        self.finds('third_party', 'api/a.h', header('api/a.h', '#include <cjson/cJSON.h>\n'))

    def test_forbidden_calls(self):
        for call in [
            'getenv("X")',
            'printf("x")',
            'malloc(1)',
            'free(p)',
            'exit(1)',
            'strcpy(p, q)',
            'abort()',
            'sprintf(p, "x")',
            'atoi(p)',
            'strdup(p)',
            'assert(p)',
            'fputs(p, stderr)',
        ]:
            with self.subTest(call=call):
                self.finds(
                    'forbidden', 'engine/run/a.c', source(f'void f(void)\n{{\n    {call};\n}}\n')
                )
        self.finds('forbidden', 'engine/run/a.c', source('typedef struct job job;\n'))
        self.accepts(
            'engine/run/a.c',
            source(
                'void f(void)\n{\n    /* printf(x) */\n    log_info("exit(1)");\n    x->free(p);\n    xfree(p);\n}\n'
            ),
        )

    def test_sizes(self):
        def function(n):
            return source('int f(void)\n{\n' + '    g();\n' * (n - 3) + '}\n')

        self.accepts('engine/run/a.c', function(120))
        self.finds('sizes', 'engine/run/a.c', function(121))
        self.accepts('engine/models/a.c', function(200))
        self.finds('sizes', 'engine/models/a.c', function(201))
        self.accepts('api/a.c', source('int x;\n' * 999))
        self.finds('sizes', 'api/a.c', source('int x;\n' * 1000))

    def test_parameters(self):
        self.accepts(
            'api/a.c',
            source(
                'int f(int a, int (*b)(int, int, int), int c, int d, int e, int g)\n{\n    return a;\n}\n'
            ),
        )
        self.finds(
            'sizes',
            'api/a.c',
            source(
                'static int f(int a, int b, int c, int d, int e, int g, int h)\n{\n    return a;\n}\n'
            ),
        )

    def test_body_in_header(self):
        self.finds(
            'sizes',
            'api/a.h',
            header('api/a.h', 'static inline int f(void)\n{\n' + '    g();\n' * 6 + '}\n'),
        )

    def test_if_in_function(self):
        self.finds('sizes', 'api/a.c', source('int f(void)\n{\n#if X\n    g();\n#endif\n}\n'))

    def test_guard_and_head(self):
        self.finds('headers', 'api/a.h', header('api/b.h', ''))
        self.finds('headers', 'api/a.c', 'int x;\n')

    def test_loose_ends(self):
        for text in [
            '/* ' + 'TO' + 'DO: later */\n',
            '/* see ' + '/wo' + 'rk/main */\n',
            '/* ' + '/ro' + 'ot/.cache */\n',
            '/* ../sha' + 'red/design */\n',
        ]:
            with self.subTest(text=text):
                self.finds('loose_ends', 'api/a.c', source(text))
        self.accepts('api/a.c', source('/* ../shared/data/models, docs/work/x */\n'))

    def test_long_line(self):
        self.accepts('api/a.c', source('/* ' + 'x' * 94 + ' */\n'))
        self.finds('sizes', 'api/a.c', source('/* ' + 'x' * 95 + ' */\n'))
        table = '/* clang-format off */\nint t[] = {%s};\n/* clang-format on */\n' % (' ' * 200)
        self.accepts('api/a.c', source(table))
        self.finds('sizes', 'api/a.c', source(table + '/* ' + 'x' * 95 + ' */\n'))

    def test_doc_paths(self):
        self.accepts(
            'README.md', '`kernels/base/mem.c` `kernels/base/` `engine/<x>.h` `make run`\n'
        )
        self.finds('doc_paths', 'README.md', 'see `kernels/base/none.c`\n')
        self.finds('doc_paths', 'README.md', 'see `api/<x>.c`\n')

    def test_tree(self):
        self.finds('tree', 'notes.md', 'x\n')
        self.finds('tree', 'models/weights.bin', 'a\0b')
        self.accepts('.editorconfig', 'x\n')

    def test_format(self):
        found = list(lint.lint(self.root))
        if lint.clang_format() is None:
            self.skipTest('no clang-format of the version that counts')
        self.assertEqual(found, [])
        self.put({'api/a.c': source('int   x;\n')})
        self.assertEqual([f[:3] for f in lint.lint(self.root)], [('api/a.c', 2, 'format')])


if __name__ == '__main__':
    unittest.main()
