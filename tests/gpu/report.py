"""Bounds, goals and the table of a gpu-check."""

# Tokens a second on an H200, Llama-3.1-8B, 2176 tokens of context: (format, KV, batch) -> least, goal, stretch.
# The bounds behind them: docs/measurements/README.md.
GOALS = {
    ('bf16', 'bf16', 1): (225, 253, 265),
    ('bf16', 'bf16', 8): (1490, 1750, 1830),
    ('bf16', 'bf16', 64): (5400, 6800, 7300),
    ('bf16', 'bf16', 256): (7300, 9400, 10100),
    ('fp8', 'fp8', 1): (370, 450, 480),
    ('fp8', 'fp8', 8): (2440, 3050, 3300),
    ('fp8', 'fp8', 64): (9300, 12000, 13300),
    ('fp8', 'fp8', 256): (13200, 17100, 18700),
    ('q4_0', 'bf16', 1): (560, 710, 800),
    ('q4_0', 'bf16', 8): (2850, 3900, 4300),
    ('q4_0', 'bf16', 64): (6400, 8800, 9600),
    ('q4_0', 'bf16', 256): (6400, 8800, 9600),
    ('q4_k', 'bf16', 1): (510, 650, 745),
    ('q4_k', 'bf16', 8): (2650, 3650, 4050),
    ('q8_0', 'bf16', 1): (365, 445, 475),
    ('q8_0', 'bf16', 8): (2180, 2720, 2950),
    ('q8_0', 'bf16', 64): (6300, 8200, 8900),
}
# One prompt of 2048 tokens: milliseconds.
PREFILL_GOALS = {'bf16': 46, 'fp8': 30, 'q4_0': 50, 'q4_k': 50}
CONTEXT, PROMPT = 2176, 2048


def rate(ceil, *names):
    """The first of these ceilings that was measured."""
    return next((ceil[n]['value'] for n in names if n in ceil), None)


def bound_us(row, ceil):
    """The least time of a step: weights read or multiplied, whichever is longer, then keys and values."""
    gbs = max((rate(ceil, n) or 0) for n in ('read_gbs', 'copy_gbs'))
    names = ['lt_fp8_tflops'] if row['format'] == 'fp8' else []
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


def goal_of(row, device):
    """least, goal, stretch in tokens a second; None where none was set."""
    if 'H200' not in device or row['model'] != 'llama-3.1-8b':
        return None
    if row['case'] == 'prefill' and row['rows'] == PROMPT and row['format'] in PREFILL_GOALS:
        goal = PROMPT / PREFILL_GOALS[row['format']] * 1000
        return None, goal, None
    if row['case'] == 'decode' and row['context'] == CONTEXT:
        return GOALS.get((row['format'], row['kv'], row['batch']))
    return None


def verdict(row, goal):
    if not goal:
        return ''
    least, want, stretch = goal
    for level, name in ((stretch, 'beyond the stretch goal'), (want, 'goal reached'), (least, 'above the least')):
        if level and row['tok_s'] >= level:
            return name
    return 'BELOW THE LEAST' if least else 'below the goal'


def lines_of_steps(rows, device):
    yield f'{"model":14} {"format":6} {"case":22} {"ms":>9} {"tokens/s":>10} {"bound":>10} {"share":>6} {"goal":>8}'
    for row in rows:
        name = (f'decode {row["batch"]} x {row["context"]}' if row['case'] == 'decode'
                else f'prefill {row["rows"]}')
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
