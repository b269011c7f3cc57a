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

    def test_parents_are_of_the_family_and_not_derived(self):
        families = {cc: c for n, c in CONFIGS.items() if n.startswith('family-') for cc in c['match']['cc']}
        for name, c in CONFIGS.items():
            if c['provenance']['kind'] == 'derived':
                parent, family = CONFIGS[c['provenance']['parent']], families[c['match']['cc'][0]]
                self.assertIs(families[parent['match']['cc'][0]], family, name)
                self.assertEqual(parent['provenance']['kind'], 'hand' if parent is family else 'measured', name)
                self.assertEqual(c['eff'], {**family['eff'], **parent['eff']}, name)

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


def embed(folder, *paths):
    """Exit status of build/embed, what it says, whether it made its file."""
    out = os.path.join(folder, 'out.c')
    r = subprocess.run([EMBED, out, *paths], capture_output=True, text=True)
    return r.returncode, r.stderr, os.path.exists(out)


def as_measured(config):
    """As `inferd tune` would write it on a GPU with 9/10 of the memory's rate, 4/5 of the tensor cores' and
    other kernels than those that were taken for granted."""
    c = json.loads(json.dumps(config))
    c['ceil'].update(read_gbs=c['ceil']['read_gbs'] * 0.9, bf16_tflops=c['ceil']['bf16_tflops'] * 0.8, pdl_gap_us=0.75)
    c['eff']['skinny_4']['bw'] = 0.625
    c['cross']['attn_dec'] = {'chunk_tokens': 256, 'max_parts': 16}
    c['provenance'] = {
        'kind': 'measured',
        'date': '2026-11-22',
        'tool': 'inferd tune',
        'driver': '580.95.05',
        'raw_sha256': 'ab' * 32,
        'kernel_abi': '0' * 16,
        'ceilings': 'read_gbs bf16_tflops pdl_gap_us',
        'cuda': 13000,
    }
    return c


class Measured(unittest.TestCase):
    """One GPU was measured: those of its family derive from it, all others stay as they are."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for path in glob.glob(os.path.join(FOLDER, '*.json')):
            shutil.copy(path, self.folder)
        for name, c in CONFIGS.items():  # none, to begin with
            if c['provenance']['kind'] == 'measured':
                os.remove(self.path(name))
        self.generate()
        self.before = {n: self.read(n) for n in CONFIGS}
        self.parent = as_measured(self.before['h200'])
        self.write('h200', self.parent)

    def path(self, name):
        return os.path.join(self.folder, name + '.json')

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as f:
            return json.load(f)

    def write(self, name, config):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(generate.text_of(config))

    def generate(self, *options):
        program = os.path.join(FOLDER, 'generate.py')
        return subprocess.run([sys.executable, '-B', program, *options, self.folder], stdout=subprocess.PIPE, text=True)

    def texts(self):
        found = {}
        for path in glob.glob(os.path.join(self.folder, '*.json')):
            with open(path, 'rb') as f:
                found[os.path.basename(path)] = f.read()
        return found

    def test_the_family_derives_from_it(self):
        self.assertEqual(self.generate('--check').returncode, 1)
        self.assertEqual(self.generate().returncode, 0)
        changed = {n for n in CONFIGS if self.read(n) != self.before[n]}
        self.assertEqual(changed, {'h200', 'h100-sxm', 'h100-pcie'})
        self.assertEqual(self.read('h200'), self.parent)
        for name in ('h100-sxm', 'h100-pcie'):
            c, was = self.read(name), self.before[name]
            self.assertEqual((c['provenance']['kind'], c['provenance']['parent']), ('derived', 'h200'))
            self.assertIn('2026-11-22', c['provenance']['how'])
            self.assertIn('ab' * 8, c['provenance']['how'])
            self.assertEqual(c['eff'], self.parent['eff'])
            self.assertAlmostEqual(c['ceil']['read_gbs'] / was['ceil']['read_gbs'], 0.9, 3)
            self.assertAlmostEqual(c['ceil']['bf16_tflops'] / was['ceil']['bf16_tflops'], 0.8, 3)
            self.assertEqual(c['ceil']['pdl_gap_us'], 0.75)
            self.assertEqual(c['ceil']['fp8_tflops'], was['ceil']['fp8_tflops'])  # nobody measured it
            self.assertEqual(c['cross']['attn_dec'], self.parent['cross']['attn_dec'])
            self.assertEqual(c['gemm'], [])

    def test_bytes_depend_on_the_inputs_alone(self):
        self.generate()
        first = self.texts()
        self.assertEqual(self.generate('--check').returncode, 0)
        self.generate()
        self.assertEqual(self.texts(), first)
        changed = self.read('h100-sxm')
        changed['eff']['skinny_4']['bw'] = 0.626
        self.write('h100-sxm', changed)
        r = self.generate('--check')
        self.assertEqual((r.returncode, r.stdout.splitlines()[0][:13]), (1, 'h100-sxm.json'))

    def test_a_newer_kernel_gets_the_familys_figures(self):
        old = json.loads(json.dumps(self.parent))
        del old['eff']['w8a8']
        self.write('h200', old)
        self.assertEqual(self.generate('--check').returncode, 1)
        self.generate()
        self.assertEqual(self.read('h200'), self.parent)

    def test_the_nearest_of_several_is_the_parent(self):
        self.write('h100-sxm', as_measured(self.before['h100-sxm']))
        self.generate()
        self.assertEqual(self.read('h100-pcie')['provenance']['parent'], 'h100-sxm')

    def test_the_build_takes_honest_chains_only(self):
        if not os.path.exists(EMBED):
            self.skipTest('build/embed is not built')
        self.generate()
        files = [self.path(n) for n in CONFIGS]
        self.assertEqual(embed(self.folder, *files), (0, '', True))
        for parent, why in (('h100-sxm', 'is itself derived'), ('family-ada', 'is of another architecture'),
                            ('h300', 'is not there')):
            if os.path.exists(os.path.join(self.folder, 'out.c')):
                os.remove(os.path.join(self.folder, 'out.c'))
            bad = self.read('h100-pcie')
            bad['provenance']['parent'] = parent
            self.write('h100-pcie', bad)
            code, said, made = embed(self.folder, *files)
            self.assertEqual((code, made), (1, False))
            self.assertRegex(said, f'h100-pcie.json: .*parent: {parent} {why}')


class Build(unittest.TestCase):
    """build/embed, which every build runs, refuses by name."""

    def setUp(self):
        if not os.path.exists(EMBED):
            self.skipTest('build/embed is not built')
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def embed(self, config, name='x.json'):
        path, parent = os.path.join(self.folder, name), config['provenance'].get('parent')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)
        return embed(self.folder, path, *([os.path.join(FOLDER, parent + '.json')] if parent else []))

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
