"""The process as its operator sees it: health, keys, errors, clients that leave, signals, ports, commands."""

import concurrent.futures
import json
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from conftest import BINARY, ROOT, TINY

BODY = {'prompt': 'Once upon a time', 'max_tokens': 8, 'temperature': 0}
LONG = {'prompt': [5] * 100, 'max_tokens': 150, 'temperature': 0, 'ignore_eos': True}


def leave(server, body, after):
    """Sends a request and closes the socket after so many seconds without reading the answer."""
    host, port = server.url[7:].split(':')
    data = json.dumps(body).encode()
    with socket.create_connection((host, int(port))) as s:
        s.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(data) + data)
        time.sleep(after)


def test_health_and_information(tiny):
    for path in ('/v1/health/live', '/v1/health/ready', '/health'):
        assert tiny.get(path)[0] == 200
    assert tiny.get('/v1/version')[2]['release']
    status, _, metadata = tiny.get('/v1/metadata')
    assert status == 200 and metadata
    status, headers, text = tiny.get('/v1/metrics')
    assert status == 200 and headers['Content-Type'].startswith('text/plain')
    for name in ('num_requests_running', 'time_to_first_token_seconds_bucket', 'gpu_cache_usage_perc'):
        assert name in text


def test_request_id_goes_round(tiny):
    assert tiny.get('/v1/models', x_request_id='mine-1')[1]['x-request-id'] == 'mine-1'
    assert tiny.get('/v1/models')[1]['x-request-id']


@pytest.mark.parametrize(
    'method,path,body,status,word',
    [
        ('GET', '/v1/nothing', None, 404, 'nothing'),
        ('GET', '/v1/completions', None, 405, 'POST'),
        ('POST', '/v1/completions', b'{"prompt": ', 400, 'JSON'),
        ('POST', '/v1/completions', b'[]', 400, 'object'),
        ('POST', '/v1/completions', {'max_tokens': 4}, 400, 'prompt'),
        ('POST', '/v1/completions', {'prompt': 'a', 'max_tokens': 'b'}, 400, 'max_tokens'),
        ('POST', '/v1/completions', {'prompt': [99999]}, 400, '268'),
        ('POST', '/v1/completions', {'prompt': [5] * 300}, 400, '256'),
        ('POST', '/v1/completions', b'{"prompt": "a\xff"}', 400, 'UTF-8'),
    ],
)
def test_what_a_client_gets_wrong(tiny, method, path, body, status, word):
    got, _, reply = tiny.send(method, path, body)
    assert got == status
    assert word in reply['error']['message']
    assert set(reply['error']) == {'message', 'type', 'param', 'code'}


def test_oversized_body(serve):
    server = serve(TINY, '--max-body', '1000')
    assert server.post('/v1/completions', {'prompt': 'a' * 2000})[0] == 413
    assert server.post('/v1/completions', BODY)[0] == 200


def test_keys_guard_all_but_health(serve, tmp_path):
    keys = tmp_path / 'keys'
    keys.write_text('# a comment\nsecret-2\n')
    server = serve(TINY, '--api-key', 'secret-1', '--api-key-file', str(keys))
    for path in ('/v1/models', '/v1/metrics', '/v1/metadata'):
        assert server.get(path)[0] == 401
    assert server.get('/v1/health/ready')[0] == 200
    assert server.post('/v1/completions', BODY)[0] == 401
    assert server.post('/v1/completions', BODY, Authorization='Bearer wrong')[0] == 401
    for key in ('secret-1', 'secret-2'):
        assert server.post('/v1/completions', BODY, Authorization=f'Bearer {key}')[0] == 200
    assert not any('secret' in line for line in server.lines)


def test_strict_model(serve):
    server = serve(TINY, '--strict-model', '--served-model-name', 'org/name')
    assert server.get('/v1/models/org/name')[2]['id'] == 'org/name'
    assert server.post('/v1/completions', {**BODY, 'model': 'org/name'})[0] == 200
    status, _, reply = server.post('/v1/completions', {**BODY, 'model': 'other'})
    assert status == 404 and reply['error']['code'] == 'model_not_found'


def test_full_queue_says_try_again(serve):
    server = serve(TINY, '--max-seqs', '1', '--max-queue', '1')
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: server.post('/v1/completions', LONG), range(12)))
    statuses = [r[0] for r in replies]
    assert set(statuses) == {200, 429}
    refused = next(r for r in replies if r[0] == 429)
    assert int(refused[1]['Retry-After']) >= 1


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('after', [0, 0.002, 0.02])
def test_a_client_that_leaves_stops_its_work(serve, stream, after):
    """In the queue, in the prefill and in decoding: with one slot, all three happen."""
    server = serve(TINY, '--max-seqs', '1')
    for _ in range(4):
        leave(server, {**LONG, 'n': 20, 'stream': stream}, after)
    server.wait_until_idle(5)
    assert server.post('/v1/completions', BODY)[0] == 200
    assert server.metric('generation_tokens_total') < 4 * 20 * 150


def test_sigterm_lets_running_requests_end(serve):
    server = serve(TINY)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(server.post, '/v1/completions', {**LONG, 'n': 8}) for _ in range(4)]
        while server.metric('num_requests_running') < 4 and not all(r.done() for r in running):
            time.sleep(0.005)
        assert server.stop() == 0
        assert [r.result()[0] for r in running] == [200] * 4


def test_a_port_in_use_is_named(serve):
    first = serve(TINY)
    port = first.url.rsplit(':', 1)[1]
    second = subprocess.run(
        [BINARY, 'serve', str(TINY), '--port', port], capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1
    assert port in second.stderr and 'in use' in second.stderr


def test_live_before_the_model_is_loaded(serve, tmp_path):
    missing = serve(tmp_path / 'none.gguf', wait=False)
    assert missing.process.wait(20) == 1
    assert 'none.gguf' in missing.process.stderr.read().decode()


def command(*args, stdin=''):
    done = subprocess.run([BINARY, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_commands():
    assert command('version')[1].startswith('inferd ')
    code, out, _ = command('tokenize', TINY, stdin='hello')
    assert code == 0 and out.count('\n') == 1 and all(i.isdigit() for i in out.split())
    assert 'token_embd.weight' in command('inspect', TINY)[1]
    assert 'KV cache' in command('plan', TINY)[1]
    for name in 'serve chat inspect plan tokenize render bench version'.split():
        code, out, _ = command(name, '--help')
        assert code == 0 and f'inferd {name}' in out
    code, _, err = command('serve', TINY, '--prot', '1')
    assert code == 2 and '--port' in err


def test_render(tmp_path):
    template = tmp_path / 'a.jinja'
    template.write_text('{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{{ extra }}')
    request = {'messages': [{'role': 'user', 'content': 'hé'}], 'extra': 'x'}
    assert command('render', template, stdin=json.dumps(request))[1] == '[user] hé\nx'
    template.write_text('{{ raise_exception("roles must alternate") }}')
    code, _, err = command('render', template, stdin=json.dumps(request))
    assert code == 1 and 'roles must alternate' in err


def test_a_file_that_is_no_model(tmp_path):
    bad = tmp_path / 'bad.gguf'
    bad.write_bytes(b'GGUF' + bytes(200))
    for name in ('plan', 'tokenize'):
        code, _, err = command(name, bad)
        assert code == 1 and 'bad.gguf' in err
    code, out, _ = command('inspect', bad)
    assert code == 0 and 'cannot run' in out and 'has GGUF version 0' in out
    cut = tmp_path / 'cut.gguf'
    cut.write_bytes(TINY.read_bytes()[:100000])
    code, _, err = command('plan', cut)
    assert code == 1 and 'cut.gguf' in err
