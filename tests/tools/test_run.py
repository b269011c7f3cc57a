#!/usr/bin/env python3
"""run.py against made-up programs: what fails, crashes, hangs, leaks or skips is counted as that.

And the fuzz driver against a target with planted bugs: one is found, kept, and found again; an
input that takes more memory than its size allows is another.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, '..', '..')

OK = '[ RUN      ] a\\n[       OK ] a\\n'
SKIPPED = '[ RUN      ] b\\nSKIP no data\\n[  SKIPPED ] b\\n'
FAILED = '[ RUN      ] c\\n[  FAILED  ] c\\n'
STARTED = '[ RUN      ] d\\n'

TARGET = '''
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/base/mem.h"
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n > 3 && memcmp(p, "bu", 2) == 0 && p[2] == 'h')
        abort();
    if (n > 3 && memcmp(p, "much", 4) == 0)
        for (int i = 0; i < 100; i++)
            xfree(xmalloc(1 << 20));
    return 0;
}
'''


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()

    def tearDown(self):
        shutil.rmtree(self.folder)

    def program(self, script, name='test_x'):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write('#!/bin/bash\n' + script)
        os.chmod(path, 0o755)
        return path

    def last(self, *args):
        """Exit status and last line of the runner."""
        command = [sys.executable, os.path.join(HERE, 'run.py'), *args]
        got = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        return got.returncode, got.stdout.splitlines()[-1]

    def test_passes(self):
        path = self.program(f'printf "{OK}{OK}"')
        self.assertEqual(self.last(path), (0, '2 passed, 0 failed, 0 skipped'))

    def test_failures(self):
        for script, want in [
            (f'printf "{OK}{FAILED}"; exit 1', '1 passed, 1 failed, 0 skipped'),
            (f'printf "{OK}"; exit 1', '1 passed, 1 failed, 0 skipped'),  # a leak at exit
            (f'printf "{OK}{STARTED}"; kill -SEGV $$', '1 passed, 1 failed, 0 skipped'),
            ('exit 0', '0 passed, 1 failed, 0 skipped'),  # no test at all
            (f'printf "{OK}{STARTED}"; sleep 60 & wait', '1 passed, 1 failed, 0 skipped'),
        ]:
            with self.subTest(script=script):
                path = self.program(script)
                self.assertEqual(self.last('--timeout', '1', path), (1, want))

    def test_skips(self):
        path = self.program(f'printf "{OK}{SKIPPED}"')
        self.assertEqual(self.last(path), (0, '1 passed, 0 failed, 1 skipped'))
        silent = '[ RUN      ] b\\nSKIP no data\\n[       OK ] b\\n'  # printed SKIP and returned
        path = self.program(f'printf "{OK}{silent}"')
        self.assertEqual(self.last(path), (0, '1 passed, 0 failed, 1 skipped'))

    def test_sums(self):
        good = self.program(f'printf "{OK}"', 'test_good')
        bad = self.program(f'printf "{FAILED}"; exit 1', 'test_bad')
        check = self.program('exit(1)', 'check.py')
        skipped = self.program('print("SKIP no such tool")', 'skip.py')
        fuzz = self.program('[ "$1" = -seconds=7 ]', 'fuzz_x')
        args = ['--jobs', '2', '--check', check, '--check', skipped, '--fuzz-seconds', '7']
        self.assertEqual(self.last(*args, good, bad, fuzz), (1, '2 passed, 2 failed, 1 skipped'))

    def test_cache(self):
        """Programs, checks and all that they start leave the user's cache alone."""
        own = os.path.join(os.path.realpath(self.folder), 'build', 'cache')
        path = self.program(f'[ "$INFERD_GPU_CACHE" = "{own}" ] && printf "{OK}"')
        self.assertEqual(self.last(path), (0, '1 passed, 0 failed, 0 skipped'))

    def test_threaded(self):
        """Under the thread sanitizer too, which itself starts threads, only the program's own calls count."""
        body = 'int main(void) { CALL; puts("[ RUN      ] a\\n[       OK ] a"); return 0; }\n'
        call = 'pthread_t t; pthread_create(&t, 0, run, 0); pthread_join(t, 0)'
        head = '#include <pthread.h>\n#include <stdio.h>\nvoid *run(void *p) { return p; }\n'
        for name, code, ran in ('test_one', call, 1), ('test_none', '', 0):
            source, program = (os.path.join(self.folder, n) for n in (name + '.c', name))
            with open(source, 'w', encoding='utf-8') as f:
                f.write(head + body.replace('CALL', code))
            for flags in [], ['-fsanitize=thread']:
                subprocess.run(['cc', '-pthread', *flags, '-o', program, source], check=True)
                code, last = self.last('--threaded', program)
                self.assertEqual((code, last.split(',')[0][1:]), (0, ' passed'))
                self.assertIn(int(last[0]), {0, 1} if flags and ran else {ran})

    def test_fuzz_driver(self):
        source, program = (os.path.join(self.folder, n) for n in ('t.c', 'fuzz_t'))
        corpus = os.path.join(self.folder, 'tests', 'fuzz', 'corpus', 't')
        os.makedirs(corpus)
        os.mkdir(os.path.join(self.folder, 'build'))
        for name, text in ('a', 'xx but x'), ('b', 'bu_y'):
            with open(os.path.join(corpus, name), 'w', encoding='utf-8') as f:
                f.write(text)
        with open(source, 'w', encoding='utf-8') as f:
            f.write(TARGET)
        parts = ['tests/fuzz/driver.c', *(f'kernels/base/{x}.c' for x in ('mem', 'log', 'status', 'clock'))]
        parts = [os.path.join(ROOT, part) for part in parts]
        command = ['cc', '-O1', '-D_GNU_SOURCE', '-I', ROOT, '-o', program, source, *parts]
        subprocess.run(command, check=True)

        def run(*args):
            return subprocess.run([program, *args], cwd=self.folder, capture_output=True, text=True)

        self.assertEqual(run('-seconds=0').returncode, 0)
        got = run('-seconds=60', '-seed=1')
        self.assertNotEqual(got.returncode, 0)
        self.assertIn('seed 1', got.stdout)
        self.assertIn('build/crash-fuzz_t', got.stderr)
        self.assertNotEqual(run('-seconds=0', 'build/crash-fuzz_t').returncode, 0)
        with open(os.path.join(self.folder, 'greedy'), 'w', encoding='utf-8') as f:
            f.write('much')
        got = run('-seconds=0', 'greedy')
        self.assertNotEqual(got.returncode, 0)
        self.assertIn('an input of 4 bytes took', got.stderr)


if __name__ == '__main__':
    unittest.main()
