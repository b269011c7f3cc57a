"""Bounds, goals, the comparison with the last result, and the table of a gpu-check."""

import glob
import json
import os
import re

# Tokens a second on an H200, Llama-3.1-8B, 2176 tokens of context: (format, KV, batch) -> the bound that was planned
# with, least, goal, stretch (docs/measurements/README.md). Other GPUs with the same chip: the same shares of their own bound.
GOALS = {
    ('bf16', 'bf16', 1): (281, 225, 253, 265),
    ('bf16', 'bf16', 8): (1989, 1490, 1750, 1830),
    ('bf16', 'bf16', 64): (8273, 5400, 6800, 7300),
    ('bf16', 'bf16', 256): (11720, 7300, 9400, 10100),
    ('f8_e4m3', 'f8_e4m3', 1): (526, 370, 450, 480),
    ('f8_e4m3', 'f8_e4m3', 8): (3751, 2440, 3050, 3300),
    ('f8_e4m3', 'f8_e4m3', 64): (16040, 9300, 12000, 13300),
    ('f8_e4m3', 'f8_e4m3', 256): (22790, 13200, 17100, 18700),
    ('q4_0', 'bf16', 1): (926, 560, 710, 800),
    ('q4_0', 'bf16', 8): (5182, 2850, 3900, 4300),
    ('q4_0', 'bf16', 64): (11720, 6400, 8800, 9600),
    ('q4_0', 'bf16', 256): (11720, 6400, 8800, 9600),
    ('q4_k', 'bf16', 1): (877, 510, 650, 745),
    ('q4_k', 'bf16', 8): (4987, 2650, 3650, 4050),
    ('q8_0', 'bf16', 1): (521, 365, 445, 475),
    ('q8_0', 'bf16', 8): (3354, 2180, 2720, 2950),
    ('q8_0', 'bf16', 64): (10493, 6300, 8200, 8900),
}
# One prompt of 2048 tokens: milliseconds, of the bound and the goal.
PREFILL_GOALS = {'bf16': (38.4, 46), 'f8_e4m3': (22.6, 30), 'q4_0': (38.4, 50), 'q4_k': (38.4, 50)}
CONTEXT, PROMPT = 2176, 2048
THRESHOLD = 0.03  # from which a figure differs from the last one


def rate(ceil, *names):
    """The first of these ceilings that was measured."""
    return next((ceil[n]['value'] for n in names if n in ceil), None)


def bound_us(row, ceil):
    """The least time of a step: weights read or multiplied, whichever is longer, then keys and values."""
    gbs = max((rate(ceil, n) or 0) for n in ('read_gbs', 'copy_gbs'))
    names = ['lt_fp8_tflops'] if row['format'] == 'f8_e4m3' else []
    tflops = rate(ceil, *names, 'lt_bf16_tflops', 'mma_bf16_tflops', 'mma_f16_tflops')
    if not gbs or not tflops:
        return None
    weights = max(row['weight_bytes'] / gbs * 1e-3, row['linear_flops'] / tflops * 1e-6)
    pages = max(row['kv_bytes'] / gbs * 1e-3, row['attention_flops'] / tflops * 1e-6)
    return weights + pages


def add_bounds(rows, ceil):
    for row in rows:
        us = bound_us(row, ceil) if row.get('us') else None
        if us:
            row['bound'] = round(row['tok_s'] * row['us'] / us, 2)
            row['share'] = round(us / row['us'], 4)


def last_file(folder, but, device):
    """The newest result of the same GPU that is not a dry run, or None."""
    found = []
    for path in glob.glob(os.path.join(folder, '*.json')):
        with open(path, encoding='utf-8') as f:
            old = json.load(f)
        env = old.get('env') if isinstance(old, dict) else None
        same = env and env.get('device') and env['device']['name'] == device
        if same and not env.get('dry') and os.path.realpath(path) != os.path.realpath(but):
            found.append((env['date'], path))
    return max(found)[1] if found else None


def named_figures(result):
    """name -> (value, more is better, slowed down by)."""
    for name, c in result.get('ceil', {}).items():
        yield f'ceiling {name}', (c['value'], not name.endswith('_us'), None)
    for r in result.get('rows', []):
        if r.get('tok_s'):
            case = f'decode {r["batch"]} x {r["context"]}' if r['case'] == 'decode' else f'prefill {r["rows"]}'
            how = ' untuned' if r.get('config') == 'untuned' else ''
            yield f'{r["model"]} {r["format"]} {r["kv"]} {case}{how}', (r['tok_s'], True, r.get('throttled'))
    for r in result.get('server', []):
        if r.get('tok_s'):
            slowed = (r.get('clocks') or {}).get('throttled')
            yield (f'server {r["model"]} {r["format"]} {r["streams"]} x {r["prompt"]}/{r["generate"]}',
                   (r['tok_s'], True, slowed))


def differences(result, last):
    """Figures of both that are more than the threshold apart."""
    old, out = dict(named_figures(last)), []
    for name, (value, more, throttled) in named_figures(result):
        if name not in old or not old[name][0] or not value:
            continue
        ratio = value / old[name][0] if more else old[name][0] / value
        if abs(ratio - 1) > THRESHOLD:
            out.append({'name': name, 'value': value, 'last': old[name][0], 'speed': round(ratio, 4),
                        'slower': ratio < 1, 'throttled': throttled})
    return out


def goal_of(row, device):
    """least, goal, stretch in tokens a second; None where none was set."""
    planned, chip = None, re.search(r'\b(GH200|H200|H100)\b', device)
    if not chip or row['model'] != 'llama-3.1-8b':
        return None
    if row['case'] == 'prefill' and row['rows'] == PROMPT and row['format'] in PREFILL_GOALS:
        bound, goal = (PROMPT / ms * 1000 for ms in PREFILL_GOALS[row['format']])
        planned = bound, None, goal, None
    if row['case'] == 'decode' and row['context'] == CONTEXT:
        planned = GOALS.get((row['format'], row['kv'], row['batch']))
    if planned and chip.group(1) != 'H200':
        by = row.get('bound', 0) / planned[0]
        planned = [v and v * by for v in planned] if by else None
    return planned and tuple(planned[1:])


def verdict(row, goal):
    if not goal:
        return ''
    least, want, stretch = goal
    for level, name in ((stretch, 'beyond the stretch goal'), (want, 'goal reached'), (least, 'above the least')):
        if level and row['tok_s'] >= level:
            return name
    return 'BELOW THE LEAST' if least else 'below the goal'


def gate(rows, device):
    """A check: no step that has a goal is below the least; None where no goal was set. What was slowed down does not count."""
    held = [(r, goal_of(r, device)) for r in rows if r.get('us') and r.get('config') != 'untuned' and not r.get('throttled')]
    held = [(r, g[0]) for r, g in held if g and g[0]]
    below = [f'{r["format"]} x {r["batch"]}: {r["tok_s"]:.0f} of {least:.0f} tokens/s' for r, least in held if r['tok_s'] < least]
    text = f'{len(held) - len(below)} of {len(held)} steps reach the least' + (': ' + ', '.join(below) + ' are below' if below else '')
    return {'ok': not below, 'text': text} if held else None


def lines_of_steps(rows, device):
    yield f'{"model":14} {"format":6} {"case":22} {"ms":>9} {"tokens/s":>10} {"bound":>10} {"share":>6} {"goal":>8}'
    for row in rows:
        name = (f'decode {row["batch"]} x {row["context"]}' if row['case'] == 'decode'
                else f'prefill {row["rows"]}') + (' untuned' if row.get('config') == 'untuned' else '')
        head = f'{row["model"]:14} {row["format"]:6} {name:22}'
        if not row.get('us'):
            yield f'{head} {row["skip"]}'
            continue
        goal = goal_of(row, device)
        share = f'{100 * row["share"]:5.0f}%' if row.get('share') else '     -'
        want = f'{goal[1]:8.0f}' if goal else '       -'
        flag = ' (slowed down: ' + ', '.join(row['throttled']) + ')' if row.get('throttled') else ''
        yield (f'{head} {row["us"] / 1000:9.3f} {row["tok_s"]:10.1f} {row.get("bound", 0):10.0f} {share} {want} '
               f'{verdict(row, goal)}{flag}').rstrip()


def lines_of_server(rows):
    yield f'{"server":22} {"streams":>7} {"prompt":>7} {"tokens":>7} {"tokens/s":>10} {"ttft ms":>9} {"itl p50":>8} {"p99":>8}'
    for r in rows:
        show = lambda v, w: f'{v:{w}.1f}' if v is not None else ' ' * (w - 1) + '-'
        yield (f'{r["model"] + " " + r["format"]:22} {r["streams"]:7} {r["prompt"]:7} {r["generate"]:7} '
               f'{show(r["tok_s"], 10)} {show(r["ttft_ms"], 9)} {show(r["itl_ms_p50"], 8)} {show(r["itl_ms_p99"], 8)}'
               + ('  ' + r['errors'][0] if r['errors'] else ''))


def lines_of_torch(rows):
    yield f'{"PyTorch":36} {"us":>10} {"GB/s":>8} {"TFLOP/s":>8} {"tokens/s":>9}'
    for r in rows:
        name = {'linear': lambda: f'linear {r["name"]}, {r["rows"]} rows',
                'attention': lambda: f'attention {r["batch"]} x {r["context"]}, {r["rows"]} rows',
                'decode': lambda: f'{r["model"]} decode {r["batch"]} x {r["context"]}'}[r['case']]()
        show = lambda k, w: f'{r[k]:{w}.1f}' if k in r else ' ' * (w - 1) + '-'
        yield f'{name:36} {r["us"]:10.1f} {show("gbs", 8)} {show("tflops", 8)} {show("tok_s", 9)}'


def lines_of_tuning(tuning):
    for r in tuning['runs']:
        for name, c in r.get('ceilings', {}).items():
            yield f'ceiling {name:20} {c["measured"]:10.4g}, the configuration had {c["configured"]:10.4g}'
        break


def lines_of_difference(compared):
    if not compared['with']:
        yield 'no earlier result of this GPU to compare with'
    for r in compared['rows']:
        slowed = f' (slowed down: {", ".join(r["throttled"])})' if r['throttled'] else ''
        yield f'{"SLOWER" if r["slower"] else "faster"} x {r["speed"]:.3f} {r["name"]}: {r["value"]:.4g}, was {r["last"]:.4g}{slowed}'


def table(result):
    """The short table that a gpu-check prints last."""
    ceil = result['ceil']
    yield 'device: {name}, sm {cc}, {sm} multiprocessors'.format(**result['env']['device'])
    yield 'ceilings: ' + ', '.join(f'{n} {c["value"]:.4g}' for n, c in ceil.items())
    for name, what in result['checks'].items():
        yield f'{"ok  " if what["ok"] else "FAIL"} {name}: {what["text"]}'
    if result['rows']:
        yield from lines_of_steps(result['rows'], result['env']['device']['name'])
    if result['server']:
        yield from lines_of_server(result['server'])
    if result['torch']:
        yield from lines_of_torch(result['torch'])
    yield from lines_of_tuning(result['tuning'])
    yield from lines_of_difference(result['compared'])
