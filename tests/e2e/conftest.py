"""Starts the real program for the end-to-end tests: the default model when it is in the cache, tiny ones always."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / 'build' / 'inferd'
TINY = ROOT / 'tests' / 'data' / 'models' / 'smollm2.gguf'
CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
DEFAULT = CACHE / 'inferd' / 'models' / 'SmolLM2-135M-Instruct-Q4_1.gguf'


class Server:
    """One `inferd serve` on a free port; its log is kept and shown when a test fails to start it."""

    def __init__(self, model, *options, wait=True):
        self.lines = []
        self.process = subprocess.Popen(
            [str(BINARY), 'serve', str(model), '--port', '0', *options],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self.url = None
        if wait:
            self.wait_for('ready: ', 60)

    def wait_for(self, what, seconds):
        """Reads the log until a line has `what`; returns that line."""
        end = time.monotonic() + seconds
        pending = b''
        while time.monotonic() < end:
            ready, _, _ = select.select([self.process.stderr], [], [], 0.1)
            if not ready:
                continue
            data = os.read(self.process.stderr.fileno(), 65536)
            if not data:
                break
            pending += data
            *whole, pending = pending.split(b'\n')
            for line in whole:
                text = line.decode()
                self.lines.append(text)
                match = re.search(r'http://[0-9.:]+', text)
                if match and not self.url:
                    self.url = match.group()
                if what in text:
                    return text
        raise AssertionError(f'no line with {what!r}:\n' + '\n'.join(self.lines))

    def get(self, path, **headers):
        return self.send('GET', path, None, **headers)

    def post(self, path, body, **headers):
        return self.send('POST', path, body, **headers)

    def send(self, method, path, body, **headers):
        """(status, headers, body): JSON decoded where it is JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        names = {k.replace('_', '-'): v for k, v in headers.items()}
        request = urllib.request.Request(self.url + path, data, names, method=method)
        try:
            reply = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            reply = error
        raw = reply.read()
        is_json = 'json' in reply.headers.get('Content-Type', '')
        return reply.status, reply.headers, json.loads(raw) if is_json else raw.decode()

    def metric(self, name):
        """The value of a metric without labels, or the sum over its labels."""
        _, _, text = self.get('/v1/metrics')
        values = re.findall(rf'^{name}(?:\{{[^}}]*\}})? ([0-9.e+-]+)$', text, re.M)
        assert values, f'no metric {name}'
        return sum(float(v) for v in values)

    def wait_until_idle(self, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.metric('num_requests_running') == 0 and self.metric('num_requests_waiting') == 0:
                return
            time.sleep(0.02)
        raise AssertionError('requests are still running')

    def stop(self, number=signal.SIGTERM, seconds=20):
        """Signals the process and returns its exit status; kills it when it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            _, rest = self.process.communicate(timeout=seconds)
            self.lines += rest.decode().splitlines()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode


@pytest.fixture
def serve():
    """serve(model, *options) -> Server, stopped after the test."""
    started = []

    def start(*args, **kwargs):
        started.append(Server(*args, **kwargs))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope='session')
def tiny():
    server = Server(TINY)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture(scope='session')
def chat():
    """A server of the default model, which has a chat template."""
    if not DEFAULT.exists():
        pytest.skip(f'the default model is not in the cache (models/fetch.sh puts it there)')
    server = Server(DEFAULT)
    yield server
    server.stop(signal.SIGKILL)
