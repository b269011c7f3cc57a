#!/usr/bin/env python3
"""Tests gpu_arch.sh: what `make run` compiles for, on machines that are made up."""

import os
import subprocess
import sys
import tempfile

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gpu_arch.sh')
# files of the machine, where nvidia-smi lies, what it says, what is compiled
CASES = [
    ([], 'bin', '9.0', ''),  # no GPU, though its tool is installed
    (['dev/nvidiactl'], None, '9.0', ''),  # nothing says which
    (['dev/nvidiactl'], 'bin', '9.0', '90a'),
    (['dev/nvidiactl'], 'usr/local/nvidia/bin', '9.0', '90a'),
    (['dev/nvidiactl'], 'bin', '8.6\n8.6\n7.5', '75 86'),
    (['dev/nvidiactl'], 'bin', '7.0', ''),  # CUDA 13 cannot
    (['dev/nvidiactl'], 'bin', '10.3\n12.1', '100f 120f'),
    (['dev/nvidiactl'], 'bin', None, ''),  # the driver does not answer
    (['dev/dxg'], 'usr/lib/wsl/lib', '8.9', ''),  # a display without CUDA
    (['dev/dxg', 'usr/lib/wsl/lib/libcuda.so.1'], 'usr/lib/wsl/lib', '8.9', '89'),
    (['dev/dxg', 'usr/lib/wsl/lib/libcuda.so.1'], 'bin', '12.0', '120f'),
]


def touch(path, text=''):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, 0o755)


def arch_of(files, where, answer):
    with tempfile.TemporaryDirectory() as top:
        for name in files:
            touch(os.path.join(top, name))
        tool = '#!/bin/sh\nexit 9\n' if answer is None else f"#!/bin/sh\nprintf '%s\\n' '{answer}'\n"
        if where:
            touch(os.path.join(top, where, 'nvidia-smi'), tool)
        path = os.path.join(top, 'bin') + ':/usr/bin:/bin'
        r = subprocess.run(['bash', SCRIPT, top], capture_output=True, text=True, env={'PATH': path})
        return r.stdout.strip() if r.returncode == 0 else f'exit {r.returncode}: {r.stderr}'


def main():
    wrong = 0
    for files, where, answer, want in CASES:
        got = arch_of(files, where, answer)
        if got != want:
            print(f'{files}, nvidia-smi in {where} says {answer!r}: "{got}", not "{want}"')
            wrong += 1
    print(f'{len(CASES)} machines, {wrong} wrong')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
