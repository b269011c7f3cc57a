"""`inferd imatrix`: its sums against NumPy's, and `inferd quantize` with them."""

import os
import pathlib
import subprocess

import numpy
from gguf import GGUFReader

INFERD = os.environ.get('INFERD', 'build/inferd')
MODEL = pathlib.Path('tests/data/models/qwen2.gguf')


def run(*args):
    return subprocess.run([INFERD, *map(str, args)], capture_output=True, text=True, timeout=60)


def test_sums(tmp_path):
    text, out, logits = tmp_path / 'text.txt', tmp_path / 'a.imatrix', tmp_path / 'a.logits'
    text.write_bytes(pathlib.Path('README.md').read_bytes()[:900])
    result = run('imatrix', MODEL, text, out, '--ctx', '64', '--kv-type', 'f32')
    assert result.returncode == 0, result.stderr
    again = tmp_path / 'b.imatrix'
    args = ('--ctx', '64', '--kv-type', 'f32', '--threads', '1')
    assert run('imatrix', MODEL, text, again, *args).returncode == 0
    assert out.read_bytes() == again.read_bytes()
    assert run('perplexity', MODEL, text, '--save-logits', logits, *args).returncode == 0

    reader = GGUFReader(out)
    assert reader.fields['general.type'].contents() == 'imatrix'
    assert reader.fields['imatrix.datasets'].contents() == [str(text)]
    assert reader.fields['imatrix.chunk_size'].contents() == 64
    sums = {t.name: t for t in reader.tensors}
    tokens = next(t.data for t in GGUFReader(logits).tensors if t.name == 'tokens')
    assert reader.fields['imatrix.chunk_count'].contents() * 64 == len(tokens)

    weights = {t.name: t for t in GGUFReader(MODEL).tensors}
    x = weights['token_embd.weight'].data[tokens].astype(numpy.float64)
    x /= numpy.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    x *= weights['blk.0.attn_norm.weight'].data
    for part in 'qkv':  # one matrix in memory, three in the file
        assert sums[f'blk.0.attn_{part}.weight.counts'].data.ravel().tolist() == [len(tokens)]
        got = sums[f'blk.0.attn_{part}.weight.in_sum2'].data.ravel()
        assert numpy.allclose(got, (x**2).sum(0), rtol=1e-4)
    matrices = [n for n, t in weights.items() if len(t.shape) == 2]
    assert sorted(sums) == sorted(f'{n}.{w}' for n in matrices for w in ('in_sum2', 'counts'))
    for name in matrices:
        assert sums[name + '.counts'].data.ravel().tolist() == [len(tokens)]  # every row, to the end
        assert sums[name + '.in_sum2'].data.shape == (1, weights[name].shape[0])

    coarse = tmp_path / 'coarse.gguf'
    result = run('quantize', MODEL, coarse, '--type', 'q4_0', '--imatrix', out)
    assert result.returncode == 0, result.stderr
    assert 'says nothing' not in result.stderr
    fields = GGUFReader(coarse).fields
    assert fields['quantize.imatrix.entries_count'].contents() == len(matrices)


def test_refused(tmp_path):
    text = tmp_path / 'text.txt'
    text.write_text('the hello world ' * 40)
    assert run('imatrix', MODEL, text).returncode == 2
    result = run('imatrix', MODEL, text, tmp_path / 'no' / 'a.imatrix', '--ctx', '64')
    assert result.returncode == 1
    assert 'no/a.imatrix' in result.stderr
    assert sorted(f.name for f in tmp_path.iterdir()) == ['text.txt']
