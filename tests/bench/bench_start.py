#!/usr/bin/env python3
"""Measures how long the server takes from exec until it answers, and until its model is ready.

    tests/bench/bench_start.py build/inferd model.gguf
    tests/bench/bench_start.py build/inferd --random qwen2.5-0.5b --format q8_0

Everything behind the program's name goes to `inferd serve`. `live`: /v1/health/live answered 200. `ready`: the line `ready:` was
in the log and /v1/health/ready answered 200; nobody asks meanwhile, since asking costs a processor. The file is read once
before, so that it is in the page cache; --pause waits before each run, for machines that take freed memory away after a while
and then have to supply it again. `processor`: time of all threads in the program and in the kernel, start to end. Standard
library only. On a machine that others use too the least of many runs is the figure.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time

PORT = 18124


def answer(path):
    """The status of a GET, 0 when nobody listens yet."""
    try:
        with socket.create_connection(('127.0.0.1', PORT), timeout=30) as s:
            s.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
            reply = s.recv(4096)
            return int(reply.split(b' ', 2)[1]) if reply else 0
    except OSError:
        return 0


def start(command):
    """One start: milliseconds to live and to ready, of processor time in the program and the kernel, and peak MiB."""
    begin = time.monotonic()
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        while answer('/v1/health/live') != 200:
            if server.poll() is not None:
                raise RuntimeError(server.stderr.read().decode())
            time.sleep(0.0002)
        live = time.monotonic() - begin
        while True:
            line = server.stderr.readline()
            if not line:
                raise RuntimeError('the server ended before it was ready')
            if b' ready: ' in line:
                break
        if answer('/v1/health/ready') != 200:
            raise RuntimeError('/v1/health/ready did not answer 200')
        ready = time.monotonic() - begin
    finally:
        server.terminate()
        server.stderr.read()
        _, _, used = os.wait4(server.pid, 0)
        server.returncode = 0
    return [1000 * live, 1000 * ready, 1000 * used.ru_utime, 1000 * used.ru_stime, used.ru_maxrss / 1024]


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--runs', type=int, default=20)
    p.add_argument('--pause', type=float, default=0, help='seconds before each run')
    options, serve = p.parse_known_args()
    for name in serve:
        if name.endswith('.gguf'):
            with open(name, 'rb', buffering=0) as f:
                while f.read(1 << 24):
                    pass
    rows = []
    for _ in range(options.runs):
        time.sleep(options.pause)
        rows.append(start([options.program, 'serve', *serve, '--port', str(PORT)]))
    for name, unit, values in zip(('exec to live', 'exec to ready', 'processor, program', 'processor, kernel', 'resident, peak'),
                                  ('ms', 'ms', 'ms', 'ms', 'MiB'), zip(*rows)):
        print(f'{name:20} least {min(values):7.1f}   median {statistics.median(values):7.1f} {unit}')


if __name__ == '__main__':
    sys.exit(main())
