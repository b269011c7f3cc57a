"""Phase 3: tunes the shapes of the models on this GPU, over as many calls as it takes.

The configuration and its raw timings lie in the state folder and grow: a call that is cut off loses the
weight that was being measured, no more. They are of a kind of GPU, not of one board, so they may come
from another machine's run of this; `inferd tune --resume` looks whether they fit.
"""

import hashlib
import json
import os
import re
import time

CONFIG = 'tuned.json'
# A dry run's: of matrices that the emulator multiplies in a second.
SMALL = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data', 'models', 'qwen2-q4_0.gguf')
# Model, format: most important first.
RUNS = [('llama-3.1-8b', 'bf16'), ('llama-3.1-8b', 'q4_0'), ('llama-3.1-8b', 'q8_0'), ('llama-3.1-8b', 'q4_k'),
        ('llama-3.2-1b', 'bf16'), ('llama-3.2-1b', 'q4_0')]


def config(c):
    """Options that make a program take what was tuned so far."""
    path = os.path.join(c.o.state, CONFIG)
    return ['--gpu-config', path] if os.path.exists(path) else []


def figures(text):
    """What `inferd tune` printed, as numbers."""
    patterns = {
        'matrices': r'^(\d+) of \d+ matrices', 'of': r'^\d+ of (\d+) matrices', 'shapes': r'matrices, (\d+) shapes',
        'changed': r'(\d+) have a faster launch', 'wrong': r'(\d+) launches were wrong', 'dropped': r'(\d+) rounds were dropped',
        'gain': r'after / before: ([\d.]+)', 'worst': r'mean, ([\d.]+) at least', 'model_off_pct': r'fitted, ([\d.]+) % off',
        'unseen_rows': r'^foresight: (\d+) rows', 'foresight_pct': r'^foresight:.* ([\d.]+) % off',
    }
    found = {k: re.search(p, text, re.M) for k, p in patterns.items()}
    out = {k: float(m.group(1)) for k, m in found.items() if m}
    out['complete'] = 'the time was over' not in text and 'gain' in out
    # name  measured  configured: what the ceilings were taken for, and are
    out['ceilings'] = {m.group(1): {'measured': float(m.group(2)), 'configured': float(m.group(3))} for m in re.finditer(
        r'^(\w+) +([\d.e+-]+) measured, +([\d.e+-]+) configured', text, re.M)}
    out['crossovers'] = [{'class': m.group(1), 'path': m.group(2), 'rows': int(m.group(3)), 'was': int(m.group(4))}
                         for m in re.finditer(r'^crossover (\w+) +(\w+) to (\d+) rows, was (\d+)', text, re.M)]
    return out


def run_one(c, model, fmt, seconds):
    out = os.path.join(c.o.state, CONFIG)
    what = [SMALL] if c.o.dry else ['--random', model, '--format', fmt]
    command = [c.path('inferd'), 'tune', *what, '--device', 'cuda', '--output', out,
               '--resume', '--budget', '0.01' if c.o.dry else f'{seconds:.1f}'] + config(c)
    command += ['--quick', '--cublaslt', 'none'] if c.o.dry else c.library()
    code, said, err = c.run(command, seconds + 30)
    c.copy_out()
    if code is None and 'stopped' in err:  # what is in the timings counts
        return {'complete': False, 'failed': None}
    if code != 0:
        return {'complete': False, 'failed': (err.strip().splitlines() or [f'exit {code}'])[-1][-300:]}
    return dict(figures(said), failed=None)


def phase3(c):
    runs, unfinished = [('small', 'q4_0')] if c.o.dry else RUNS, []
    for i, (model, fmt) in enumerate(runs):
        step = f'3 {model} {fmt}'
        if c.has(step):
            continue
        left = 60 if c.o.dry else c.left_of(3) / (len(runs) - i)
        if left < 5:
            unfinished.append(step)
            continue
        begin = time.monotonic()
        done = run_one(c, model, fmt, left)
        done.update(model=model, format=fmt, seconds=round(time.monotonic() - begin, 1))
        c.state.setdefault('tuning', {})[step] = done
        if done['complete'] or done['failed'] or c.o.dry:
            c.keep(step, done)
        else:
            c.save()
            unfinished.append(step)
        print(f'-- {step}: {done["failed"] or "gain x %.3f" % done.get("gain", 1)}'
              f'{"" if done["complete"] else ", goes on with the next call"}', flush=True)
    if not unfinished:
        c.keep('3', {})


def timings(c):
    """The raw timings that the configuration names: a run that was cut off may have added more behind them."""
    path, lines, sha = os.path.join(c.o.state, CONFIG), [], hashlib.sha256()
    with open(path, encoding='utf-8') as f:
        want = json.load(f)['provenance']['raw_sha256']
    with open(path + '.timings.jsonl', 'rb') as f:
        for line in f:
            lines.append(line)
            sha.update(line)
            if sha.hexdigest() == want:
                break
    return b''.join(lines)


def how_to_commit(c, path):
    """The words that make the configuration the built-in one of its GPU; one of a near part has none."""
    with open(os.path.join(c.o.state, CONFIG), encoding='utf-8') as f:
        slug = json.load(f)['id']
    if slug.startswith('like-'):
        return f'the configuration is of a GPU that gpus.json does not have ({slug}): add its row first'
    return (f'to build it in: cp {path[:-len(".json")]}-{CONFIG} kernels/configs/{slug}.json; kernels/configs/generate.py; '
            f'keep {os.path.basename(path)[:-len(".json")]}-{CONFIG}.timings.jsonl.gz in docs/measurements')


def result_of(c):
    """All runs so far, the configuration's provenance, and checks."""
    runs, checks = list(c.state.get('tuning', {}).values()), {}
    path, provenance = os.path.join(c.o.state, CONFIG), None
    if os.path.exists(path):
        with open(path, encoding='utf-8') as f:
            provenance = json.load(f)['provenance']
    for r in runs:
        name = f'tune {r["model"]} {r["format"]}'
        fine = not r['failed'] and r.get('worst', 1) >= 0.97
        text = r['failed'] or (f'speed x {r.get("gain", 1):.3f}, at least x {r.get("worst", 1):.3f}'
                               + ('' if r['complete'] else ', not finished'))
        if r.get('foresight_pct') is not None:
            text += f'; {r["unseen_rows"]:.0f} rows foreseen to {r["foresight_pct"]:.1f} %'
        checks[name] = {'ok': fine or c.o.dry and not r['failed'], 'text': text}
    return {'runs': runs, 'provenance': provenance}, checks
