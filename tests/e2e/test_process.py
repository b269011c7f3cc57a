"""The process as a whole: start, ports, signals, idleness, the commands. Weights are random and tiny,
so that a start takes milliseconds and 2000 tokens take about a second."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

INFERD = os.environ.get('INFERD', 'build/inferd')  # a sanitizer build, for one
TINY = ['--random', 'tiny', '--format', 'f32']
PATIENCE = 60


def run(*args, stdin=None, env=None):
    return subprocess.run(
        [INFERD, *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **(env or {})},
    )


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f'waited {PATIENCE} s for {what}')


class Server:
    def __init__(self, log, *args, env=None):
        self.log = log
        self.process = subprocess.Popen(
            [INFERD, 'serve', *args, '--port', '0'],
            stderr=open(log, 'w'),
            env={**os.environ, **(env or {})},
        )
        self.port = int(wait_for('the ready line', self.ready).group(1))

    def ready(self):
        assert self.process.poll() is None, self.text()
        return re.search(r'ready: http://127\.0\.0\.1:(\d+) ', self.text())

    def text(self):
        with open(self.log) as f:
            return f.read()

    def connect(self):
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)

    def get(self, path, headers=None):
        c = self.connect()
        c.request('GET', path, headers=headers or {})
        reply = c.getresponse()
        return reply.status, reply.read().decode()

    def complete(self, **fields):
        """Sends a completion request; the connection, whose reply is yet to come."""
        body = {'prompt': [1, 2, 3], 'max_tokens': 1900, 'ignore_eos': True, **fields}
        c = self.connect()
        c.request('POST', '/v1/completions', json.dumps(body))
        return c

    def metric(self, name):
        found = re.search(rf'^{name}(?:{{.*}})? (\S+)$', self.get('/v1/metrics')[1], re.M)
        return float(found.group(1))

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path):
    servers = []

    def start_one(*args, env=None):
        servers.append(Server(tmp_path / f'log{len(servers)}', *TINY, *args, env=env))
        return servers[-1]

    yield start_one
    for server in servers:
        server.end()


def test_port_in_use_is_named():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        result = run('serve', *TINY, '--port', str(port))
    assert result.returncode == 1
    assert f'port {port} of 127.0.0.1 is in use' in result.stderr


def test_failed_loads_end_with_1(tmp_path):
    result = run('serve', 'no/such.gguf', '--port', '0')
    assert result.returncode == 1
    assert 'no/such.gguf' in result.stderr
    bad = tmp_path / 'bad.gguf'
    bad.write_bytes(b'not a model')
    result = run('serve', str(bad), '--port', '0')
    assert result.returncode == 1
    assert str(bad) in result.stderr
    result = run('serve', '--port', '0')
    assert result.returncode == 1
    assert 'which model' in result.stderr


def test_live_is_answered_at_once(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as s:
        port = s.getsockname()[1]
    log = open(tmp_path / 'log', 'w')
    process = subprocess.Popen(
        [INFERD, 'serve', '--random', 'smollm2-135m', '--port', str(port)], stderr=log
    )
    try:

        def live():
            try:
                c = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
                c.request('GET', '/v1/health/ready')
                ready = c.getresponse()
                ready.read()
                c.request('GET', '/v1/health/live')
                return ready.status, c.getresponse().status
            except ConnectionRefusedError:
                return None

        ready, status = wait_for('the port', live)
        assert status == 200
        assert ready == 503  # the weights take longer than the first connection
    finally:
        process.send_signal(signal.SIGTERM)  # while it loads: nothing to wait for
        assert process.wait(PATIENCE) == 0


def test_sigterm_drains(start):
    server = start('--max-seqs', '2')
    streams = [server.complete(stream=True) for _ in range(5)]  # three of them wait
    wait_for('running jobs', lambda: server.metric('num_requests_running') == 2)
    spare = server.connect()
    spare.request('GET', '/v1/health/ready')
    reply = spare.getresponse()
    assert (reply.status, reply.getheader('Connection')) == (200, None)
    reply.read()
    server.process.send_signal(signal.SIGTERM)
    wait_for('draining', lambda: 'stopping' in server.text())
    spare.request('POST', '/v1/completions', json.dumps({'prompt': [1], 'max_tokens': 1}))
    reply = spare.getresponse()
    assert reply.status == 503
    assert reply.getheader('Connection') == 'close'
    for stream in streams:
        text = stream.getresponse().read().decode()
        assert text.endswith('data: [DONE]\n\n')
        assert '"finish_reason":"length"' in text
    assert server.process.wait(PATIENCE) == 0


def test_drain_timeout_breaks_off(start):
    server = start('--max-seqs', '1', '--drain-timeout', '0.3')
    connections = [server.complete() for _ in range(30)]
    wait_for('a running job', lambda: server.metric('num_requests_running') == 1)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    assert 'broken off' in server.text()
    ended = 0
    for c in connections:
        try:
            c.getresponse().read()
        except (http.client.HTTPException, ConnectionError):
            ended += 1
    assert ended > 0


def test_second_signal_ends_at_once(start):
    server = start('--max-seqs', '1')
    connections = [server.complete() for _ in range(40)]
    wait_for('a running job', lambda: server.metric('num_requests_running') == 1)
    server.process.send_signal(signal.SIGTERM)
    wait_for('draining', lambda: 'stopping' in server.text())
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert connections


def test_leaving_clients_cancel(start):
    server = start('--max-seqs', '1')
    first = server.complete(n=16)  # keeps the only slot for seconds
    wait_for('a running job', lambda: server.metric('num_requests_running') >= 1)
    queued = server.complete()
    streamed = server.complete(stream=True)
    wait_for('waiting jobs', lambda: server.metric('num_requests_waiting') >= 2)
    queued.close()
    wait_for('a cancelled queued job', lambda: server.metric('inferd_jobs_cancelled_total') == 1)
    first.close()
    wait_for('a cancelled running job', lambda: server.metric('inferd_jobs_cancelled_total') == 2)
    streamed.getresponse().read(10)
    streamed.close()
    wait_for(
        'the end of the stream, cancelled or finished',
        lambda: server.metric('num_requests_running') + server.metric('num_requests_waiting') == 0,
    )


def switches(pid):
    """Context switches of all threads: how often any of them woke up."""
    total = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/status') as f:
            total += sum(int(n) for n in re.findall(r'ctxt_switches:\s*(\d+)', f.read()))
    return total


def test_idle_means_asleep(start):
    server = start()
    keep = server.connect()  # an idle connection is no reason to wake either
    keep.request('POST', '/v1/completions', json.dumps({'prompt': [1, 2], 'max_tokens': 20}))
    keep.getresponse().read()

    def still():  # the last of the request may still be cleared away
        before = switches(server.process.pid)
        time.sleep(1)
        return switches(server.process.pid) == before

    wait_for('a second without a single wake-up', still)


def test_keys(start, tmp_path):
    keys = tmp_path / 'keys'
    keys.write_text('# two keys\nfirst\n\n  second  \r\n')
    server = start('--api-key-file', str(keys), env={'INFERD_API_KEY': 'third'})
    for key, status in (('first', 200), ('second', 200), ('third', 200), ('fourth', 401)):
        assert server.get('/v1/models', {'Authorization': f'Bearer {key}'})[0] == status
    assert server.get('/v1/models')[0] == 401
    assert server.get('/v1/health/live')[0] == 200
    keys.write_text('# none\n')
    result = run('serve', *TINY, '--port', '0', '--api-key-file', str(keys))
    assert result.returncode == 1
    assert 'holds no key' in result.stderr


def test_names_and_json_logs(start):
    server = start(
        '--log-format', 'text', env={'NIM_SERVED_MODEL_NAME': 'a/b,c', 'INFERD_STRICT_MODEL': '1'}
    )
    assert json.loads(server.get('/v1/models')[1])['data'][0]['id'] == 'a/b'
    for model, status in (('a/b', 200), ('c', 200), ('d', 404)):
        assert server.complete(model=model, max_tokens=1).getresponse().status == status
    process = subprocess.Popen(
        [INFERD, 'serve', *TINY, '--port', '0', '--log-format', 'json'],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        entry = json.loads(line)
        assert set(entry) == {'time', 'level', 'message'}
        if entry['message'].startswith('ready'):
            break
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_health_command(start):
    server = start()
    port = ['--port', str(server.port)]
    assert run('health', *port).returncode == 0
    assert run('health', *port, '--live', '--host', '0.0.0.0').returncode == 0
    server.process.terminate()
    server.process.wait(PATIENCE)
    result = run('health', *port)
    assert result.returncode == 1
    assert str(server.port) in result.stderr


def test_commands():
    commands = re.findall(r'^  ([a-z]+) ', run('--help').stdout, re.M)
    assert {'serve', 'chat', 'inspect', 'plan', 'tokenize', 'render', 'bench', 'version'} <= set(
        commands
    )
    for command in commands:
        result = run(command, '--help')
        assert result.returncode == 0
        assert result.stdout.startswith(f'usage: inferd {command}')
        assert run(command, '--no-such-option').returncode == 2
    assert run().returncode == 2
    result = run('srve')
    assert result.returncode == 2
    assert 'did you mean serve' in result.stderr
    assert run('version').stdout.startswith('inferd ')
    assert json.loads(run('version', '--json').stdout)['name'] == 'inferd'
    for command in ('inspect', 'tokenize', 'render'):
        assert run(command).returncode == 2
        assert run(command, 'no/such.gguf').returncode == 1
    assert 'KV' in run('plan', *TINY).stdout


def test_render_and_tokenize(tmp_path):
    template = tmp_path / 't.jinja'
    template.write_text(
        '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}'
        '{% if add_generation_prompt %}{{ mood }}{% endif %}'
    )
    request = {'messages': [{'role': 'user', 'content': 'hé'}], 'mood': 'ok'}
    assert run('render', str(template), stdin=json.dumps(request)).stdout == '[user]hé'
    request['add_generation_prompt'] = True
    assert run('render', str(template), stdin=json.dumps(request)).stdout == '[user]héok'
    result = run('render', str(template), stdin='{')
    assert result.returncode == 1
    assert run('tokenize', str(template), stdin='x').returncode == 1


def test_bench():
    result = run('bench', *TINY, '--rounds', '1', '--prompt', '64', '--generate', '200', '--json')
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [(r['test'], r['tokens'], r['streams']) for r in report['rows']] == [
        ('prefill', 64, 1),
        ('decode', 200, 1),
        ('decode', 200, 4),
        ('decode', 200, 16),
    ]
    for row in report['rows']:
        assert row['tokens_per_second'] > 0
        assert row['memory_gb_per_second'] > 0
    assert run('bench', *TINY, '--streams', '4,x').returncode == 1


def test_gpus_are_listed_on_any_machine():
    said = run('gpus', '--json')
    assert said.returncode == 0
    listed = json.loads(said.stdout)
    gpus = {g['id']: g for g in listed['gpus']}
    assert gpus['rtx4090']['kind'] == 'derived' and gpus['rtx4090']['parent'] == 'family-ada'
    assert not gpus['v100']['supported'] and '7.0' in gpus['v100']['reason']
    assert isinstance(listed['here'], list)
    text = run('gpus').stdout
    assert 'rtx4090' in text and 'v100' in text and '\nhere: ' in text
