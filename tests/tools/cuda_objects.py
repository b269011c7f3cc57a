#!/usr/bin/env python3
"""Looks at what ptxas made of the CUDA kernels.

Usage: cuda_objects.py [--part] [FOLDER]   default: build/cuda-90a, of `make CUDA=1 CUDA_ARCH=90a`;
                                           build/cuda, of `make CUDA=1`, has every target of the host
                                           --part: some of the kernels were compiled, not all

For each target: no kernel spills a register, none is given more than MOST_REGISTERS, there are no
more than MOST_KERNELS, and those made for the tensor cores or for asynchronous copies hold the
instructions (HMMA for f16 and bf16, IMMA for int8, LDGSTS for cp.async). SKIP where nvcc is missing.
"""

import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys

MOST_KERNELS = 200  # a target: each costs compile time and bytes in the program
EMPTY_REGISTERS = 4  # a kernel that is left out of a target has no more: it only traps
MOST_REGISTERS = 255  # the hardware's own limit; what is above spills
# sm_75 multiplies bf16 by shuffles, with no claim to speed: spills there are allowed.
SPILLS_ON = ['75']
# Kernels by a part of their mangled name, and the instructions each must hold; on which targets.
SINCE_80 = ['80', '86', '87', '89', '90a', '100f', '110f', '120f']
EXPECT = [
    (r'linear_skinnyI1[13]linear_(half|floats)', ['HMMA', 'LDGSTS'], SINCE_80),
    (r'linear_skinnyI1[01]linear_(ints|any)', ['IMMA', 'LDGSTS'], SINCE_80),
    (r'linear_skinnyI11linear_halfILb0', ['HMMA'], ['75']),
    (r'linear_skinnyI1[01]linear_(ints|any)', ['IMMA'], ['75']),
    (r'linear_wideI9mma8_ints', ['IMMA', 'LDGSTS'], SINCE_80),
    (r'linear_wideI9mma8_ints', ['IMMA'], ['75']),
    # e4m3: sm_90 and sm_100 have it for wgmma and tcgen05 alone, and multiply it as f16 here.
    (r'linear_wideI9w8a8_e4m3', ['QMMA', 'LDGSTS'], ['89', '120f']),
    (r'linear_wideI9w8a8_e4m3', ['HMMA', 'LDGSTS'], ['90a', '100f', '110f']),
    # Block-scaled mma.sync: sm_120's family alone.
    (r'linear_wideI4w4a4', ['OMMA', 'LDGSTS'], ['120f']),
    (r'attn_tile', ['HMMA', 'LDGSTS'], SINCE_80),
    (r'attn_split', ['HMMA', 'LDGSTS'], SINCE_80),
]


def tool(name):
    """In PATH, the toolkit, or PyPI's packages nvidia-cuda-<name> in .venv."""
    cuda = os.environ.get('CUDA_HOME', '/usr/local/cuda')
    pip = glob.glob('.venv/lib/python*/site-packages/nvidia/*/bin') + ['build/cuda-pip/nvidia/cu13/bin']
    return next((p for d in [None, cuda + '/bin'] + pip if (p := shutil.which(name, path=d))), None)


class Kernel:
    def __init__(self, source, arch, name):
        self.source, self.arch, self.name = source, arch, name
        self.registers = self.spilled = 0
        self.has = set()  # instructions looked for

    def __str__(self):
        return f'{self.source} sm_{self.arch} {self.name}'


def read_log(path, folder):
    """The kernels of one compilation."""
    source, kernels = os.path.relpath(path, folder)[: -len('.ptxas')] + '.cu', {}
    kernel = None
    with open(path) as f:
        for line in f:
            m = re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line)
            if m:
                kernel = kernels.setdefault(m.groups(), Kernel(source, m.group(2), m.group(1)))
            m = re.search(r'(\d+) bytes spill stores', line)
            if m and kernel:
                kernel.spilled = int(m.group(1))
            m = re.search(r'Used (\d+) registers', line)
            if m and kernel:
                kernel.registers = int(m.group(1))
    return kernels


def look_inside(path, arch, kernels):
    """Fills in the instructions of the kernels that must have some."""
    names = sorted({i for _, wanted, _ in EXPECT for i in wanted})
    dump = subprocess.Popen([tool('cuobjdump'), '-sass', '-arch', f'sm_{arch}', path], stdout=subprocess.PIPE)
    found = subprocess.run(
        ['grep', '-oE', r'Function : \w+|\b(' + '|'.join(names) + r')\b'],
        stdin=dump.stdout, capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C'},
    )
    dump.wait()
    kernel = None
    for line in found.stdout.splitlines():
        if line.startswith('Function'):
            kernel = kernels.get((line.split()[-1], arch))
        elif kernel:
            kernel.has.add(line)


def wanted(kernel):
    return {i for pattern, names, archs in EXPECT if kernel.arch in archs and re.search(pattern, kernel.name)
            for i in names}


def problems(kernel, looked):
    if kernel.spilled and kernel.arch not in SPILLS_ON:
        yield f'{kernel} spills {kernel.spilled} bytes'
    if kernel.registers > MOST_REGISTERS:
        yield f'{kernel} uses {kernel.registers} registers'
    if looked:
        for name in sorted(wanted(kernel) - kernel.has):
            yield f'{kernel} has no {name}'


def read_folder(folder, looked):
    """All kernels, one list."""
    everything, jobs = [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in sorted(glob.glob(folder + '/kernels/cuda/*.ptxas')):
            kernels = read_log(path, folder)
            everything += kernels.values()
            for arch in sorted({k.arch for k in kernels.values() if wanted(k)}) if looked else []:
                jobs.append(pool.submit(look_inside, path[: -len('ptxas')] + 'o', arch, kernels))
        for job in jobs:
            job.result()
    return everything


def main():
    part = '--part' in sys.argv[1:]
    folder = next((a for a in sys.argv[1:] if a != '--part'), 'build/cuda-90a')
    if not tool('nvcc'):
        print('SKIP nvcc is missing: kernels are not compiled for GPUs')
        return 0
    looked = bool(tool('cuobjdump') and tool('nvdisasm'))
    kernels = read_folder(folder, looked)
    bad = [p for k in kernels for p in problems(k, looked)]
    for arch in sorted({k.arch for k in kernels}, key=lambda a: int(re.match(r'\d+', a).group())):
        here = [k for k in kernels if k.arch == arch and k.registers > EMPTY_REGISTERS]
        most = max(here, key=lambda k: k.registers)
        print(f'sm_{arch}: {len(here)} kernels, at most {most.registers} registers ({most.name}), '
              f'{sum(k.spilled > 0 for k in here)} spill')
        for pattern, _, archs in EXPECT:
            if not part and arch in archs and not any(re.search(pattern, k.name) for k in here):
                bad.append(f'sm_{arch}: no kernel is called {pattern}')
        if len(here) > MOST_KERNELS:
            bad.append(f'sm_{arch}: {len(here)} kernels, at most {MOST_KERNELS} are allowed')
    for p in bad:
        print(p)
    if not looked:
        print('SKIP cuobjdump or nvdisasm is missing: instructions are not looked at')
    print(f'{len(kernels)} kernels, {len(bad)} problems')
    return 1 if bad or not kernels else 0


if __name__ == '__main__':
    sys.exit(main())
