"""Load on a server: streams at once, as clients that read tokens while they come.

Several processes, so that this program does not become what is measured. Standard library only.
Models of random weights write each token as "<id>", which is how tokens are counted here.
"""

import http.client
import json
import multiprocessing
import os
import random
import statistics
import threading
import time

STREAMS_A_PROCESS = 16


def request(port, prompt, tokens, until):
    """Yields (time, tokens so far) as they arrive; gives up at `until`."""
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=600)
    body = {'prompt': prompt, 'max_tokens': tokens, 'temperature': 0, 'ignore_eos': True, 'stream': True}
    try:
        c.request('POST', '/v1/completions', json.dumps(body))
        reply = c.getresponse()
        if reply.status != 200:
            raise RuntimeError(reply.read().decode())
        seen = 0
        for line in reply:
            if not line.startswith(b'data: {'):
                continue
            new = sum(choice['text'].count('<') for choice in json.loads(line[6:])['choices'])
            seen += new
            if new:
                yield time.monotonic(), seen
            if time.monotonic() > until:
                return
    finally:
        c.close()


def client(port, shape, k, seed, until, out):
    """One stream after another until the time is up: (start, [(time, tokens)])."""
    r = random.Random(seed * 1009 + k)
    while time.monotonic() < until:
        prompt = [r.randrange(300, shape['vocab']) for _ in range(shape['prompt'])]
        begin, seen = time.monotonic(), []
        try:
            seen.extend(request(port, prompt, shape['tokens'], until))
        except (OSError, http.client.HTTPException, RuntimeError) as e:
            out.append(('error', str(e)[:200]))
            return
        out.append((begin, seen))


def process(port, shape, ks, seed, until, pipe):
    out = []
    threads = [threading.Thread(target=client, args=(port, shape, k, seed, until, out)) for k in ks]
    [t.start() for t in threads]
    [t.join() for t in threads]
    pipe.send(out)
    pipe.close()


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(p * len(values)))] if values else None


def steps(seen):
    """(time, tokens that came then) of one stream."""
    last = 0
    for at, n in seen:
        yield at, n - last
        last = n


def measure(port, streams, shape, seconds, seed):
    """Tokens a second while all streams run, times to the first token and between tokens."""
    until, jobs = time.monotonic() + seconds, []
    per = max(1, min(STREAMS_A_PROCESS, -(-streams // (os.cpu_count() or 1))))
    begin = time.monotonic()
    for first in range(0, streams, per):
        ours, theirs = multiprocessing.Pipe(False)
        ks = range(first, min(streams, first + per))
        p = multiprocessing.Process(target=process, args=(port, shape, ks, seed, until, theirs))
        p.start()
        theirs.close()
        jobs.append((p, ours))
    runs = [r for _, pipe in jobs for r in pipe.recv()]
    [p.join() for p, _ in jobs]
    errors = [r[1] for r in runs if r[0] == 'error']
    runs = [r for r in runs if r[0] != 'error']
    first = [seen[0][0] - start for start, seen in runs if seen]
    gaps = [(b[0] - a[0]) / max(1, b[1] - a[1]) for _, seen in runs for a, b in zip(seen, seen[1:])]
    arrivals = sorted(s for _, seen in runs for s in steps(seen))
    # From the moment when every stream has had a token, so that filling up does not count.
    full = sorted(first[:streams])[-1] + begin if len(first) >= streams else begin
    window = until - full
    tokens = sum(n for at, n in arrivals if full < at <= until)
    return {
        'streams': streams, 'prompt': shape['prompt'], 'generate': shape['tokens'], 'seconds': round(window, 3),
        'tokens': tokens, 'tok_s': round(tokens / window, 2) if window > 0.2 * seconds else None,
        'ttft_ms': round(1000 * statistics.median(first), 2) if first else None,
        'itl_ms_p50': round(1000 * statistics.median(gaps), 3) if gaps else None,
        'itl_ms_p99': round(1000 * percentile(gaps, 0.99), 3) if gaps else None,
        'errors': errors[:3],
    }
