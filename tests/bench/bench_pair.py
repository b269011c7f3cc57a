#!/usr/bin/env python3
"""Compares two OpenAI-compatible servers on one machine, slice by slice.

Both run; while one is measured the other is stopped (SIGSTOP), and they change places every --slice
seconds, so that both meet the same neighbours, clocks and memory within seconds. Each serves
--streams endless completions; what is counted are streamed text chunks. Prints the rate of each in every pair
of slices, and the median, least and greatest ratio B / A over the pairs.

usage: bench_pair.py [--streams N] [--pairs N] [--slice S] [--prompt WORDS] URL_A "COMMAND A" URL_B "COMMAND B"
A command listens at its URL, is not a shell line, and does not fork away.
"""

import argparse
import http.client
import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import threading
import time
import urllib.parse


class Server:
    def __init__(self, url, command):
        self.at = urllib.parse.urlparse(url)
        self.chunks, self.stop = 0, False
        self.child = subprocess.Popen(
            shlex.split(command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_ready(self, limit=120):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise SystemExit(f'{self.at.netloc}: ended with {self.child.returncode}')
            try:
                link = http.client.HTTPConnection(self.at.netloc, timeout=5)
                link.request('GET', '/health')
                if link.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(f'{self.at.netloc}: not ready after {limit} s')

    def stream(self, words, seed):
        """One completion after the other; a chunk with text counts."""
        rng = random.Random(seed)
        while not self.stop:
            body = {
                'prompt': ' '.join(rng.choice('one two three four five six'.split()) for _ in range(words)),
                'max_tokens': 1000,
                'temperature': 0,
                'ignore_eos': True,
                'stream': True,
            }
            link = http.client.HTTPConnection(self.at.netloc)
            link.request('POST', '/v1/completions', json.dumps(body), {'Content-Type': 'application/json'})
            answer = link.getresponse()
            if answer.status != 200:
                raise SystemExit(f'{self.at.netloc}: {answer.status} {answer.read(300)}')
            for line in answer:
                if self.stop:
                    return
                if line.startswith(b'data: {') and b'"text":""' not in line:
                    self.chunks += 1

    def halt(self):
        os.killpg(self.child.pid, signal.SIGSTOP)

    def go(self):
        os.killpg(self.child.pid, signal.SIGCONT)


def measure(server, seconds):
    """Chunks a second while only this one runs; its first tenth of a second is not counted."""
    server.go()
    time.sleep(0.1)
    begin, chunks = time.monotonic(), server.chunks
    time.sleep(seconds)
    rate = (server.chunks - chunks) / (time.monotonic() - begin)
    server.halt()
    time.sleep(0.02)
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--streams', type=int, default=1)
    parser.add_argument('--pairs', type=int, default=20)
    parser.add_argument('--slice', type=float, default=2.0)
    parser.add_argument('--prompt', type=int, default=100)
    parser.add_argument('server', nargs=4, metavar='URL COMMAND')
    args = parser.parse_args()
    servers = []
    try:
        for i in (0, 2):
            servers.append(Server(args.server[i], args.server[i + 1]))
            servers[-1].wait_ready()
        for server in servers:
            for i in range(args.streams):
                threading.Thread(target=server.stream, args=(args.prompt, i), daemon=True).start()
            before = -1
            while server.chunks < 8 * args.streams or server.chunks == before:
                before = server.chunks
                time.sleep(0.5)
            server.halt()
        ratios = []
        for pair in range(args.pairs):
            order = servers if pair % 2 == 0 else servers[::-1]
            rate = {s: measure(s, args.slice) for s in order}
            a, b = (rate[s] for s in servers)
            ratios.append(b / a if a else float('inf'))
            print(f'pair {pair + 1:3}: A {a:7.1f}  B {b:7.1f}  B/A {ratios[-1]:.2f}', flush=True)
        print(
            f'{args.streams} streams, {args.pairs} pairs of {args.slice} s: B/A median '
            f'{statistics.median(ratios):.2f}, least {min(ratios):.2f}, greatest {max(ratios):.2f}'
        )
    finally:
        for server in servers:
            server.stop = True
            server.go()
            os.killpg(server.child.pid, signal.SIGKILL)


if __name__ == '__main__':
    main()
