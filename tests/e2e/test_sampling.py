"""What a model's files ask of sampling holds where a request says nothing, from either kind of file."""

import json
import shutil
import subprocess

import pytest
from conftest import ROOT

FOLDER = ROOT / 'tests/data/hf/llama'
ASKED = {'temperature': 0.6, 'top_p': 0.9, 'min_p': 0.05, 'top_k': 1, 'repetition_penalty': 1.1}
NEUTRAL = {'temperature': 1, 'top_p': 1, 'min_p': 0, 'top_k': 0, 'repetition_penalty': 1}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    to = tmp_path_factory.mktemp('sampling') / 'llama'
    shutil.copytree(FOLDER, to)
    known = json.loads((to / 'generation_config.json').read_text())
    (to / 'generation_config.json').write_text(json.dumps(known | ASKED | {'do_sample': True}))
    return to


def asked_for(server):
    status, _, reply = server.get('/v1/models')
    assert status == 200
    return reply['data'][0]['default_sampling_params']


def answers(server, **fields):
    """The different answers of eight requests; random ones seldom agree."""
    texts = set()
    for _ in range(8):
        body = {'prompt': 'hello', 'max_tokens': 6, 'ignore_eos': True} | fields
        status, _, reply = server.post('/v1/completions', body, Content_Type='application/json')
        assert status == 200
        texts.add(reply['choices'][0]['text'])
    return len(texts)


def test_a_directory_asks(serve, folder):
    server = serve(folder)
    assert asked_for(server) == ASKED
    assert answers(server) == 1  # top_k 1
    assert answers(server, top_k=0, temperature=5, top_p=1, min_p=0) > 1


def test_what_the_model_asks_is_left_aside(serve, folder):
    server = serve(folder, '--generation-config', 'none')
    assert asked_for(server) == NEUTRAL
    assert answers(server, temperature=5) > 1


def test_a_gguf_file_asks(serve, folder, tmp_path):
    out = tmp_path / 'out.gguf'
    subprocess.run([ROOT / 'build/inferd', 'quantize', folder, out, '--type', 'bf16'], check=True, capture_output=True)
    server = serve(out)
    assert asked_for(server) == ASKED
    assert answers(server) == 1


def test_a_file_that_asks_nothing(tiny):
    assert asked_for(tiny) == NEUTRAL
