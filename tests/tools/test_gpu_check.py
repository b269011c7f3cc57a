#!/usr/bin/env python3
"""tests/gpu/check.py on the emulator: all of it runs, stops and goes on, and says what differs."""

import glob
import gzip
import hashlib
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
import tuning  # noqa: E402
import watch  # noqa: E402


class Dry(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()

    def tearDown(self):
        shutil.rmtree(self.top)

    def run_check(self, folder, *options):
        command = [sys.executable, 'tests/gpu/check.py', folder, '--dry', '--state', self.top + '/state']
        r = subprocess.run(command + ['--out', self.top + '/out', *options], capture_output=True, text=True)
        files = [f for f in glob.glob(self.top + '/out/*.json') if not f.endswith('-tuned.json')]
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
        for phase in 2, 3, 4, 5, 6, 7:
            self.assertIn(f'-- phase {phase}', out)
        for name in 'read_gbs', 'mma_bf16_tflops', 'lt_bf16_tflops', 'graph_gap_us', 'upload_gbs':
            self.assertGreater(result['ceil'][name]['value'], 0)
        self.assertEqual([r['format'] for r in result['weights']][:4], ['bf16', 'q8_0', 'q4_0', 'q4_k'])
        for row in result['weights']:
            self.assertAlmostEqual(row['share'], row['gbs'] / row['bound'], delta=0.01 * row['share'] + 1e-4)
        self.assertIn('80% wanted', result['checks']['loading']['text'])
        self.assertEqual(sorted(result['self_check']), ['q4_0', 'q8_0'])
        for t in result['self_check'].values():
            self.assertTrue(t['ms'] >= t['cpu_ms'] and t['results'] > 20, t)
        self.assertIn('less than 300 wanted', result['checks']['self-check']['text'])
        self.assertTrue(all(c['ok'] for c in result['checks'].values()))
        self.assertEqual([r['case'] for r in result['rows']], ['decode', 'decode', 'prefill', 'decode'])
        self.assertEqual([r['config'] for r in result['rows']], ['tuned'] * 3 + ['untuned'])
        for row in result['rows']:
            self.assertTrue(0 < row['lo'] <= row['us'] <= row['hi'] and row['bound'] > 0, row)
            self.assertAlmostEqual(row['share'], row['tok_s'] / row['bound'], 2)
        self.assertEqual([r['streams'] for r in result['server']], [1, 2])
        self.assertFalse(any(r['errors'] for r in result['server']))
        self.assertIn('decode 2 x 40', out)
        self.check_tuning(result)
        self.assertEqual(result['compared'], {'with': None, 'rows': []})
        code, out, again = self.run_check(FOLDER, '--keep', self.top + '/kept')  # nothing is left to do
        self.assertEqual((code, again['rows']), (0, result['rows']), out)

    def check_tuning(self, result):
        """One matrix was measured; its configuration was used by what came after, and is kept."""
        (run,) = result['tuning']['runs']
        self.assertEqual((run['model'], run['format'], run['failed'], run['complete']), ('small', 'q4_0', None, False))
        self.assertEqual((run['matrices'], run['shapes'], run['wrong']), (1, 4, 0))
        self.assertGreater(run['ceilings']['read_gbs']['measured'], 0)
        self.assertEqual(result['tuning']['provenance']['kind'], 'measured')
        self.assertIn('read_gbs', result['tuning']['provenance']['ceilings'])
        (made,) = glob.glob(self.top + '/out/*-tuned.json.timings.jsonl.gz')
        self.assertLessEqual(len(os.listdir(self.top + '/out')), 8)
        with gzip.open(made) as f:
            sha = hashlib.sha256(f.read()).hexdigest()
        self.assertEqual(sha, result['tuning']['provenance']['raw_sha256'])

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
        self.assertIn('FAIL wrappers: 26 of 26 cases, 1 differ from the emulator; ldmatrix_x2: 1 of 64 words', out)

    def test_a_phase_that_fails_costs_no_other(self):
        """Programs are missing: each phase says so, the next goes on, and the state is kept elsewhere."""
        folder = os.path.join(self.top, 'gpu')
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns('state', 'out', 'inferd', 'wrappers.txt'))
        command = ['--phases', '0,3,5,6', '--keep', self.top + '/kept']
        with open(folder + '/wrappers.txt', 'w', encoding='utf-8') as f:
            f.write('x bits 1\n')
        code, out, result = self.run_check(folder, *command)
        self.assertEqual(code, 1)
        for phase in 0, 3, 5, 6:
            self.assertIn(f'-- phase {phase}:', out)
        self.assertFalse(result['checks']['tune small q4_0']['ok'])
        self.assertIn('inferd', result['checks']['phase 5']['text'])
        self.assertEqual(os.listdir(self.top + '/kept'), ['state.tgz'])
        shutil.rmtree(self.top + '/state')  # the machine is gone; on the next one the archive is all there is
        os.mkdir(self.top + '/state')
        shutil.copy(self.top + '/kept/state.tgz', self.top + '/state')
        code, out, _ = self.run_check(folder, *command)
        self.assertNotIn('-- phase 6:', out)
        with open(self.top + '/state/state.json', encoding='utf-8') as f:
            self.assertIn('6', json.load(f)['done'])

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

    def test_goals(self):
        """An H200's are figures; an H100's the same shares of the bound that its own ceilings give."""
        row = {'model': 'llama-3.1-8b', 'case': 'decode', 'format': 'bf16', 'kv': 'bf16', 'batch': 1, 'context': 2176}
        row['bound'] = 562
        self.assertEqual(report.goal_of(row, 'NVIDIA H200'), (225, 253, 265))
        self.assertEqual(report.goal_of(row, 'NVIDIA H100 80GB HBM3'), (450, 506, 530))
        row.update(case='prefill', rows=2048, bound=100)
        self.assertAlmostEqual(report.goal_of(row, 'NVIDIA H100 80GB HBM3')[1], 100 * 38.4 / 46)
        self.assertAlmostEqual(report.goal_of(row, 'NVIDIA H200')[1], 2048 / 0.046)
        self.assertIsNone(report.goal_of(row, 'NVIDIA L4'))
        steps = [dict(row, case='decode', rows=1, us=9, tok_s=t, throttled=slow) for t, slow in ((226, None), (224, None), (3, ['heat']))]
        self.assertEqual(report.gate(steps, 'NVIDIA H200'), {
            'ok': False, 'text': '1 of 2 steps reach the least: bf16 x 1: 224 of 225 tokens/s are below'})
        self.assertIsNone(report.gate(steps, 'NVIDIA L4'))

    def test_comparison(self):
        """3 % and more, in either direction; what was slowed down is no regression."""
        row = {'case': 'decode', 'model': 'm', 'format': 'f', 'kv': 'bf16', 'batch': 1, 'context': 2, 'rows': 1}
        row['throttled'] = None
        ceil = {'read_gbs': {'value': 100}, 'graph_gap_us': {'value': 2}}
        last = {'ceil': ceil, 'rows': [dict(row, tok_s=100), dict(row, tok_s=50, batch=8)], 'server': []}
        now = {'ceil': {'read_gbs': {'value': 98}, 'graph_gap_us': {'value': 1.5}},
               'rows': [dict(row, tok_s=96), dict(row, tok_s=60, batch=8), dict(row, tok_s=1, batch=64)], 'server': []}
        found = {d['name']: (d['speed'], d['slower']) for d in report.differences(now, last)}
        self.assertEqual(found, {'ceiling graph_gap_us': (1.3333, False), 'm f bf16 decode 1 x 2': (0.96, True),
                                 'm f bf16 decode 8 x 2': (1.2, False)})
        top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, top)
        for name, date, dry, device in (('a', '1', False, 'X'), ('b', '2', False, 'X'), ('c', '3', True, 'X'), ('d', '4', False, 'Y')):
            with open(f'{top}/{name}.json', 'w', encoding='utf-8') as f:
                json.dump({'env': {'date': date, 'dry': dry, 'device': {'name': device}}}, f)
        self.assertEqual(report.last_file(top, top + '/b.json', 'X'), top + '/a.json')
        self.assertEqual(report.last_file(top, top + '/x.json', 'X'), top + '/b.json')
        self.assertIsNone(report.last_file(top, '', 'Z'))

    def test_what_tuning_says(self):
        said = ('copy_gbs              4321 measured,       4301 configured, x 1.005\n'
                '5 of 7 matrices, 70 shapes: 12 have a faster launch; 3 launches were wrong, 4 rounds were dropped\n'
                'speed after / before: 1.034 in the mean, 0.998 at least\n'
                'cost model: 4 kernels fitted, 6.1 % off in the median\n'
                'foresight: 32 rows, by a fit to all other numbers of rows: 8.4 % off\n'
                'crossover 4    mma8 to 256 rows, was 192\n')
        f = tuning.figures(said)
        self.assertEqual(f['ceilings'], {'copy_gbs': {'measured': 4321, 'configured': 4301}})
        want = {'matrices': 5, 'of': 7, 'shapes': 70, 'changed': 12, 'wrong': 3, 'dropped': 4, 'gain': 1.034, 'worst': 0.998,
                'model_off_pct': 6.1, 'unseen_rows': 32, 'foresight_pct': 8.4, 'complete': True}
        self.assertEqual(f.pop('crossovers'), [{'class': '4', 'path': 'mma8', 'rows': 256, 'was': 192}])
        self.assertEqual({k: v for k, v in f.items() if k != 'ceilings'}, want)
        self.assertFalse(tuning.figures(said + 'the time was over before all were measured')['complete'])

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
