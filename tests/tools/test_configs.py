#!/usr/bin/env python3
"""Lints kernels/configs: what the files say together, and that the build refuses a broken one.

What each file must hold by itself is kernels/gpu/check.c's, tested in tests/kernels/test_gpu_config.c.
"""

import glob
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, 'kernels', 'configs')
EMBED = os.path.join(ROOT, 'build', 'embed')
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
import generate  # noqa: E402


def read(name):
    with open(os.path.join(FOLDER, name), encoding='utf-8') as f:
        return json.load(f)


CONFIGS = {
    f[:-5]: read(f) for f in sorted(os.listdir(FOLDER)) if f.endswith('.json') and f != 'gpus.json'
}
TABLE = read('gpus.json')


def timings():
    """SHA-256 of the raw timings that are committed."""
    found = {}
    for path in glob.glob(os.path.join(ROOT, 'docs', 'measurements', '*.timings.jsonl*')):
        with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as f:
            found[hashlib.sha256(f.read()).hexdigest()] = path
    return found


class Files(unittest.TestCase):
    def test_derived_files_regenerate_bit_for_bit(self):
        made = generate.make_all()
        self.assertGreater(len(made), 30)
        for path, text in made.items():
            with open(path, encoding='utf-8') as f:
                self.assertEqual(f.read(), text, path)

    def test_every_slug_has_a_file_and_every_file_a_reason(self):
        slugs = {g['slug'] for g in TABLE['gpus']}
        self.assertEqual(len(slugs), len(TABLE['gpus']))
        self.assertEqual(slugs - set(CONFIGS), set())
        others = set(CONFIGS) - slugs
        self.assertEqual({o for o in others if not o.startswith('family-')}, {'generic'})

    def test_an_id_belongs_to_one_gpu(self):
        """Or to several that differ in memory, capability or multiprocessors."""
        owners = {}
        for name, c in CONFIGS.items():
            for pci in c['match'].get('pci', []):
                owners.setdefault(pci, []).append(name)
        for pci, names in owners.items():
            for i, a in enumerate(names):
                for b in names[i + 1 :]:
                    x, y = CONFIGS[a]['match'], CONFIGS[b]['match']
                    apart = x['mem_gib'][1] < y['mem_gib'][0] or y['mem_gib'][1] < x['mem_gib'][0]
                    self.assertTrue(apart or x['sm'] != y['sm'], f'{pci}: {a} and {b}')

    def test_near_parts_are_named_once_and_have_no_config(self):
        own = {p for c in CONFIGS.values() for p in c['match'].get('pci', [])}
        kin = [p for c in CONFIGS.values() for p in c['match'].get('kin', [])]
        self.assertEqual(len(kin), len(set(kin)))
        self.assertEqual(own & set(kin), set())
        self.assertEqual(len(kin), len(TABLE['kin']))

    def test_parents_exist_and_serve_the_capability(self):
        for name, c in CONFIGS.items():
            if c['provenance']['kind'] == 'derived':
                parent = CONFIGS[c['provenance']['parent']]
                self.assertLessEqual(set(c['match']['cc']), set(parent['match']['cc']), name)
                self.assertEqual(c['eff'], parent['eff'], name)

    def test_one_family_a_capability(self):
        served = [cc for n, c in CONFIGS.items() if n.startswith('family-') for cc in c['match']['cc']]
        self.assertEqual(len(served), len(set(served)))
        supported = {g['cc'] for g in TABLE['gpus'] if 'unsupported' not in g}
        self.assertLessEqual(supported, set(served))

    def test_what_says_measured_can_show_it(self):
        for name, c in CONFIGS.items():
            p = c['provenance']
            if p['kind'] == 'measured':
                self.assertRegex(p.get('raw_sha256', ''), '^[0-9a-f]{64}$', name)
                self.assertRegex(p.get('date', ''), r'^\d{4}-\d\d-\d\d$', name)
                self.assertIn(p['raw_sha256'], timings(), f'{name}: its raw timings are not in docs/measurements')
            else:
                self.assertNotIn('raw_sha256', p, name)
                self.assertEqual(c.get('gemm', []) + c.get('attn', []), [], name)

    def test_rates_of_the_table_are_whole_operations_a_clock(self):
        """Multiprocessors x clock x a power of two; a mistyped rate would not be."""
        for g in TABLE['gpus']:
            if g.get('unsure'):
                continue
            ops = g['half'] * 1e12 / (g['sm'] * g['mhz'] * 1e6)
            nearest = 2 ** round(math.log2(ops))
            self.assertLess(abs(ops / nearest - 1), 0.02, g['slug'])

    def test_ceilings_are_below_the_sheet(self):
        for g in TABLE['gpus']:
            c = CONFIGS[g['slug']].get('ceil')
            if c:
                self.assertLess(c['read_gbs'], g['bw_gbs'], g['slug'])
                self.assertLessEqual(c['mma_bf16_tflops'], c['bf16_tflops'], g['slug'])
                self.assertLess(c['bf16_tflops'], g['half'], g['slug'])


class Build(unittest.TestCase):
    """build/embed, which every build runs, refuses by name."""

    def setUp(self):
        if not os.path.exists(EMBED):
            self.skipTest('build/embed is not built')
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def embed(self, config, name='x.json'):
        path, out = os.path.join(self.folder, name), os.path.join(self.folder, 'out.c')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)
        r = subprocess.run([EMBED, out, path], capture_output=True, text=True)
        return r.returncode, r.stderr, os.path.exists(out)

    def test_takes_a_good_one(self):
        self.assertEqual(self.embed(CONFIGS['l4'], 'l4.json'), (0, '', True))

    def test_refuses_what_only_claims_to_be_measured(self):
        bad = json.loads(json.dumps(CONFIGS['l4']))
        bad['provenance'] = {'kind': 'measured', 'date': '2026-11-21'}
        code, said, made = self.embed(bad, 'l4.json')
        self.assertEqual((code, made), (1, False))
        self.assertTrue(re.search(r'l4\.json: .*raw_sha256', said), said)

    def test_refuses_another_name(self):
        code, said, _ = self.embed(CONFIGS['l4'], 'l5.json')
        self.assertEqual(code, 1)
        self.assertIn('"l4" is not the file\'s name', said)

    def test_refuses_a_choice_the_gpu_cannot_run(self):
        bad = json.loads(json.dumps(CONFIGS['t4']))
        bad['provenance'] = {
            'kind': 'measured',
            'date': '2026-11-21',
            'raw_sha256': '0' * 64,
            'driver': '580.1',
            'tool': 'tune',
            'cuda': 13000,
            'kernel_abi': '0' * 16,
        }
        params = {'nt': 8, 'r': 2, 'stages': 4, 'splits': 1}
        shape = {'w': 'bf16', 'n': 64, 'k': 64, 'm': 64, 'path': 'skinny', 'p': params}
        bad['gemm'] = [{**shape, 'us': 1, 'base_us': 2, 'ci_pct': 1}]
        code, said, _ = self.embed(bad, 't4.json')
        self.assertEqual(code, 1)
        self.assertIn('stages', said)


if __name__ == '__main__':
    unittest.main()
