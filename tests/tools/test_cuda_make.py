#!/usr/bin/env python3
"""What make would do with CUDA=1, on machines that are made up: which GPUs are compiled for, what is
said where nvcc is missing, and what `make run` decides. Nothing is compiled: make prints (-n)."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
X86 = ['75', '80', '86', '89', '90a', '100f', '120f']
ARM = ['75', '80', '86', '87', '89', '90a', '100f', '110f', '120f']
SOURCE = 'kernels/cuda/norm.cu'  # compiled for every target


class Machine:
    """A folder with the tree in it, and a PATH where some programs say what they are told to."""

    def __init__(self, gpus='', nvcc=True, cpu='x86_64'):
        self.folder = tempfile.TemporaryDirectory()
        self.top = os.path.join(self.folder.name, 'tree')
        self.home = os.path.join(self.folder.name, 'cuda')
        os.makedirs(os.path.join(self.top, 'tests', 'tools'))
        for name in os.listdir(ROOT):
            if name not in ('tests', 'build', '.git', '.venv'):
                os.symlink(os.path.join(os.path.abspath(ROOT), name), os.path.join(self.top, name))
        self.program('tree/tests/tools/gpu_arch.sh', f'echo {gpus}')
        self.program('tree/tests/tools/apt.sh', '')
        self.program('bin/uname', f'[ "$1" = -m ] && echo {cpu} || echo Linux')
        if nvcc:
            self.program('cuda/bin/nvcc', 'exit 9')

    def __del__(self):
        self.folder.cleanup()

    def program(self, path, text):
        path = os.path.join(self.folder.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write(f'#!/bin/sh\n{text}\n')
        os.chmod(path, 0o755)

    def make(self, *args, home=True):
        # Without any nvcc of the machine that runs this.
        tools = [os.path.join(self.folder.name, 'bin')]
        tools += [d for d in os.environ['PATH'].split(':') if not shutil.which('nvcc', path=d)]
        env = {k: v for k, v in os.environ.items() if not k.startswith(('MAKE', 'MFLAGS', 'CUDA'))}
        env['PATH'] = ':'.join(tools)
        where = [f'CUDA_HOME={self.home}'] if home else []
        r = subprocess.run(['make', '-n', *where, *args], cwd=self.top, env=env, capture_output=True, text=True)
        return r.returncode, r.stdout + r.stderr


def targets(said):
    """What one source is compiled for."""
    line = next((s for s in said.splitlines() if SOURCE in s and '-gencode' in s), '')
    return re.findall(r'code=sm_(\w+)', line)


class Targets(unittest.TestCase):
    def test_all(self):
        for cpu, want in (('x86_64', X86), ('aarch64', ARM), ('arm64', ARM)):
            rc, said = Machine(cpu=cpu).make('CUDA=1', 'build/cuda/kernels/cuda/norm.o')
            self.assertEqual((rc, targets(said)), (0, want), said[-2000:])
            self.assertIn('-Xfatbin -compress-all', said)

    def test_for_another_processor(self):
        rc, said = Machine().make('CUDA=1', 'CUDA_TARGET=aarch64', 'build/cuda/kernels/cuda/norm.o')
        self.assertEqual((rc, targets(said)), (0, ARM), said[-2000:])

    def test_one(self):
        rc, said = Machine().make('CUDA=1', 'CUDA_ARCH=90a', 'build/cuda-90a/kernels/cuda/norm.o')
        self.assertEqual((rc, targets(said)), (0, ['90a']), said[-2000:])

    def test_some_for_arm64(self):
        rc, said = Machine(cpu='aarch64').make(
            'CUDA=1', 'CUDA_ARCH=87 110f', 'build/cuda-87-110f/kernels/cuda/norm.o')
        self.assertEqual((rc, targets(said)), (0, ['87', '110f']), said[-2000:])

    def test_static_runtime(self):
        _, said = Machine().make('CUDA=1', 'build/cuda/inferd')
        link = next(s for s in said.splitlines() if '-lcudart_static' in s)
        self.assertNotIn('-lcuda ', link)
        self.assertNotIn('-lcublas', link)


class Missing(unittest.TestCase):
    def test_one_line(self):
        rc, said = Machine(nvcc=False).make('CUDA=1')
        lines = [s for s in said.splitlines() if 'nvcc' in s]
        self.assertNotEqual(rc, 0)
        self.assertEqual(len(lines), 1, said)
        for word in ('CUDA_FROM=pip', 'nvidia-cuda-nvcc', 'nvidia-cublas', 'cuda-nvcc-13-0', 'CUDA_HOME'):
            self.assertIn(word, lines[0])

    def test_wheels(self):
        rc, said = Machine(nvcc=False).make('CUDA=1', 'CUDA_FROM=pip', 'build/cuda/kernels/cuda/norm.o', home=False)
        self.assertEqual((rc, targets(said)), (0, X86), said[-2000:])
        pip = next(s for s in said.replace('\\\n', '').splitlines() if 'pip install' in s)
        for wheel in ('nvcc', 'runtime', 'cccl'):
            self.assertIn(f'nvidia-cuda-{wheel}==13.0', pip)
        self.assertIn('build/cuda-pip/nvidia/cu13/bin/nvcc', said)


class Run(unittest.TestCase):
    def test_no_gpu(self):
        _, said = Machine().make('run')
        self.assertIn('exec build/inferd serve', said)
        self.assertNotIn('-gencode', said)

    def test_its_gpu_alone(self):
        _, said = Machine(gpus='86').make('run')
        self.assertIn('exec build/cuda-86/inferd serve', said)
        self.assertEqual(targets(said), ['86'])

    def test_no_nvcc(self):
        _, said = Machine(gpus='90a', nvcc=False).make('run')
        self.assertIn('exec build/inferd serve', said)
        self.assertIn('CUDA_FROM=pip', said)
        self.assertNotIn('-gencode', said)


if __name__ == '__main__':
    if not shutil.which('make'):
        print('SKIP make is missing')
        sys.exit(0)
    unittest.main()
