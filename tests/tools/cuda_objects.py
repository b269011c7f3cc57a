#!/usr/bin/env python3
"""Compiles the CUDA kernels and looks at what ptxas made of them.

Usage: cuda_objects.py [ARCH ...]     default: 80 90a; "all" is every target that is shipped

For each target: every kernel compiles without warnings, none spills a register, and those that must
run on the tensor cores hold the instruction (HMMA for bf16 and f16, IMMA for int8; sm_80 and 90a).
Prints registers of the largest kernels. SKIP where nvcc is missing.
"""

import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

TARGETS = ['75', '80', '86', '89', '90a', '100f', '120f']
# Kernel (part of its mangled name), the instruction it is made for. Of linear_skinny those with a ring of
# 4 stages; 2 are for sm_75.
EXPECT = [
    (r'linear_skinnyI11linear_half.*ELi4ELb[01]EEv', 'HMMA'),
    (r'linear_skinnyI11linear_ints.*ELi4ELb[01]EEv', 'IMMA'),
    (r'attn_tile', 'HMMA'),
    (r'attn_split', 'HMMA'),
]
EXPECT_ON = ['80', '90a']
# sm_75 multiplies bf16 by shuffles, with no claim to speed: spills there are allowed.
SPILLS_ON = ['75']


def tool(name):
    """In PATH, the toolkit, or PyPI's packages nvidia-cuda-<name> in .venv."""
    cuda = os.environ.get('CUDA', '/usr/local/cuda')
    pip = glob.glob('.venv/lib/python*/site-packages/nvidia/*/bin')
    return next((p for d in [None, cuda + '/bin'] + pip if (p := shutil.which(name, path=d))), None)


def run(command):
    r = subprocess.run(command, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr


def instructions(cubin):
    """Kernel -> names of its instructions."""
    found, kernel = {}, None
    for line in run([tool('cuobjdump'), '-sass', cubin])[1].splitlines():
        m = re.search(r'Function : (\S+)', line)
        if m:
            kernel = found.setdefault(m.group(1), set())
        m = re.search(r'/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)', line)
        if m and kernel is not None:
            kernel.add(m.group(1))
    return found


def compile_one(source, arch, folder):
    """Problems, and (registers, kernel) of each kernel."""
    cubin = os.path.join(folder, f'{os.path.basename(source)}.{arch}.cubin')
    command = [tool('nvcc'), '-std=c++17', '-O3', f'-arch=sm_{arch}', '-I.', '-Xptxas', '-v']
    code, text = run(command + ['-cubin', '-o', cubin, source])
    if code:
        return [f'{source} sm_{arch}: does not compile\n{text}'], []
    bad, regs, kernel = [], [], '?'
    for line in text.splitlines():
        m = re.search(r"(?:Compiling entry function '|Function properties for )(\w+)", line)
        kernel = m.group(1) if m else kernel
        m = re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', line)
        if m and m.group(1) != '0' and arch not in SPILLS_ON:
            bad.append(f'{source} sm_{arch}: {kernel} spills {m.group(1)} bytes')
        m = re.search(r'Used (\d+) registers', line)
        if m:
            regs.append((int(m.group(1)), kernel))
        if 'warning' in line:
            bad.append(f'{source} sm_{arch}: {line.strip()}')
    if arch in EXPECT_ON and tool('cuobjdump') and tool('nvdisasm'):
        for name, has in instructions(cubin).items():
            for pattern, want in EXPECT:
                if re.search(pattern, name) and want not in has:
                    bad.append(f'{source} sm_{arch}: {name} has no {want}')
    return bad, regs


def main():
    if not tool('nvcc'):
        print('SKIP nvcc is missing: kernels are not compiled for GPUs')
        return 0
    if not (tool('cuobjdump') and tool('nvdisasm')):
        print('SKIP cuobjdump or nvdisasm is missing: instructions are not looked at')
    archs = sys.argv[1:] or EXPECT_ON
    archs = TARGETS if archs == ['all'] else archs
    sources = sorted(glob.glob('kernels/cuda/*.cu'))
    problems, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [(a, pool.submit(compile_one, s, a, folder)) for a in archs for s in sources]
            for arch in archs:
                done = [j.result() for a, j in jobs if a == arch]
                problems += [p for bad, _ in done for p in bad]
                regs = sorted((r for _, rs in done for r in rs), reverse=True)
                count += len(regs)
                print(f'sm_{arch}: {len(regs)} kernels, most registers {regs[0][0]} ({regs[0][1]})')
    for p in problems:
        print(p)
    print(f'{count} kernels, {len(problems)} problems')
    return 1 if problems or not count else 0


if __name__ == '__main__':
    sys.exit(main())
