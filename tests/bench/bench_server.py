#!/usr/bin/env python3
"""Measures the server as its users see it: start, idle, streams at once, and a long prompt beside running streams.

    tests/bench/bench_server.py build/inferd --random qwen2.5-0.5b --format q8_0
    tests/bench/bench_server.py build/inferd model.gguf

Everything behind the program's name goes to `inferd serve`. Prompts are token ids, so any model will do. Standard library
only. A figure is worth something only beside another one from the same run of the same machine; --rounds repeats the load.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time

PORT = 18123


def request(body):
    """Yields (time, tokens so far) for each event of a streamed completion."""
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=300)
    body = {'temperature': 0, 'ignore_eos': True, 'stream': True, 'stream_options': {'include_usage': True}, **body}
    c.request('POST', '/v1/completions', json.dumps(body))
    reply = c.getresponse()
    if reply.status != 200:
        raise RuntimeError(reply.read().decode())
    for line in reply:
        if line.startswith(b'data: {'):
            yield time.monotonic(), json.loads(line[6:])
    c.close()


def prompt(n, seed):
    r = random.Random(seed)
    return [r.randrange(300, 5000) for _ in range(n)]


def status(path):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=5)
    try:
        c.request('GET', path)
        return c.getresponse().status
    except OSError:
        return 0
    finally:
        c.close()


def wait_for(path, begin):
    while status(path) != 200:
        if time.monotonic() - begin > 120:
            raise RuntimeError(f'{path} did not answer 200 within 120 s')
        time.sleep(0.001)
    return 1000 * (time.monotonic() - begin)


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def streams(n, per_stream, tokens, seed):
    """n clients, each asking per_stream times in turn: output tokens/s, median time to the first token and between texts."""
    first, gaps, lock = [], [], threading.Lock()

    def client(k):
        for i in range(per_stream):
            begin, last = time.monotonic(), None
            for at, event in request({'prompt': prompt(128, seed + k * 100 + i), 'max_tokens': tokens}):
                if not event['choices']:
                    continue
                with lock:
                    (first.append(at - begin) if last is None else gaps.append(at - last))
                last = at

    begin = time.monotonic()
    threads = [threading.Thread(target=client, args=(k,)) for k in range(n)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    seconds = time.monotonic() - begin
    return n * per_stream * tokens / seconds, 1000 * statistics.median(first), 1000 * statistics.median(gaps)


def long_prompt(n, tokens, seed):
    """Three streams decode while a prompt of n tokens arrives: their worst gap before and during, the newcomer's first token."""
    gaps, done = [], threading.Event()

    def client(k):
        last = None
        for at, event in request({'prompt': prompt(32, seed + 100 + k), 'max_tokens': tokens}):
            if event['choices']:
                if last:
                    gaps.append((at, at - last))
                last = at
            if done.is_set():
                return

    threads = [threading.Thread(target=client, args=(k,)) for k in range(3)]
    [t.start() for t in threads]
    time.sleep(2)
    begin = time.monotonic()
    at = next(request({'prompt': prompt(n, seed), 'max_tokens': 4}))[0]
    done.set()
    [t.join() for t in threads]
    before = [g for t, g in gaps if t < begin]
    during = [g for t, g in gaps if begin <= t <= at]
    return 1000 * max(before), 1000 * max(during), 1000 * (at - begin)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--long', type=int, default=4096)
    options, serve = p.parse_known_args()
    begin = time.monotonic()
    server = subprocess.Popen([options.program, 'serve', *serve, '--port', str(PORT), '--log-level', 'error'])
    try:
        print(f'live  {wait_for("/v1/health/live", begin):8.1f} ms after exec')
        print(f'ready {wait_for("/v1/health/ready", begin):8.1f} ms after exec')
        before = cpu_seconds(server.pid)
        time.sleep(5)
        print(f'idle  {20 * (cpu_seconds(server.pid) - before):8.1f} % of one processor over 5 s')
        print('streams   tokens/s   first token ms   between texts ms     (medians of the rounds)')
        for n in (1, 4, 16):
            rows = [streams(n, 2, 64, 1000 * n + 10000 * r) for r in range(options.rounds)]
            print('%7d %10.1f %16.1f %18.1f' % (n, *map(statistics.median, zip(*rows))), flush=True)
        rows = [long_prompt(options.long, 4000, 9000 + r) for r in range(options.rounds)]
        print('a prompt of %d tokens beside 3 streams: worst gap %.0f ms before, %.0f ms during; its first token after %.0f ms'
              % (options.long, *map(statistics.median, zip(*rows))))
    finally:
        server.terminate()
        server.wait(60)


if __name__ == '__main__':
    sys.exit(main())
