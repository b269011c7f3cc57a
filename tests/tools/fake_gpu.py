#!/usr/bin/env python3
"""Stands in for the programs that gpu-check runs on an H100: each by the name that it is called by.

For test_gpu_whole.py: what they print has the form of what the real ones print; the figures are FAKE_SPEED
times the bound of such a GPU. Nothing is computed.
"""

import hashlib
import http.server
import json
import os
import sys
import time

NAME = os.path.basename(sys.argv[0])
SPEED = float(os.environ.get('FAKE_SPEED', 1))
CEILINGS = {'copy_gbs': 2800, 'read_gbs': 3000, 'l2_gbs': 5500, 'lt_bf16_tflops': 700, 'lt_fp8_tflops': 1300, 'upload_gbs': 54,
            'graph_gap_us': 1.2}
DEVICE = {'kind': 'device', 'name': 'NVIDIA H100 80GB HBM3', 'cc': '9.0', 'sm': 132, 'memory_bytes': 85 << 30}
BITS = {'bf16': 16, 'f8_e4m3': 8.25, 'q8_0': 8.5, 'q4_0': 4.5, 'q4_k': 4.5}


def option(name, default=''):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def say(**what):
    print(json.dumps(what), flush=True)


def gpu_wrappers():
    with open(os.path.join(os.path.dirname(sys.argv[0]), 'wrappers.txt'), encoding='utf-8') as f:
        print(f.read(), end='')


def gpu_ceilings():
    say(**DEVICE)
    if '--facts' in sys.argv:
        return
    assert option('--cublaslt').endswith('libcublasLt.so.13'), sys.argv
    time.sleep(0.4)  # long enough for nvidia-smi's samples
    for name, value in CEILINGS.items():
        say(kind='ceil', name=name, value=value * SPEED, lo=value * SPEED * 0.99, hi=value * SPEED * 1.01)


def gpu_load():
    for source in 'page cache', 'disk':
        for fmt in 'bf16', 'q8_0', 'q4_0', 'q4_k':
            say(kind='load', format=fmt, **{'from': source}, gbs=50.0, bound=54.0, by='bus', share=50 / 54)


def gpu_step():
    model, fmt = option('--shape'), option('--format')
    weights = (8.03e9 if model == 'llama-3.1-8b' else 1.24e9) * BITS[fmt] / 8
    cases = [('decode', *map(int, c.split(':'))) for c in option('--decode').split(',') if c]
    cases += [('prefill', 1, int(c)) for c in option('--prefill').split(',') if c]
    say(kind='load', model=model, format=fmt, seconds=0.5, bytes=int(weights), kv_pages=100)
    for case, batch, n in cases:
        rows, context = (batch, n) if case == 'decode' else (n, 0)
        kv, flops = batch * context * 131072.0, 2 * rows * weights * 8 / BITS[fmt]
        tflops = 1300 if fmt == 'f8_e4m3' else 700
        us = (max(weights / 3000e3, flops / (tflops * 1e6)) + kv / 3000e3) / (0.9 * SPEED)
        now = time.monotonic()
        if batch == 256 and context == 8192:
            say(kind='row', case=case, model=model, format=fmt, kv='bf16', batch=batch, rows=rows, context=context,
                skip='keys and values do not fit')
            continue
        say(kind='row', case=case, model=model, format=fmt, kv='f8_e4m3' if fmt == 'f8_e4m3' else 'bf16', batch=batch, rows=rows,
            context=context, us=us, lo=us * 0.99, hi=us * 1.01, tok_s=rows * 1e6 / us, **{'from': now - 1, 'to': now},
            weight_bytes=weights, kv_bytes=kv, linear_flops=flops, attention_flops=0)


class Service(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(200)
        self.end_headers()
        for _ in range(body['max_tokens']):
            self.wfile.write(b'data: {"choices": [{"text": "<7>"}]}\n\n')
            self.wfile.flush()
            time.sleep(0.01)
        self.wfile.write(b'data: [DONE]\n\n')


def serve():
    cache = option('--gpu-cache')
    if cache and not os.path.exists(cache):
        os.makedirs(cache)
        print("INFO  cuda: kernels checked against the CPU in 41 ms, 9 of them the CPU's: 23 results", file=sys.stderr, flush=True)
    http.server.ThreadingHTTPServer(('127.0.0.1', int(option('--port'))), Service).serve_forever()


def tune():
    out, raw = option('--output'), b'{"us": 1}\n'
    with open(out + '.timings.jsonl', 'wb') as f:
        f.write(raw + b'{"of a run that was": "cut off"}\n')
    with open(out, 'w', encoding='utf-8') as f:
        json.dump({'id': 'h100-sxm', 'provenance': {'kind': 'measured', 'raw_sha256': hashlib.sha256(raw).hexdigest()}}, f)
    print('read_gbs              3000 measured,       2900 configured, x 1.034\n'
          '7 of 7 matrices, 70 shapes: 12 have a faster launch; 0 launches were wrong, 1 rounds were dropped\n'
          'speed after / before: 1.034 in the mean, 0.998 at least')


def inferd():
    {'serve': serve, 'tune': tune, 'version': lambda: print('inferd 0.0')}[sys.argv[1]]()


def ncu():
    with open(option('--log-file'), 'w', encoding='utf-8') as f:
        f.write('"Kernel Name","Metric Value"\n')


if NAME.startswith('test_'):
    print('[       OK ] it')
else:
    {'gpu_wrappers': gpu_wrappers, 'gpu_ceilings': gpu_ceilings, 'gpu_load': gpu_load, 'gpu_step': gpu_step, 'inferd': inferd,
     'ncu': ncu}[NAME]()
