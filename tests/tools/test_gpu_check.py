#!/usr/bin/env python3
"""tests/gpu/check.py on the emulator: all of it runs, stops and goes on, and says what differs."""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = 'build/gpu-dry'  # of `make gpu-dry`
sys.path.insert(0, os.path.join(HERE, '..', 'gpu'))
import check  # noqa: E402
import report  # noqa: E402
import watch  # noqa: E402


class Dry(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()

    def tearDown(self):
        shutil.rmtree(self.top)

    def run_check(self, folder, *options):
        command = [sys.executable, 'tests/gpu/check.py', folder, '--dry', '--state', self.top + '/state']
        r = subprocess.run(command + ['--out', self.top + '/out', *options], capture_output=True, text=True)
        files = glob.glob(self.top + '/out/*.json')
        self.assertEqual(len(files), 1, r.stderr)
        with open(files[0], encoding='utf-8') as f:
            return r.returncode, r.stdout, json.load(f)

    def test_stops_and_goes_on(self):
        code, out, result = self.run_check(FOLDER, '--phases', '0,1')
        self.assertEqual((code, result['rows']), (0, []), out)
        self.assertEqual(result['env']['device']['cc'], '8.9')
        code, out, result = self.run_check(FOLDER)
        self.assertEqual(code, 0, out)
        self.assertNotIn('-- phase 1', out)
        for phase in 2, 4, 5, 6:
            self.assertIn(f'-- phase {phase}', out)
        for name in 'read_gbs', 'mma_bf16_tflops', 'lt_bf16_tflops', 'graph_gap_us', 'upload_gbs':
            self.assertGreater(result['ceil'][name]['value'], 0)
        self.assertTrue(all(c['ok'] for c in result['checks'].values()))
        self.assertEqual([r['case'] for r in result['rows']], ['decode', 'decode', 'prefill'])
        for row in result['rows']:
            self.assertTrue(0 < row['lo'] <= row['us'] <= row['hi'] and row['bound'] > 0, row)
            self.assertAlmostEqual(row['share'], row['tok_s'] / row['bound'], 2)
        self.assertEqual([r['streams'] for r in result['server']], [1, 2])
        self.assertFalse(any(r['errors'] for r in result['server']))
        self.assertIn('decode 2 x 40', out)

    def test_names_what_differs(self):
        folder = os.path.join(self.top, 'gpu')
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns('state', 'out', 'tests', 'inferd'))
        with open(folder + '/wrappers.txt', encoding='utf-8') as f:
            lines = f.read().splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith('ldmatrix_x2 '))
        lines[at] = lines[at].rsplit(' ', 1)[0] + ' 123'
        with open(folder + '/wrappers.txt', 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines))
        code, out, _ = self.run_check(folder, '--phases', '0')
        self.assertEqual(code, 1)
        self.assertIn('FAIL wrappers: 25 of 25 cases, 1 differ from the emulator; ldmatrix_x2: 1 of 64 words', out)

    def test_as_on_gpus(self):
        """What GPUs gave, where one has run."""
        golden = glob.glob('tests/data/gpu/wrappers-*.txt')
        if not golden:
            print('SKIP no GPU has run the wrappers yet')
        r = subprocess.run([FOLDER + '/gpu_wrappers'], capture_output=True, text=True)
        ours = check.wrapper_lines(r.stdout)
        for path in golden:
            with open(path, encoding='utf-8') as f:
                self.assertEqual(list(check.differences(ours, check.wrapper_lines(f.read()))), [], path)


class Arithmetic(unittest.TestCase):
    def test_differences(self):
        want = {'a': ('bits', ['1', '2']), 'b': ('near', ['3f800000', '40000000'])}
        for change, found in (
            ({}, []),
            ({'a': ('bits', ['1', '3'])}, ['a']),
            ({'a': ('bits', ['1'])}, ['a']),
            ({'b': ('near', ['3f800001', '40000000'])}, []),
            ({'b': ('near', ['3f801001', '40000000'])}, ['b']),
            ({'b': ('near', ['7fc00000', '40000000'])}, ['b']),
        ):
            got = [n for n, _ in check.differences({**want, **change}, want)]
            self.assertEqual(got, found, change)
        self.assertEqual([n for n, _ in check.differences({}, want)], ['a', 'b'])

    def test_bound(self):
        """bf16, 1 and 64 sequences with 2176 tokens on an H200: 281 and 8273 tokens a second."""
        ceil = {'read_gbs': {'value': 4300}, 'lt_bf16_tflops': {'value': 790}}
        for batch, want in (1, 281), (64, 8273):
            row = {'format': 'bf16', 'weight_bytes': 15.01e9, 'kv_bytes': batch * 2176 * 131072,
                   'linear_flops': batch * 15.0e9, 'attention_flops': 0}
            self.assertAlmostEqual(batch * 1e6 / report.bound_us(row, ceil), want, delta=0.01 * want)

    def test_clocks(self):
        fine, capped = watch.parse('1980, 3201, 650.5, 55, 0x0'), watch.parse('1500, 3201, 700, 60, 0x4')
        self.assertNotIn('throttled', watch.summary([fine]))
        self.assertEqual(watch.summary([fine, capped])['throttled'], ['power cap'])
        self.assertIsNone(watch.parse('[N/A], 3201, 1, 2, 0x0'))


if __name__ == '__main__':
    if not os.path.exists(FOLDER + '/wrappers.txt'):
        print('SKIP gpu-check is not tried: its programs need the CUDA headers')
        sys.exit(0)
    ran = unittest.main(exit=False).result
    print(f'{ran.testsRun} tests')
    sys.exit(not ran.wasSuccessful())
