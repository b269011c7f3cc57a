"""`inferd perplexity`: its figures against NumPy's of the logits that it saved."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy
from gguf import GGUFReader, GGUFWriter

INFERD = os.environ.get('INFERD', 'build/inferd')
MODELS = pathlib.Path('tests/data/models')
WINDOW = 32


def run(*args):
    return subprocess.run(
        [INFERD, *map(str, args)], capture_output=True, text=True, timeout=60
    )


def measure(model, text, *args):
    result = run('perplexity', model, text, '--ctx', WINDOW, '--kv-type', 'f32', '--json', *args)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def logits_of(path):
    """Of each window: its tokens, and the log-probabilities behind its scored positions."""
    tensors = {t.name: t.data for t in GGUFReader(path).tensors}
    tokens = tensors['tokens'].reshape(-1, WINDOW)
    x = tensors['logits'].astype(numpy.float64)
    x = x.reshape(len(tokens), WINDOW - 1 - WINDOW // 2, -1)
    top = x.max(-1, keepdims=True)
    return tokens, x, x - top - numpy.log(numpy.exp(x - top).sum(-1, keepdims=True))


def mean(x):
    return x.mean(), x.std() / numpy.sqrt(x.size - 1)


def near(got, want):
    return abs(got - want) <= 1e-9 * max(1, abs(want))


def test_numpy_agrees(tmp_path):
    text = tmp_path / 'text.txt'
    text.write_bytes(pathlib.Path('README.md').read_bytes()[:600])
    model, coarse = MODELS / 'qwen2.gguf', tmp_path / 'coarse.gguf'
    assert run('quantize', model, coarse, '--type', 'q4_0', '--pure').returncode == 0
    saved, other = tmp_path / 'a.logits', tmp_path / 'b.logits'
    figures = measure(model, text, '--save-logits', saved, '--threads', '1')
    assert measure(model, text, '--threads', '2') == figures
    tokens, _, p = logits_of(saved)
    ids = subprocess.run(  # the windows hold the text's tokens
        [INFERD, 'tokenize', str(model)], input=text.read_bytes(), capture_output=True, timeout=60
    )
    ids = [int(i) for i in ids.stdout.split()]
    assert figures['tokens'] == len(ids)
    assert figures['windows'] == len(tokens) == len(ids) // WINDOW
    assert tokens.reshape(-1).tolist() == ids[: len(tokens) * WINDOW]

    def nll(tokens, p):
        first = WINDOW // 2
        return -numpy.take_along_axis(p, tokens[:, first + 1 :, None].astype(int), -1)

    value, error = mean(nll(tokens, p))
    assert figures['scored'] == p.shape[0] * p.shape[1]
    assert near(figures['nll'], value) and near(figures['nll_error'], error)
    assert near(figures['perplexity'], numpy.exp(value))
    assert near(figures['perplexity_error'], numpy.exp(value) * error)

    figures = measure(coarse, text, '--reference', saved, '--save-logits', other)
    _, x, q = logits_of(other)
    _, y, _ = logits_of(saved)
    divergence = (numpy.exp(p) * (p - q)).sum(-1)
    for name, want in (
        ('divergence', mean(divergence)),
        ('same_top', mean((p.argmax(-1) == q.argmax(-1)).astype(float))),
        ('log_ratio', mean(nll(tokens, q) - nll(tokens, p))),
    ):
        assert near(figures[name], want[0]), name
        assert near(figures[name + '_error'], want[1]), name
    assert near(figures['divergence_most'], divergence.max())
    assert near(figures['logit_mean'], abs(x - y).mean())
    assert near(figures['logit_most'], abs(x - y).max())
    assert figures['divergence'] > 0

    same = measure(model, text, '--reference', saved)  # with itself: nothing at all
    assert same['divergence'] == same['divergence_most'] == same['logit_most'] == 0
    assert same['same_top'] == 1 and same['log_ratio'] == 0


def test_bos_begins_each_window(tmp_path):
    text, saved, model = tmp_path / 'text.txt', tmp_path / 'a.logits', tmp_path / 'bos.gguf'
    text.write_text('the hello world ' * 40)
    shutil.copy(MODELS / 'llama3.gguf', model)
    fields = GGUFReader(model, 'r+').fields
    fields['tokenizer.ggml.add_bos_token'].parts[-1][0] = True
    bos = fields['tokenizer.ggml.bos_token_id'].contents()
    measure(MODELS / 'llama3.gguf', text, '--save-logits', saved, '--chunks', '2')
    plain, _, _ = logits_of(saved)
    measure(model, text, '--save-logits', saved, '--chunks', '2')
    tokens, _, _ = logits_of(saved)
    assert len(tokens) == len(plain) == 2
    assert tokens[:, 0].tolist() == [bos, bos] != plain[:, 0].tolist()


def test_refused(tmp_path):
    text, saved = tmp_path / 'text.txt', tmp_path / 'a.logits'
    text.write_text('the hello world ' * 40)
    model = MODELS / 'qwen2.gguf'
    measure(model, text, '--save-logits', saved)
    (tmp_path / 'short.txt').write_text('the')
    (tmp_path / 'other.txt').write_text('another text ' * 40)
    (tmp_path / 'cut.logits').write_bytes(saved.read_bytes()[:2000])
    few = GGUFWriter(tmp_path / 'few.logits', 'logits')
    few.add_uint32('logits.window', 32)
    few.add_tensor('tokens', numpy.zeros(5, numpy.int32))
    few.add_tensor('logits', numpy.zeros((1, logits_of(saved)[1].shape[-1]), numpy.float32))
    few.write_header_to_file()
    few.write_kv_data_to_file()
    few.write_tensors_to_file()
    few.close()
    for name, number in (('nan', numpy.nan), ('inf', -numpy.inf)):
        (tmp_path / f'{name}.logits').write_bytes(saved.read_bytes())
        reader = GGUFReader(tmp_path / f'{name}.logits', 'r+')
        reader.get_tensor(1).data[3, 5] = number
        reader.data.flush()
    for args, code, word in (
        ((model,), 2, 'of which text'),
        ((model, tmp_path / 'none.txt'), 1, 'none.txt'),
        ((model, tmp_path / 'short.txt', '--ctx', '32'), 1, 'longer'),
        ((model, text, '--ctx', '100000'), 1, '100000'),
        ((model, text, '--ctx', '16', '--reference', saved), 1, '--ctx 32'),
        ((model, tmp_path / 'other.txt', '--ctx', '32', '--reference', saved), 1, 'another text'),
        ((model, text, '--ctx', '32', '--reference', tmp_path / 'cut.logits'), 1, 'cut.logits'),
        ((model, text, '--ctx', '32', '--reference', model), 1, 'no file of logits'),
        ((model, text, '--ctx', '32', '--reference', tmp_path / 'few.logits'), 1, 'whole window'),
        ((model, text, '--ctx', '32', '--reference', tmp_path / 'nan.logits'), 1, 'position 19'),
        ((model, text, '--ctx', '2'), 1, 'take 3'),
        ((model, text, '--ctx', '32', '--save-logits', tmp_path / 'no' / 'a'), 1, 'no/a'),
    ):
        result = run('perplexity', *args)
        assert result.returncode == code, args
        assert word in result.stderr
        assert 'perplexity  ' not in result.stdout
    result = run('perplexity', model, text, '--ctx', '32', '--reference', saved)
    assert 'same top     100.000' in result.stdout
    ruled_out = tmp_path / 'inf.logits'  # a token that the reference says cannot be
    result = run('perplexity', model, text, '--ctx', '32', '--reference', ruled_out, '--json')
    figures = json.loads(result.stdout)
    assert 0 < figures['divergence'] < 1
    assert figures['logit_most'] is None
