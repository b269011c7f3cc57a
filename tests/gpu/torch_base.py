#!/usr/bin/env python3
"""What PyTorch does on this GPU: products by cuBLAS, attention by SDPA, and a whole decode step in a graph.

    tests/gpu/torch_base.py [--seconds N] [--tiny]

Random weights, bf16, the shapes of Llama-3.1-8B; one JSON object a line, as gpu_step prints them. Prints
a note and nothing else where PyTorch or a GPU is missing. --tiny: on the CPU, shapes that say nothing.
"""

import argparse
import json
import statistics
import time

BLOCKS = 7


def say(**what):
    print(json.dumps(what), flush=True)


class Bench:
    def __init__(self, torch, tiny, seconds):
        self.t, self.tiny, self.seconds = torch, tiny, seconds
        self.device = 'cpu' if tiny else 'cuda'

    def random(self, *shape):
        return self.t.randn(*shape, device=self.device, dtype=self.t.bfloat16) * 0.02

    def wait(self):
        if not self.tiny:
            self.t.cuda.synchronize()

    def capture(self, run):
        """`run` in a graph, after a warm-up on a stream of its own."""
        if self.tiny:
            return run
        side = self.t.cuda.Stream()
        with self.t.cuda.stream(side):
            for _ in range(3):
                run()
        self.wait()
        graph = self.t.cuda.CUDAGraph()
        with self.t.cuda.graph(graph):
            run()
        return graph.replay

    def time(self, run):
        """Microseconds: median, least and most of the blocks."""
        self.wait()
        begin = time.perf_counter()
        run()
        self.wait()
        once = max(1e-6, time.perf_counter() - begin)
        n, us = 1 if self.tiny else max(1, int(self.seconds / BLOCKS / once)), []
        for _ in range(BLOCKS):
            begin = time.perf_counter()
            for _ in range(n):
                run()
            self.wait()
            us.append((time.perf_counter() - begin) / n * 1e6)
        return {'us': round(statistics.median(us), 3), 'lo': round(min(us), 3), 'hi': round(max(us), 3)}


SHAPE = {'width': 4096, 'ffn': 14336, 'heads': 32, 'kv': 8, 'd': 128, 'layers': 32, 'vocab': 128256}
TINY = {'width': 64, 'ffn': 96, 'heads': 4, 'kv': 2, 'd': 16, 'layers': 2, 'vocab': 128}


def weights(s):
    qkv = (s['heads'] + 2 * s['kv']) * s['d']
    return {'qkv': (qkv, s['width']), 'o': (s['width'], s['heads'] * s['d']), 'gate_up': (2 * s['ffn'], s['width']),
            'down': (s['width'], s['ffn']), 'head': (s['vocab'], s['width'])}


def products(b, s, rows):
    for name, (n, k) in weights(s).items():
        w = [b.random(n, k) for _ in range(1 if n * k > 1 << 26 else 4)]  # more than the L2 holds
        for m in rows:
            x = b.random(m, k)
            run = b.capture(lambda: [x @ v.T for v in w])
            f = {k: v / len(w) for k, v in b.time(run).items()}
            say(kind='torch', case='linear', name=name, rows=m, tflops=round(2e-6 * m * n * k / f['us'], 3),
                gbs=round(2e-3 * n * k / f['us'], 1), **f)


def attend(b, s, q, k, v, causal):
    return b.t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)


def attention(b, s, cases):
    for batch, rows, context in cases:
        q = b.random(batch, s['heads'], rows, s['d'])
        k, v = (b.random(batch, s['kv'], context, s['d']) for _ in range(2))
        run = b.capture(lambda: attend(b, s, q, k, v, rows > 1))
        f = b.time(run)
        say(kind='torch', case='attention', batch=batch, rows=rows, context=context,
            gbs=round(4e-3 * batch * context * s['kv'] * s['d'] / f['us'], 1), **f)


def step(b, s, batch, context):
    """A decode step: norms, products, attention over keys that lie in one piece, argmax."""
    f, width = b.t.nn.functional, s['width']
    w = [{n: b.random(*shape) for n, shape in weights(s).items() if n != 'head'} for _ in range(s['layers'])]
    head, norm = b.random(s['vocab'], width), b.random(width)
    keys = [[b.random(batch, s['kv'], context, s['d']) for _ in range(2)] for _ in range(s['layers'])]
    x0, cut = b.random(batch, width), s['heads'] * s['d']

    def run():
        x = x0
        for layer, (k, v) in zip(w, keys):
            q = (f.rms_norm(x, (width,), norm) @ layer['qkv'].T)[:, :cut].view(batch, s['heads'], 1, s['d'])
            x = x + attend(b, s, q, k, v, False).reshape(batch, cut) @ layer['o'].T
            gate, up = (f.rms_norm(x, (width,), norm) @ layer['gate_up'].T).chunk(2, -1)
            x = x + (f.silu(gate) * up) @ layer['down'].T
        return (f.rms_norm(x, (width,), norm) @ head.T).argmax(-1)

    t = b.time(b.capture(run))
    say(kind='torch', case='decode', model='llama-3.1-8b', format='bf16', batch=batch, context=context,
        tok_s=round(batch * 1e6 / t['us'], 1), **t)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=float, default=20)
    p.add_argument('--tiny', action='store_true')
    o = p.parse_args()
    try:
        import torch
    except ImportError:
        say(kind='note', text='PyTorch is not here')
        return
    if not o.tiny and not torch.cuda.is_available():
        say(kind='note', text='PyTorch finds no GPU')
        return
    s = TINY if o.tiny else SHAPE
    rows = (1, 8) if o.tiny else (1, 8, 64, 256, 2048)
    attentions = [(1, 1, 64)] if o.tiny else [(1, 1, 2176), (64, 1, 2176), (1, 2048, 2048)]
    steps = [(1, 64)] if o.tiny else [(1, 2176), (8, 2176), (64, 2176)]
    b = Bench(torch, o.tiny, o.seconds / (5 * len(rows) + len(attentions) + len(steps)))
    say(kind='note', text=f'PyTorch {torch.__version__}')
    with torch.no_grad():
        for work, *of in [(products, rows), (attention, attentions)] + [(step, *x) for x in steps]:
            try:
                work(b, s, *of)
            except RuntimeError as e:  # no memory, no kernel: the next
                say(kind='note', text=f'{work.__name__}: {str(e).splitlines()[0][:200]}')
            if not o.tiny:
                torch.cuda.empty_cache()


if __name__ == '__main__':
    main()
