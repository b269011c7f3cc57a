#!/usr/bin/env python3
"""Measures and tests an NVIDIA GPU: `make gpu-check`.

    tests/gpu/check.py build/gpu [--phases 0,1,2,3,4,5,6,7] [--seconds 540] [--out FOLDER] [--fresh] [--dry]

The folder holds the programs (`make gpu-bundle`; nothing is built here, so that it runs on a machine
with a GPU and little else). Each phase has its share of the seconds and can run alone:

    0  facts: the GPU, driver, libraries; every wrapper of gpu.cuh against what the emulator gives
    1  ceilings: memory, tensor cores, cuBLASLt, launches, bus; how near to it weights are loaded
    2  correctness: the emulated tests' programs, on the GPU; how long a start's self-check takes
    3  tuning: `inferd tune` for these models' shapes; what follows uses the configuration that it makes
    4  decode and prefill steps of Llama-3.1-8B and 3.2-1B, random weights
    5  the server under load, on loopback
    6  ncu's counters for three of these steps, where they can be read
    7  PyTorch's products, attention and decode step, where PyTorch is

What is done is kept in build/gpu-check, and with --keep also elsewhere, as one archive, since what comes back
from a machine that is lent may be few files: the same command goes on where it stopped, also on another board of
the same kind, from the state or from an archive of it (state.tgz in the state folder). A phase that fails is
reported, and the next goes on. The result is one JSON file,
docs/measurements/<gpu>-<date>.json (env, ceil, checks, tuning, rows, server, torch, compared), and a table,
last: figures that are 3 % off those of the last such file are named.
--dry runs all of it on the emulator with tiny shapes: it measures nothing, it shows that it works.
"""

import argparse
import concurrent.futures
import datetime
import glob
import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import load  # noqa: E402
import report  # noqa: E402
import tuning  # noqa: E402
import watch  # noqa: E402

# Seconds of each phase, of 540 in all; of the second these are for the ceilings, the rest to load weights.
SHARE = {0: 20, 1: 45, 2: 65, 3: 160, 4: 120, 5: 85, 6: 20, 7: 25}
MODELS = {  # model -> formats, most important first: where time runs short the last are left out
    'llama-3.1-8b': ['bf16', 'q4_0', 'q8_0', 'q4_k', 'f8_e4m3'],
    'llama-3.2-1b': ['bf16', 'q4_0', 'q8_0', 'q4_k', 'f8_e4m3'],
}
BATCHES, CONTEXTS = (1, 8, 64, 256), (128, 2176, 8192)
PREFILLS = (128, 256, 512, 1024, 2048, 4096, 8192)
# Steps that are also taken with the configuration as it was before tuning, to show what that gained.
UNTUNED = [('llama-3.1-8b', 'bf16'), ('llama-3.1-8b', 'q4_0')]
UNTUNED_CASES = ['1:2176', '64:2176'], ['512', '2048']
# Server: model, format, workloads (prompt, tokens), streams.
SERVER = [('llama-3.1-8b', 'bf16'), ('llama-3.1-8b', 'q4_0')]
WORKLOADS, STREAMS = ((2048, 128), (128, 512)), (1, 8, 64, 256)
CEILINGS = 18
LOADED = 0.8  # of what the bus or the disk gives, whichever is less: what loading weights must reach
ARCHIVE = 'state.tgz'
TOOLKITS = ['/usr/local/cuda/lib64', '/usr/local/cuda-*/lib64', '/usr/local/cuda*/targets/*/lib', '/usr/lib/*-linux-gnu', '/usr/lib64']
CHECKED_MS = 300  # what the self-check at a start may take
CHECKED = ['bf16', 'q8_0', 'q4_0', 'q4_k', 'f8_e4m3']
KEPT = ('state.json', tuning.CONFIG + '*', 'ncu-*.csv', 'server-*.log')  # of the state folder, in the archive
NEAR = 1e-5  # of the largest number of a case: rounding of the tensor cores and of exp


class Check:
    def __init__(self, options):
        self.o = options
        self.state_file = os.path.join(options.state, 'state.json')
        self.state = {'done': {}}
        os.makedirs(options.state, exist_ok=True)
        self.unpack()
        self.key = self.version()
        if os.path.exists(self.state_file) and not options.fresh:
            with open(self.state_file, encoding='utf-8') as f:
                old = json.load(f)
            self.state = old if old.get('key') == self.key else self.state
        self.state['key'] = self.key
        # What the user's cache holds from elsewhere is neither used nor changed.
        os.environ.setdefault('INFERD_GPU_CACHE', os.path.abspath(os.path.join(options.state, 'cache')))
        self.board = watch.query(['uuid']).get('uuid', '')
        self.end = time.monotonic() + options.seconds

    def unpack(self):
        """An archive of the state that lies where the state is to be."""
        path = os.path.join(self.o.state, ARCHIVE)
        if os.path.exists(self.state_file) or not os.path.exists(path):
            return
        with tarfile.open(path) as t:
            for member in t.getmembers():
                if member.isfile() and member.name == os.path.basename(member.name):
                    with open(os.path.join(self.o.state, member.name), 'wb') as f:
                        shutil.copyfileobj(t.extractfile(member), f)

    def version(self):
        """Of the programs and the kind of GPU: what was measured with others is measured again."""
        kind = watch.query(['name', 'memory.total', 'driver_version'])
        h = hashlib.sha256(json.dumps([self.o.dry, kind]).encode())
        for path in sorted(glob.glob(os.path.join(self.o.folder, '**'), recursive=True)):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                with open(path, 'rb') as f:
                    h.update(f.read())
        return h.hexdigest()

    def path(self, name):
        return os.path.join(self.o.folder, name)

    def has(self, step):
        return step in self.state['done']

    def keep(self, step, value):
        """Records a finished step, and on which board."""
        self.state['done'][step] = value
        self.state.setdefault('boards', {}).setdefault(self.board, []).append(step)
        self.save()

    def save(self):
        """Atomic, so that nothing is lost when the time is up."""
        with open(self.state_file + '.new', 'w', encoding='utf-8') as f:
            json.dump(self.state, f)
        os.replace(self.state_file + '.new', self.state_file)
        self.copy_out()

    def copy_out(self):
        """The state to the folder that survives this machine; what makes it whole at any time is the rename."""
        if not self.o.keep:
            return
        os.makedirs(self.o.keep, exist_ok=True)
        path = os.path.join(self.o.keep, ARCHIVE)
        with tarfile.open(path + '.new', 'w:gz') as t:
            for name in sorted(n for pattern in KEPT for n in glob.glob(os.path.join(self.o.state, pattern))):
                t.add(name, os.path.basename(name))
        os.replace(path + '.new', path)

    def run(self, command, seconds):
        """Exit status (None: too long), stdout, stderr."""
        left = max(1.0, min(seconds, self.end - time.monotonic()))
        if not os.access(command[0], os.X_OK) and os.sep in command[0]:
            return None, '', f'{command[0]} is missing'
        try:
            r = subprocess.run(command, capture_output=True, text=True, timeout=left)
            return r.returncode, r.stdout, r.stderr
        except subprocess.TimeoutExpired as e:
            out = e.stdout or ''
            return None, out if isinstance(out, str) else out.decode(errors='replace'), f'stopped after {left:.0f} s'

    def tiny(self):
        return ['--tiny'] if self.o.dry else []

    def library(self):
        """Where cuBLASLt is, as options: the toolkit's, else the one that PyTorch brought."""
        if self.o.dry:
            return []
        folders = TOOLKITS + [os.path.join(p, *q) for p in python_folders() for q in (('nvidia', '*', 'lib'), ('torch', 'lib'))]
        found = [p for folder in folders for p in sorted(glob.glob(os.path.join(folder, 'libcublasLt.so.13*')))]
        return ['--cublaslt', found[0]] if found else []


def python_folders():
    """Where packages of this Python, and of the one in PATH, lie."""
    r = subprocess.run(['python3', '-c', 'import sys; print("\\n".join(sys.path))'],
                       capture_output=True, text=True)
    return [p for p in dict.fromkeys(sys.path + r.stdout.split('\n')) if p.endswith('-packages')]


def json_lines(text):
    out = []
    for line in text.splitlines():
        if line.startswith('{') and line.endswith('}'):  # the last may be half a line
            out.append(json.loads(line))
    return out


# --- phase 0


def facts(c):
    fields = ['name', 'uuid', 'pci.device_id', 'pci.sub_device_id', 'vbios_version', 'driver_version',
              'ecc.mode.current', 'power.limit', 'power.max_limit', 'clocks.max.sm', 'clocks.max.mem',
              'memory.total', 'compute_cap', 'mig.mode.current']
    env = {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'dry': c.o.dry, 'smi': watch.query(fields), 'kernel': platform.release(),
        'processors': os.cpu_count(), 'packages': {},
    }
    for name in ('torch', 'nvidia-cublas', 'triton'):
        try:
            env['packages'][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in (('nvcc', ['nvcc', '--version']), ('commit', ['cat', c.path('commit')]),
                          ('program', [c.path('inferd'), 'version'])):
        try:
            r = subprocess.run(command, capture_output=True, text=True)
            env[name] = (r.stdout.strip().splitlines() or [''])[-1] if r.returncode == 0 else ''
        except OSError:
            continue
    if c.library():
        env['cublaslt'] = os.path.realpath(c.library()[1])
    return env


def wrapper_lines(text):
    """name -> (bits or near, words)."""
    return {w[0]: (w[1], w[2:]) for w in (line.split() for line in text.splitlines()) if len(w) > 2}


def as_float(word):
    return struct.unpack('<f', struct.pack('<I', int(word, 16)))[0]


def differences(got, want):
    """What differs between two runs of gpu_wrappers: (name, what)."""
    for name, (kind, words) in want.items():
        if name not in got:
            yield name, 'is missing'
            continue
        mine = got[name][1]
        wrong = [i for i, (a, b) in enumerate(zip(mine, words)) if a != b]
        if len(mine) != len(words):
            yield name, f'{len(mine)} words instead of {len(words)}'
        elif kind == 'bits' and wrong:
            i = wrong[0]
            yield name, f'{len(wrong)} of {len(words)} words, the first: [{i}] {mine[i]} instead of {words[i]}'
        elif kind == 'near' and wrong:
            a, b = [as_float(w) for w in mine], [as_float(w) for w in words]
            size = max(abs(x) for x in b)
            worst = max(range(len(b)), key=lambda i: abs(a[i] - b[i]) if a[i] == a[i] else 1e38)
            if not abs(a[worst] - b[worst]) <= NEAR * size:
                yield name, f'[{worst}] {a[worst]:.9g} instead of {b[worst]:.9g}, the largest is {size:.4g}'


def conformance(c):
    """Every wrapper, against the emulator's lines in the folder."""
    code, out, err = c.run([c.path('gpu_wrappers')], 60)
    if code != 0:
        return {'ok': False, 'text': f'gpu_wrappers: exit {code}: {err.strip()[-300:]}'}
    got = wrapper_lines(out)
    with open(c.path('wrappers.txt'), encoding='utf-8') as f:
        want = wrapper_lines(f.read())
    c.keep('wrappers', out)
    # A GPU that lacks an instruction leaves its case out; the emulator has them all.
    bad = [f'{n}: {why}' for n, why in differences(got, {n: w for n, w in want.items() if n in got})]
    text = f'{len(got)} of {len(want)} cases, {len(bad)} differ from the emulator'
    return {'ok': not bad and bool(got), 'text': '; '.join([text] + bad)}


def phase0(c):
    env, checks = facts(c), {'wrappers': conformance(c)}
    if not c.o.dry and not c.library():
        checks['cuBLASLt'] = {'ok': False, 'text': 'libcublasLt.so.13 is not found: nothing is said of what it serves'}
    code, out, err = c.run([c.path('gpu_ceilings'), '--facts'], 60)
    env['device'] = next((x for x in json_lines(out) if x['kind'] == 'device'), None)
    if not env['device']:
        sys.exit(f'no GPU that can be used: {err.strip()[-500:]}')
    c.keep('0', {'env': env, 'checks': checks})


# --- phases 1 and 2


def loading(c):
    """Weights from a file to the GPU: the least share of what the bus or the disk gives."""
    code, out, err = c.run([c.path('gpu_load'), '--folder', c.o.state, '--mib', '1024', '--seconds', '8'] + c.tiny(),
                          2 * SHARE[1])
    lines = json_lines(out)
    rows = [{k: x[k] for k in ('format', 'from', 'gbs', 'bound', 'by', 'share')} for x in lines if x['kind'] == 'load']
    texts = [f'{r["format"]} from the {r["from"]} {r["gbs"]} GB/s, {r["share"]:.0%} of the {r["by"]}' for r in rows]
    texts += [x['text'] for x in lines if x['kind'] == 'note'] + ([f'exit {code}: {err.strip()[-200:]}'] if code else [])
    least = min((r['share'] for r in rows), default=0)
    ok = code == 0 and bool(rows) and (c.o.dry or least >= LOADED)
    return rows, {'ok': ok, 'text': f'{least:.0%} at least, {LOADED:.0%} wanted: ' + '; '.join(texts)}


def phase1(c):
    command = [c.path('gpu_ceilings'), '--seconds', str(CEILINGS)] + c.library() + c.tiny()
    begin = time.monotonic()
    with watch.Watch() as w:
        code, out, err = c.run(command, 3 * SHARE[1])
        clocks = w.since(begin)
    lines = json_lines(out)
    ceil = {x['name']: {k: x[k] for k in ('value', 'lo', 'hi')} for x in lines if x['kind'] == 'ceil'}
    notes = [x['text'] for x in lines if x['kind'] == 'note']
    text = f'{len(ceil)} ceilings' + ''.join(f'; {n}' for n in notes) + (f'; exit {code}: {err[-300:]}' if code else '')
    loads, check = loading(c)
    c.keep('1', {'ceil': ceil, 'clocks': clocks, 'weights': loads,
                 'checks': {'ceilings': {'ok': code == 0, 'text': text}, 'loading': check}})


def run_test(c, path):
    code, out, err = c.run([path], SHARE[2])
    passed, failed = out.count('[       OK ] '), out.count('[  FAILED  ] ')
    ok = code == 0 and passed > 0
    return os.path.basename(path), ok, passed, failed, '' if ok else f'exit {code}: {(err or out).strip()[-600:]}'


def phase2(c):
    programs = sorted(p for p in glob.glob(c.path('tests/*')) if os.access(p, os.X_OK))
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        done = list(pool.map(lambda p: run_test(c, p), programs))
    checks = {name: {'ok': ok, 'text': f'{passed} passed' + (f'; {why}' if why else '')}
              for name, ok, passed, failed, why in done}
    if not checks:
        checks['correctness'] = {'ok': False, 'text': f'{c.path("tests")} holds no program'}
    times, checks['self-check'] = self_checks(c)
    c.keep('2', {'checks': checks, 'self_check': times})


def started(c, fmt, cache):
    """What a server said until it was ready, with a cache of its own."""
    port, path = free_port(), os.path.join(c.o.state, 'server-start.log')
    with open(path, 'w+', encoding='utf-8') as log:
        server = start_server(c, 'tiny', fmt, port, log, ['--log-level', 'info', '--gpu-cache', cache])
        try:
            wait_ready(server, port, min(c.end, time.monotonic() + 20))
        finally:
            stop_server(server)
        log.seek(0)
        return log.read()


def self_checks(c):
    """Milliseconds of the self-check of each format, and whether a second start remembers what was found."""
    times, wrong = {}, []
    for fmt in CHECKED[1:3] if c.o.dry else CHECKED:
        cache = os.path.join(c.o.state, 'cache-' + fmt)
        shutil.rmtree(cache, ignore_errors=True)
        first, second = started(c, fmt, cache), started(c, fmt, cache)
        shutil.rmtree(cache, ignore_errors=True)
        said = re.search(r'kernels checked against the CPU in (\d+) ms, (\d+) of them the CPU\'s: (\d+) results', first)
        if said:
            times[fmt] = dict(zip(('ms', 'cpu_ms', 'results'), map(int, said.groups())))
        wrong += [] if said else [f'{fmt}: no self-check: {(first.strip().splitlines() or [""])[-1][-200:]}']
        wrong += [f'{fmt}: checked again' for _ in [0] if 'checked against' in second]
        wrong += [f'{fmt}: {line.split("WARN")[-1].strip()}' for line in first.splitlines() if ' WARN ' in line and 'kernel' in line]
        if said and times[fmt]['ms'] >= CHECKED_MS and not c.o.dry:
            wrong.append(f'{fmt}: {times[fmt]["ms"]} ms')
    text = ', '.join(f'{f} {t["ms"]} ms ({t["cpu_ms"]} the CPU\'s)' for f, t in times.items())
    return times, {'ok': not wrong and bool(times), 'text': '; '.join([f'{text}, less than {CHECKED_MS} wanted'] + wrong)}


# --- phase 4


def step_runs(c):
    """One program run each: model, format, configuration, decode cases, prefill cases."""
    if c.o.dry:
        return [('tiny', 'q4_0', 'tuned', ['1:8', '2:40'], ['8']), ('tiny', 'q4_0', 'untuned', ['1:8'], []),
                ('tiny', 'no_such_format', 'tuned', ['1:8'], [])]
    runs = [(m, f, 'tuned', [f'{b}:{x}' for x in CONTEXTS for b in BATCHES], [str(n) for n in PREFILLS])
            for m, formats in MODELS.items() for f in formats]
    untuned = [(m, f, 'untuned', *UNTUNED_CASES) for m, f in UNTUNED] if tuning.config(c) else []
    return runs[:2] + untuned + runs[2:]


def run_steps(c, run, seconds):
    model, fmt, how, decode, prefill = run
    each = max(0.1, (seconds - 4) / (len(decode) + len(prefill)))
    command = [c.path('gpu_step'), '--shape', model, '--format', fmt, '--seconds', f'{each:.2f}'] + c.library()
    command += (['--decode', ','.join(decode)] if decode else []) + (['--prefill', ','.join(prefill)] if prefill else [])
    command += tuning.config(c) if how == 'tuned' else []
    with watch.Watch() as w:
        code, out, err = c.run(command + c.tiny(), 2 * seconds + 10)
    lines = json_lines(out)
    rows = [x for x in lines if x['kind'] == 'row']
    for row in rows:
        clocks = w.between(row.get('from', 0), row.get('to', 0))
        row.update({'clocks': clocks, 'throttled': clocks.get('throttled'), 'config': how})
    made = next((x for x in lines if x['kind'] == 'load'), {})
    why = err.strip().splitlines()[-1] if code and err.strip() else f'exit {code}'
    return {'rows': rows, 'load': made, 'failed': why if code != 0 else None}


def phase4(c):
    runs = step_runs(c)
    for i, run in enumerate(runs):
        step = f'4 {run[0]} {run[1]}' + (' untuned' if run[2] == 'untuned' else '')
        if c.has(step):
            continue
        left = c.left_of(4) / (len(runs) - i)
        if left < 3 and not c.o.dry:
            print(f'-- {step}: no time left', flush=True)
            return
        c.keep(step, run_steps(c, run, left))
        print(f'-- {step}: {len(c.state["done"][step]["rows"])} cases {c.state["done"][step]["failed"] or ""}', flush=True)
    c.keep('4', {})


# --- phase 5


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def start_server(c, model, fmt, port, log, more=('--log-level', 'warn')):
    most = str(max(STREAMS))
    command = [c.path('inferd'), 'serve', '--random', model, '--format', fmt, '--port', str(port), '--device', 'cuda',
               '--max-seqs', '4' if c.o.dry else most, *more, '--ctx', '128' if c.o.dry or model == 'tiny' else '4096']
    return subprocess.Popen(command + c.library() + tuning.config(c), stdout=log, stderr=log)


def stop_server(server):
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()


def wait_ready(server, port, until):
    while time.monotonic() < until and server.poll() is None:
        try:
            with socket.create_connection(('127.0.0.1', port), 1) as s:
                s.sendall(b'GET /v1/health/ready HTTP/1.0\r\n\r\n')
                if b' 200 ' in s.recv(64):
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def serve_and_load(c, model, fmt, workloads, streams, seconds):
    rows, begin, port = [], time.monotonic(), free_port()
    with open(os.path.join(c.o.state, f'server-{model}-{fmt}.log'), 'w+', encoding='utf-8') as log:
        server = start_server(c, model, fmt, port, log)
        try:
            if not wait_ready(server, port, begin + max(20, seconds)):
                log.seek(0)
                return {'rows': [], 'failed': 'not ready: ' + log.read().strip()[-300:]}
            ready = time.monotonic() - begin
            each = max(1.0, (seconds - ready) / (len(workloads) * len(streams)))
            for prompt, tokens in workloads:
                for n in streams:
                    shape = {'prompt': prompt, 'tokens': tokens, 'vocab': 500 if c.o.dry else 100000}
                    with watch.Watch() as w:
                        row = load.measure(port, n, shape, each, len(rows) + 1)
                        rows.append(dict(row, model=model, format=fmt, clocks=w.since(begin)))
            return {'rows': rows, 'ready_s': round(ready, 3), 'failed': None}
        finally:
            stop_server(server)


def phase5(c):
    runs = [('tiny', 'q8_0')] if c.o.dry else SERVER
    workloads, streams = (((8, 4),), (1, 2)) if c.o.dry else (WORKLOADS, STREAMS)
    for i, (model, fmt) in enumerate(runs):
        step = f'5 {model} {fmt}'
        if not c.has(step):
            seconds = 3 if c.o.dry else c.left_of(5) / (len(runs) - i)
            c.keep(step, serve_and_load(c, model, fmt, workloads, streams, seconds))
    c.keep('5', {})


# --- phase 6


def phase6(c):
    """Counters of the kernels of a few steps, as ncu writes them."""
    captures = [('q4_0', ['--decode', '1:2176']), ('bf16', ['--decode', '64:2176']), ('bf16', ['--prefill', '2048'])]
    done, why = [], ''
    ncu = next((p for p in [shutil.which('ncu'), *glob.glob('/usr/local/cuda*/bin/ncu'),
                            *glob.glob('/opt/nvidia/nsight-compute/*/ncu')] if p), 'ncu')
    for i, (fmt, case) in enumerate(captures if not c.o.dry else []):
        out = os.path.join(c.o.state, f'ncu-{fmt}-{case[1].replace(":", "x")}.csv')
        command = [ncu, '--target-processes', 'all', '--clock-control', 'none', '--set', 'basic', '--launch-count', '40', '--csv', '--log-file', out,
                   c.path('gpu_step'), '--shape', 'llama-3.2-1b', '--format', fmt, *case, '--tiny', *c.library()]
        try:
            code, _, err = c.run(command, max(10, c.left_of(6) / (len(captures) - i)))
        except OSError:
            code, err = 1, 'ncu is not here'
        done += [out] if code == 0 else []
        why = why or ('' if code == 0 else err.strip()[-200:])
    c.keep('6', {'captures': done, 'why_not': why})


# --- phase 7


def phase7(c):
    """Of the Python that has PyTorch: this one, or that in PATH."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'torch_base.py')
    python = sys.executable if importlib.util.find_spec('torch') else shutil.which('python3') or sys.executable
    code, out, err = c.run([python, program, '--seconds', str(SHARE[7] * 0.6)] + c.tiny(), 4 * SHARE[7])
    lines = json_lines(out)
    notes = [x['text'] for x in lines if x['kind'] == 'note']
    text = '; '.join(notes) + (f'; exit {code}: {err.strip()[-200:]}' if code else '')
    c.keep('7', {'torch': [x for x in lines if x['kind'] == 'torch'],
                 'checks': {'PyTorch': {'ok': code == 0, 'text': text}}})


# --- all


PHASES = {0: phase0, 1: phase1, 2: phase2, 3: tuning.phase3, 4: phase4, 5: phase5, 6: phase6, 7: phase7}


def left_of(c, phase):
    """Seconds that remain to a phase: its share from its beginning, but no more than there are."""
    return max(0.0, min(c.phase_begin + SHARE[phase] * c.o.seconds / sum(SHARE.values()), c.end) - time.monotonic())


Check.left_of = left_of


def result_of(c):
    done = c.state['done']
    first, ceil = done.get('0', {}), done.get('1', {})
    parts = [v for k, v in done.items() if k.startswith('4 ')]
    rows = [dict(r) for p in parts for r in p['rows']]
    report.add_bounds(rows, ceil.get('ceil', {}))
    tuned, checks = tuning.result_of(c)
    for phase in ('0', '1', '2', '7'):
        checks.update(done.get(phase, {}).get('checks', {}))
    checks.update({f'phase {k}': {'ok': False, 'text': v} for k, v in c.state.get('broken', {}).items()})
    for k, v in done.items():
        if k[:2] in ('4 ', '5 ') and v.get('failed'):
            checks[k] = {'ok': c.o.dry, 'text': v['failed']}  # dry: a format that there is not
    env = dict(first.get('env') or {}, boards=c.state.get('boards', {}))
    gate = report.gate(rows, env['device']['name'])
    checks.update({'gate': gate} if gate else {})
    return {
        'schema': 1, 'env': env, 'ceil': ceil.get('ceil', {}), 'ceil_clocks': ceil.get('clocks', {}),
        'checks': checks, 'self_check': done.get('2', {}).get('self_check', {}), 'weights': ceil.get('weights', []), 'rows': rows, 'loads': [p['load'] for p in parts if p.get('load')],
        'server': [r for k, v in done.items() if k.startswith('5 ') for r in v['rows']],
        'ncu': done.get('6', {}), 'tuning': tuned, 'torch': done.get('7', {}).get('torch', []),
    }


def compare(c, result, path):
    """With the last file of the same GPU; what became slower fails, unless it was slowed down."""
    last = report.last_file(c.o.last, path, result['env']['device']['name'])
    if not last:
        result['compared'] = {'with': None, 'rows': []}
        return
    with open(last, encoding='utf-8') as f:
        rows = report.differences(result, json.load(f))
    slower = [r for r in rows if r['slower'] and not r['throttled']]
    result['compared'] = {'with': os.path.basename(last), 'rows': rows}
    text = f'{len(rows)} figures are {report.THRESHOLD:.0%} off those of {os.path.basename(last)}, {len(slower)} are slower'
    result['checks']['against the last'] = {'ok': not slower, 'text': text}


def write_result(c, result):
    name = re.sub(r'(nvidia|geforce|tesla)', '', result['env']['device']['name'].lower())
    name = re.sub(r'[^a-z0-9]+', '-', name).strip('-') or 'gpu'
    path = os.path.join(c.o.out, f'{name}-{result["env"]["date"][:10]}.json')
    os.makedirs(c.o.out, exist_ok=True)
    compare(c, result, path)
    with open(path, 'w', encoding='utf-8') as f:
        json.dump(result, f, indent=1)
    if 'wrappers' in c.state['done'] and not c.o.dry:
        cc = result['env']['device']['cc'].replace('.', '')
        golden = os.path.join(c.o.golden or c.o.out, f'wrappers-{cc}.txt')
        os.makedirs(os.path.dirname(golden), exist_ok=True)
        with open(golden, 'w', encoding='utf-8') as f:
            f.write(c.state['done']['wrappers'])
    tuned = os.path.join(c.o.state, tuning.CONFIG)
    if os.path.exists(tuned):
        shutil.copy(tuned, path[:-len('.json')] + '-' + tuning.CONFIG)
        with open(path[:-len('.json')] + '-' + tuning.CONFIG + '.timings.jsonl.gz', 'wb') as out:
            out.write(gzip.compress(tuning.timings(c), mtime=0))
    c.copy_out()
    return path


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder')
    p.add_argument('--phases', default='0,1,2,3,4,5,6,7')
    p.add_argument('--seconds', type=float, default=540)
    p.add_argument('--out', default='docs/measurements')
    p.add_argument('--golden', help='where a GPU\'s lines of gpu_wrappers are kept [--out]')
    p.add_argument('--state', default='build/gpu-check')
    p.add_argument('--keep', help='a folder that gets an archive of the state after every step')
    p.add_argument('--last', default='docs/measurements', help='where the last results lie [%(default)s]')
    p.add_argument('--fresh', action='store_true')
    p.add_argument('--dry', action='store_true')
    return p.parse_args()


def attempt(c, phase):
    """What goes wrong in one phase must not cost the next its time on the GPU."""
    c.state.setdefault('broken', {}).pop(str(phase), None)
    try:
        PHASES[phase](c)
    except Exception as e:  # SystemExit, of phase 0, is no Exception: without a GPU there is nothing to do
        traceback.print_exc()
        c.state['broken'][str(phase)] = f'{type(e).__name__}: {e}'
        c.save()


def main():
    watch.show_libraries()
    os.environ.setdefault('CUDA_DEVICE_ORDER', 'PCI_BUS_ID')
    c = Check(options())
    wanted = sorted({0} | {int(p) for p in c.o.phases.split(',')})
    for phase in wanted:
        c.phase_begin = time.monotonic()
        if phase not in PHASES or c.has(str(phase)):
            continue
        if c.phase_begin > c.end - 3:
            print(f'-- the time is up before phase {phase}: the same command goes on there')
            break
        attempt(c, phase)
        print(f'-- phase {phase}: {time.monotonic() - c.phase_begin:.1f} s', flush=True)
    watch.Watch.stop()
    if not c.has('0'):
        print('nothing is known of the GPU yet: there is no result')
        return 1
    result = result_of(c)
    path = write_result(c, result)
    for line in report.table(result):
        print(line)
    print(f'written: {path}')
    if result['tuning']['provenance'] and not c.o.dry:
        print(tuning.how_to_commit(c, path))
    failed = [f'FAIL {k}: {v["text"]}' for k, v in result['checks'].items() if not v['ok']]
    for line in failed:  # again, where the end of a long output shows it
        print(line)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
