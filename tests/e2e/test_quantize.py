"""`inferd quantize`: files that the gguf package reads, and runs that end badly."""

import os
import pathlib
import resource
import signal
import subprocess
import time

import numpy
import pytest
from gguf import GGUFReader, quants

INFERD = os.environ.get('INFERD', 'build/inferd')
MODELS = pathlib.Path('tests/data/models')


def run(*args, **more):
    return subprocess.run(
        [INFERD, 'quantize', *map(str, args)], capture_output=True, text=True, timeout=60, **more
    )


def decoded(reader):
    """Name -> numbers; NVFP4 with the factor beside it."""
    raw = {t.name: t for t in reader.tensors}
    out = {}
    for name, t in raw.items():
        x = quants.dequantize(t.data, t.tensor_type).astype(numpy.float64)
        factor = raw.get(name.replace('.weight', '.scale'))
        out[name] = x * factor.data[0] if factor is not None and factor is not t else x
    return out


# The most that the relative squared error of a matrix may be; of normal numbers, about.
TYPES = {
    'f16': 1e-7, 'bf16': 1e-5, 'q8_0': 5e-5, 'q4_0': 0.012, 'q4_1': 0.01, 'q5_0': 0.003,
    'q5_1': 0.003, 'q2_k': 0.15, 'q3_k_m': 0.05, 'q4_k_m': 0.012, 'q5_k_m': 0.003, 'q6_k': 6e-4,
    'iq4_nl': 0.01, 'iq4_xs': 0.01, 'mxfp4': 0.03, 'nvfp4': 0.015,
}  # fmt: skip


def test_the_gguf_package_reads_it(tmp_path):
    source = MODELS / 'llama-k.gguf'
    was = GGUFReader(source)
    numbers = decoded(was)
    for kind, most in TYPES.items():
        out = tmp_path / f'{kind}.gguf'
        result = run(source, out, '--type', kind.upper(), '--allow-requantize')
        assert result.returncode == 0, result.stderr
        assert f'{out}: ' in result.stderr
        reader = GGUFReader(out)
        for key, field in was.fields.items():
            if not key.startswith('GGUF.') and key not in (
                'general.file_type',
                'general.quantization_version',
            ):
                assert reader.fields[key].contents() == field.contents(), key
                assert reader.fields[key].types == field.types, key
        assert reader.fields['general.quantization_version'].contents() == 2
        now = decoded(reader)
        for name, x in numbers.items():
            error = ((now[name] - x) ** 2).sum() / (x**2).sum()
            assert error <= (most if x.ndim == 2 else 0), (kind, name)
        out.unlink()


def test_wrong_use(tmp_path):
    out = tmp_path / 'out.gguf'
    for args, word in (
        ((MODELS / 'qwen2.gguf', out), 'which type'),
        ((MODELS / 'qwen2.gguf', '--type', 'q8_0'), 'which file'),
        ((MODELS / 'qwen2.gguf', out, '--type', 'q9'), 'q4_k_m'),
        ((MODELS / 'qwen2.gguf', out, 'third', '--type', 'q8_0'), 'third'),
    ):
        result = run(*args)
        assert result.returncode == 2
        assert word in result.stderr
    result = run(MODELS / 'qwen2-q4_0.gguf', out, '--type', 'q5_1')
    assert result.returncode == 1
    assert '--allow-requantize' in result.stderr
    result = run('no/such.gguf', out, '--type', 'q8_0')
    assert result.returncode == 1
    assert 'no/such.gguf' in result.stderr
    result = run(MODELS / 'qwen2.gguf', out, '--type', 'q8_0', '--imatrix', MODELS / 'qwen2.gguf')
    assert result.returncode == 1
    assert 'no importance matrix' in result.stderr
    result = run('tests/data/quantize/imatrix.gguf', out, '--type', 'q8_0')
    assert result.returncode == 1
    assert 'no matrix' in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_named(tmp_path):
    out = tmp_path / 'out.gguf'
    out.write_text('what was there')
    result = run(
        MODELS / 'qwen2.gguf',
        out,
        '--type',
        'q8_0',
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)),
    )
    assert result.returncode == 1
    assert str(out) in result.stderr
    assert [f.name for f in tmp_path.iterdir()] == ['out.gguf']
    assert out.read_text() == 'what was there'


def test_interrupted(tmp_path):
    """Whenever the signal comes: the whole file or none, and never a part beside it."""
    source = tmp_path / 'in.gguf'
    assert run(MODELS / 'llama-k.gguf', source, '--type', 'f32').returncode == 0
    for delay in (0, 0.003, 0.01):
        out = tmp_path / 'out.gguf'
        process = subprocess.Popen(
            [INFERD, 'quantize', source, out, '--type', 'q2_k', '--threads', '1'],
            stderr=subprocess.PIPE,
        )
        process.stderr.readline()  # it has begun, and waits for signals
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1].decode()
        files = sorted(f.name for f in tmp_path.iterdir())
        if process.returncode == 0:
            assert files == ['in.gguf', 'out.gguf']
            GGUFReader(out)
            out.unlink()
        else:
            assert process.returncode == 1
            assert 'interrupted' in error
            assert files == ['in.gguf']


@pytest.mark.parametrize('kind', ['q4_k_m', 'nvfp4', 'mxfp4'])
def test_requests_are_answered(serve, tmp_path, kind):
    out = tmp_path / 'out.gguf'
    source = MODELS / 'llama-k.gguf'
    assert run(source, out, '--type', kind, '--allow-requantize').returncode == 0
    server = serve(out)
    body = b'{"prompt": "the hello", "max_tokens": 4, "temperature": 0, "ignore_eos": true}'
    status, _, reply = server.post('/v1/completions', body, Content_Type='application/json')
    assert status == 200
    assert reply['usage']['completion_tokens'] == 4
