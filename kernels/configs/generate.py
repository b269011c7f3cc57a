#!/usr/bin/env python3
"""Makes the configuration of each GPU from the table of GPUs and the file of its family.

Usage: generate.py [--check] [FOLDER]     writes FOLDER/<slug>.json [beside this program]; --check only compares

A derived file says what its family's file says, with the ceilings of the GPU's data sheet put in: rates
of the table (gpus.json) times the share that the family's `sheet` has. A file whose provenance is
"measured" belongs to whoever measured it and is left alone, but that a kernel which is newer than it gets
the family's efficiencies; the other GPUs of its family then derive from
it: efficiencies as it has them, and of each ceiling that was measured the same share of the sheet. Never
from one that is derived itself. The bytes depend on nothing but the inputs.
"""

import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = 1  # version of the cost model (kernels/gpu/cost.c) that the efficiencies are for
# Numbers of rows that are tuned and planned for; cross-overs are rounded to one of them.
BUCKETS = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072]
BUCKETS += [4096, 6144, 8192]
# Bytes of a weight in each class, and the ceiling that its multiplications have.
CLASSES = {
    '16': (2.0, 'mma_bf16_tflops'),
    '8': (1.0625, 'mma_int8_tops'),
    '6': (0.84375, 'mma_int8_tops'),
    '5': (0.6875, 'mma_int8_tops'),
    '4': (0.5625, 'mma_int8_tops'),
    'any': (1.5, 'mma_int8_tops'),
}
MMA8 = ['8', '6', '5', '4']  # classes that mma8 multiplies
MMA8_MIN_M = 32  # as GPU_MMA8_MIN_M (kernels/gpu/registry.h)


def load(folder, name):
    with open(os.path.join(folder, name + '.json'), encoding='utf-8') as f:
        return json.load(f)


def digits(x, n=4):
    """So many digits, so that a line can be read."""
    v = float(f'{x:.{n}g}')
    return int(v) if v == int(v) else v


def ceilings(gpu, sheet):
    """What a program can reach of what the data sheet says; 0: this GPU has no such unit."""
    half, int8 = gpu['half'] * sheet['mma'], gpu['int8'] * sheet['mma']
    read = gpu['bw_gbs'] * sheet['bw']
    return {
        'copy_gbs': digits(read),
        'read_gbs': digits(read),
        'l2_gbs': digits(gpu['sm'] * gpu['mhz'] * sheet['l2_bytes_clk_sm'] / 1000),
        'bf16_tflops': digits(half),
        'fp8_tflops': digits((gpu['fp8'] or 0) * sheet['mma']),
        'int8_tops': digits(int8),
        'fp4_tflops': digits((gpu['fp4'] or 0) * sheet['mma']),
        'mma_bf16_tflops': digits(half * sheet['mma_sync']),
        'mma_int8_tops': digits(int8 * sheet['mma_sync']),
        'latency_us': sheet['latency_us'],
        'graph_gap_us': sheet['graph_gap_us'],
    }


def crossovers(ceil, eff):
    """The largest buckets at which the skinny kernel, and mma8, should be no slower than cuBLASLt, which
    multiplies at the tensor cores' own rate, but reads bf16 and has block formats decoded first; 0: mma8
    never is. Times are those of a weight in a large matrix, in 1e-12 s."""
    cross = {}
    read, lt, decode = ceil['read_gbs'] / 1000, eff['lt_bf16'], eff['dequant']
    for name, (size, rate) in CLASSES.items():
        e, best, mma8 = eff['skinny_' + name], 16, 0
        for m in BUCKETS:
            skinny = max(size / (read * e['bw']), 2 * m / (ceil[rate] * e['fl']))
            rows = (m + 63) // 64 * 64
            other = max(2 / (read * lt['bw']), 2 * rows / (ceil['bf16_tflops'] * lt['fl']))
            if name != '16':
                other += (size + 2) / (read * decode['bw'])
            if skinny <= other:
                best = max(best, m)
            if name in MMA8 and m > MMA8_MIN_M:
                w = eff['mma8_' + name]
                if max(size / (read * w['bw']), 2 * rows / (ceil[rate] * w['fl'])) <= other:
                    mma8 = max(mma8, m)
        cross[name] = {'skinny_max_m': best, **({'mma8_max_m': mma8} if name in MMA8 else {})}
    return cross


def memory_range(gpu):
    """GiB that the device may report, for the sizes it is sold with."""
    return [int(min(gpu['mem_gb']) * 0.88), int(max(gpu['mem_gb']) * 1.04) + 1]


def measured_ceilings(ceil, parent, sheet):
    """`ceil`, with what the parent's GPU reaches of each ceiling that was measured there; `sheet`: what was
    taken for that GPU before. Times, and what the sheet says nothing of, as measured."""
    out = dict(ceil)
    for name in parent['provenance'].get('ceilings', '').split():
        if name.endswith('_us') or not sheet.get(name):
            out[name] = parent['ceil'][name]
        else:
            out[name] = digits(ceil[name] * parent['ceil'][name] / sheet[name])
    return out


def derive(gpu, family, kin, parent=None, parent_gpu=None):
    """From the family, or from a measured parent of the same family, with its row of the table."""
    ceil, eff, cross = ceilings(gpu, family['sheet']), family['eff'], family['cross']
    how = f'data sheet x {family["id"]}'
    if parent:
        ceil = measured_ceilings(ceil, parent, ceilings(parent_gpu, family['sheet']))
        eff, cross = {**eff, **parent['eff']}, parent['cross']
        how = (f'data sheet x what {parent["id"]} reached of its own on {parent["provenance"]["date"]}, '
               f'efficiencies as measured there: timings {parent["provenance"]["raw_sha256"][:16]}')
    if gpu.get('unsure'):
        how += '; the sheet itself is uncertain'
    match = {
        'pci': ['10de:' + i.lower() for i in gpu['pci']],
        'kin': ['10de:' + k['pci'].lower() for k in kin if k['like'] == gpu['slug']],
        'cc': [gpu['cc']],
        'sm': gpu['sm'],
        'mem_gib': memory_range(gpu),
        'mig': False,
    }
    return {
        'schema': 1,
        'id': gpu['slug'],
        'name': gpu['name'],
        'match': match,
        'provenance': {'kind': 'derived', 'parent': (parent or family)['id'], 'model': MODEL, 'how': how},
        'mhz': gpu['mhz'],
        'ceil': ceil,
        'eff': eff,
        'cross': {**crossovers(ceil, eff), **{k: cross[k] for k in ('attn_dec', 'pdl') if k in cross}},
        'gemm': [],
        'deny': family['deny'],
    }


def unsupported(gpu):
    return {
        'schema': 1,
        'id': gpu['slug'],
        'name': gpu['name'],
        'match': {
            'pci': ['10de:' + i.lower() for i in gpu['pci']],
            'cc': [gpu['cc']],
            'sm': gpu['sm'],
            'mem_gib': memory_range(gpu),
            'mig': False,
        },
        'provenance': {'kind': 'hand', 'date': '2026-11-21', 'how': 'known by name only'},
        'unsupported': gpu['unsupported'],
    }


def text_of(config):
    """One line a top-level member, and one for each entry inside of those that are tables."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            rows = ',\n'.join(f'    {json.dumps(k)}: {json.dumps(v)}' for k, v in value.items())
            lines.append(f'  {json.dumps(key)}: {{\n{rows}\n  }}')
        elif isinstance(value, list) and value:
            rows = ',\n'.join('    ' + json.dumps(v) for v in value)
            lines.append(f'  {json.dumps(key)}: [\n{rows}\n  ]')
        else:
            lines.append(f'  {json.dumps(key)}: {json.dumps(value)}')
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def families(folder):
    names = [f[:-5] for f in sorted(os.listdir(folder)) if f.startswith('family-')]
    return [load(folder, n) for n in names]


def measured(folder, table):
    """Slug -> configuration, of the GPUs of the table whose file was measured."""
    files = [g['slug'] for g in table['gpus'] if os.path.exists(os.path.join(folder, g['slug'] + '.json'))]
    return {s: c for s in files for c in [load(folder, s)] if c['provenance']['kind'] == 'measured'}


def nearest(gpu, others):
    """Of rows of the table the one most like `gpu`: its die, its number of multiprocessors, its memory's rate."""
    return min(others, default=None, key=lambda o: (
        o['die'] != gpu['die'], o['cc'] != gpu['cc'], o['class'] != gpu['class'], abs(o['sm'] - gpu['sm']),
        abs(o['bw_gbs'] - gpu['bw_gbs']), o['slug']))


def make_all(folder=HERE):
    """Path -> text, of every derived file."""
    table, own = load(folder, 'gpus'), measured(folder, load(folder, 'gpus'))
    by_cc = {cc: f for f in families(folder) for cc in f['match']['cc']}
    made = {}
    for gpu in table['gpus']:
        path = os.path.join(folder, gpu['slug'] + '.json')
        if 'unsupported' in gpu:
            made[path] = text_of(unsupported(gpu))
            continue
        family = by_cc[gpu['cc']]
        if gpu['slug'] in own:
            config = own[gpu['slug']]
            if set(family['eff']) - set(config['eff']):
                eff = {k: config['eff'].get(k, v) for k, v in family['eff'].items()}
                made[path] = text_of({**config, 'eff': eff})
            continue
        like = nearest(gpu, [g for g in table['gpus'] if g['slug'] in own and by_cc[g['cc']] is family])
        made[path] = text_of(derive(gpu, family, table['kin'], own[like['slug']] if like else None, like))
    return made


def digest(made):
    return hashlib.sha256(''.join(made[p] for p in sorted(made)).encode()).hexdigest()


def main():
    words = [a for a in sys.argv[1:] if a != '--check']
    made, differ = make_all(words[0] if words else HERE), []
    for path, text in made.items():
        if '--check' in sys.argv[1:]:
            with open(path, encoding='utf-8') as f:
                if f.read() != text:
                    differ.append(os.path.basename(path))
            continue
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
    for name in differ:
        print(f'{name}: differs from what its parent and gpus.json give; run generate.py')
    print(f'{len(made)} configurations, sha256 {digest(made)[:16]}')
    return 1 if differ else 0


if __name__ == '__main__':
    sys.exit(main())
