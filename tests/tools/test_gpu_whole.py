#!/usr/bin/env python3
"""tests/gpu/check.py as it runs on a machine with an H100, every phase and not as a dry run: the programs, nvidia-smi and ncu
are stand-ins (fake_gpu.py), so that what no machine without a GPU reaches is tried too: samples of clocks, counters, where
cuBLASLt lies, goals, the GPU's own files, the comparison with the last result, time that is up."""

import contextlib
import glob
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'gpu'))
import check  # noqa: E402

PROGRAMS = ['gpu_wrappers', 'gpu_ceilings', 'gpu_load', 'gpu_step', 'inferd', 'tests/test_one', 'tests/test_two']
# A driver that does not know one of the fields; samples are as on a GPU that is not slowed down.
SMI = r'''#!/bin/sh
for a in "$@"; do case $a in --query-gpu=*) fields=${a#*=};; -lms) often=1;; esac; done
case $fields in *mig.mode*) echo "Field \"mig.mode.current\" is not a valid field to query."; exit 2;; esac
values() {
    IFS=, sep=
    for f in $fields; do
        case $f in name) v="NVIDIA H100 80GB HBM3";; uuid) v=GPU-1;; clocks_event*) v=0x0;; clocks*) v=1980;; *) v=580.65;; esac
        printf '%s%s' "$sep" "$v"; sep=', '
    done
    echo
}
while values && [ "$often" ]; do sleep 0.1; done
'''
SMALLER = {
    'SHARE': {**check.SHARE, 5: 2}, 'MODELS': {'llama-3.1-8b': ['bf16', 'q4_0', 'f8_e4m3']}, 'CHECKED': ['bf16', 'q4_k'],
    'SERVER': [('llama-3.1-8b', 'bf16')], 'WORKLOADS': ((8, 4),), 'STREAMS': (1, 2),
}


class Whole(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)
        for folder in 'gpu/tests', 'bin', 'toolkit':
            os.makedirs(f'{self.top}/{folder}')
        for name in PROGRAMS:
            shutil.copy(os.path.join(HERE, 'fake_gpu.py'), f'{self.top}/gpu/{name}')
        shutil.copy(os.path.join(HERE, 'fake_gpu.py'), f'{self.top}/bin/ncu')
        self.write('bin/nvidia-smi', SMI)
        os.chmod(f'{self.top}/bin/nvidia-smi', 0o755)
        self.write('gpu/wrappers.txt', 'one bits 1 2\ntwo near 3f800000\n')
        self.write('toolkit/libcublasLt.so.13', '')

    def write(self, name, text):
        with open(f'{self.top}/{name}', 'w', encoding='utf-8') as f:
            f.write(text)

    def run_check(self, *options, speed='1', last='nowhere'):
        """Exit status, what was printed."""
        argv = ['check.py', f'{self.top}/gpu', '--state', f'{self.top}/state', '--out', f'{self.top}/out',
                '--keep', f'{self.top}/out', '--last', f'{self.top}/{last}', *options]
        env = {'PATH': f'{self.top}/bin{os.pathsep}{os.environ["PATH"]}', 'FAKE_SPEED': speed}
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.multiple(check, TOOLKITS=[f'{self.top}/tool*'], **SMALLER))
            stack.enter_context(mock.patch.object(sys, 'argv', argv))
            stack.enter_context(mock.patch.dict(os.environ, env))
            stack.enter_context(mock.patch.object(check.tuning, 'RUNS', check.tuning.RUNS[:2]))
            out = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            return check.main(), out.getvalue()

    def result(self):
        (path,) = [p for p in glob.glob(f'{self.top}/out/h100-80gb-hbm3-*.json') if not p.endswith('-tuned.json')]
        with open(path, encoding='utf-8') as f:
            return json.load(f)

    def test_whole(self):
        code, out = self.run_check()
        result = self.result()
        wrong = {k: v for k, v in result['checks'].items() if not v['ok'] and k != 'PyTorch'}
        self.assertEqual(wrong, {}, out)
        self.check_facts(result)
        self.check_steps(result, out)
        self.assertEqual([r['streams'] for r in result['server']], [1, 2])
        self.assertTrue(all(r['tok_s'] and not r['errors'] for r in result['server']), result['server'])
        self.assertEqual(len(result['ncu']['captures']), 3, result['ncu'])
        self.assertEqual(result['self_check']['q4_k'], {'ms': 41, 'cpu_ms': 9, 'results': 23})
        self.assertIn('cp ', out)
        self.assertIn('kernels/configs/h100-sxm.json', out)
        self.check_files()
        self.check_what_follows()

    def check_facts(self, result):
        env = result['env']
        self.assertEqual((env['smi']['name'], env['device']['cc'], env['dry']), ('NVIDIA H100 80GB HBM3', '9.0', False))
        self.assertNotIn('mig.mode.current', env['smi'])
        self.assertTrue(env['cublaslt'].endswith('toolkit/libcublasLt.so.13'))
        self.assertEqual(list(env['boards']), ['GPU-1'])
        self.assertEqual(result['ceil_clocks']['sm_mhz'], 1980)
        self.assertNotIn('throttled', result['ceil_clocks'])

    def check_steps(self, result, out):
        self.assertEqual(len(result['rows']), 3 * (12 + 7) + 2 * (2 + 2))
        for row in result['rows']:
            if 'skip' not in row:
                self.assertAlmostEqual(row['share'], 0.9, delta=0.01, msg=row)
        self.assertEqual(sum(row.get('skip') is not None for row in result['rows']), 3)
        self.assertIn('goal reached', out)
        self.assertEqual(result['checks']['gate']['text'], '12 of 12 steps reach the least')
        self.assertIn('keys and values do not fit', out)

    def check_files(self):
        """Six at most, and each is what it says."""
        self.assertLessEqual(len(os.listdir(f'{self.top}/out')), 6)
        with open(f'{self.top}/out/wrappers-90.txt', encoding='utf-8') as f:
            self.assertEqual(f.read(), 'one bits 1 2\ntwo near 3f800000\n')
        (raw,) = glob.glob(f'{self.top}/out/*.timings.jsonl.gz')
        with gzip.open(raw) as f:
            self.assertEqual(f.read(), b'{"us": 1}\n')

    def check_what_follows(self):
        """A slower run is compared with this one; what fails stands last, where a short end of the output shows it."""
        os.makedirs(f'{self.top}/last')
        for path in glob.glob(f'{self.top}/out/h100*'):
            shutil.move(path, f'{self.top}/last/0-' + os.path.basename(path))
        code, out = self.run_check('--fresh', '--phases', '0,1', speed='0.9', last='last')
        self.assertEqual(code, 1)
        self.assertIn('SLOWER x 0.900 ceiling read_gbs', out)
        self.assertIn('FAIL against the last', out.splitlines()[-1])
        code, out = self.run_check('--fresh', '--seconds', '0', last='last')
        self.assertEqual(code, 1)
        self.assertIn('the time is up before phase 0', out)


if __name__ == '__main__':
    ran = unittest.main(exit=False).result
    print(f'{ran.testsRun} tests')
    sys.exit(not ran.wasSuccessful())
