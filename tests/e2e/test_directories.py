"""Hugging Face directories of each packing, served: the likeliest next token is that of the logits which Transformers
computes from the weights that the packing stands for (logits.bin); and LongRoPE, by the context that is served."""

import struct

import numpy as np
import pytest
from conftest import ROOT

FOLDER = ROOT / 'tests/data/hf'
KINDS = ('gm-gptq gm-gptq-v2 gptq2 gptq8 gptq-marlin gm-awq awq-gemv awq-fast awq-marlin ar-plain ct-int ct-float ct-model '
         'fp8-block mo-fp8 mo-nvfp4 mo-mxfp4 mo-mxfp8 mo-int4 bnb-nf4 bnb-int8 exl2').split()


def fixture(name):
    """The arrays of tests/tools/fixture.py."""
    data, at, arrays = (FOLDER / name / 'logits.bin').read_bytes(), 0, {}
    while at < len(data):
        key, kind, ndim, *rest = struct.unpack_from('<40s8s6q', data, at)
        at += 96
        array = np.frombuffer(data[at:at + rest[4]], kind.rstrip(b'\0').decode())
        arrays[key.rstrip(b'\0').decode()] = array.reshape(rest[:ndim])
        at += rest[4] + -rest[4] % 16
    return arrays


def likeliest(server, tokens):
    """The next token and its log-probability."""
    body = {'prompt': [int(t) for t in tokens], 'max_tokens': 1, 'temperature': 0, 'logprobs': 1, 'ignore_eos': True}
    status, _, reply = server.post('/v1/completions', body, Content_Type='application/json')
    assert status == 200, reply
    token = reply['choices'][0]['logprobs']['tokens'][0]
    return int(token.strip('<>')), reply['choices'][0]['logprobs']['token_logprobs'][0]


@pytest.mark.parametrize('name', KINDS)
def test_packed(serve, name):
    f = fixture(name)
    token, _ = likeliest(serve(FOLDER / name, '--threads', '1'), f['token'])
    last = f['logits'][-1]
    assert last[token] >= last.max() - 0.05 * np.abs(last).max()


def test_long_rope(serve):
    f = fixture('llama-long')
    rows = f['logits'] - np.log(np.exp(f['logits']).sum(1, keepdims=True))
    for context, n, same in ((17, 16, True), (16, 15, False)):
        server = serve(FOLDER / 'llama-long', '--ctx', str(context), '--kv-type', 'f32', '--threads', '1')
        token, said = likeliest(server, f['token'][:n])
        assert (abs(said - rows[n - 1][token]) < 2e-3) == same
