#!/usr/bin/env python3
"""Plants bugs in the CUDA kernels, one at a time, and demands that the emulated tests find each.

Usage: cuda_mutants.py [NAME ...]     after `make emulated`, whose objects it links with

A mutant is a file, a text in it, and what takes its place. The plain build (wrong numbers) is tried
first, then the race build. As many mutants at once as there are processors. A mutant whose text is
gone from the file is an error: keep them in step.
"""

import concurrent.futures
import glob
import os
import shlex
import subprocess
import sys
import time

L, A = 'kernels/cuda/linear', 'kernels/cuda/attention'
# name, file, text, instead, objects to compile anew, test program
MUTANTS = [
    ('linear-no-barrier', L + '.cuh', '__syncthreads(); /* chunk c is here', '/*', 'linear_half', 'linear'),
    ('linear-wait-off-by-one', L + '.cuh', 'gpu_cp_async_wait<2>', 'gpu_cp_async_wait<3>', 'linear_half', 'linear'),
    ('linear-stage-too-early', L + '.cuh', '(c - first + stages - 1) % stages', '(c - first) % stages',
     'linear_half', 'linear'),
    ('linear-scale-of-wrong-row', L + '_tile.cuh', 'i < 2 ? s.d.x : s.d.y', 's.d.x', 'linear_ints', 'linear'),
    ('linear-fold-forgets', L + '.cuh', '(a, begin > first,', '(a, false,', 'linear_half', 'linear'),
    ('linear-fifth-bit', L + '_tile.cuh', 'h >> (group * 4 + i) <<', 'h >> (group * 4) <<', 'linear_ints', 'linear'),
    ('linear-second-scale', L + '_tile.cuh', 's.sc[i / 2 * 2 + 1] * c2[i]', 's.sc[i / 2 * 2] * c2[i]',
     'linear_ints', 'linear'),
    ('fp4-no-sign', L + '_tile.cuh', '__byte_perm(0xff00u, 0, s)', '__byte_perm(0u, 0, s)', 'linear_ints', 'linear'),
    ('fp4-other-half', L + '_tile.cuh', 'i < 2 ? s.high.x : s.high.y', 'i < 2 ? s.d.x : s.d.y', 'linear_ints', 'linear'),
    ('fp4-halves-swapped', 'kernels/cuda/panel_make.cu', '<< reg / 2 * 16', '<< (reg < 2 ? 16 : 0)', 'panel_make', 'panel'),
    ('any-second-scale', 'kernels/cuda/panel_make.cu', 'halves ? o.sc[1] :', 'halves ? o.sc[0] :', 'panel_make', 'panel'),
    ('fp4-scale-of-other-group', L + '_tile.cuh', 's[g] >> 8 * group', 's[g]', 'linear_ints', 'linear'),
    ('linear-row-beyond-m', L + '.cuh', 'row >= at.m || col', 'col', 'linear_half', 'linear'),
    ('linear-part-left-out', L + '.cuh', 'for (int z = 0; z <', 'for (int z = 1; z <', 'linear_half', 'linear'),
    ('linear-ticket-of-other-tile', L + '.cuh', 'a.ticket + blockIdx.y * gridDim.x', 'a.ticket', 'linear_half',
     'linear'),
    ('last-block-no-barrier', 'kernels/cuda/gpu.cuh', '    __threadfence();\n    __syncthreads();\n    if (threadIdx.x == 0) {',
     '    __threadfence();\n    if (threadIdx.x == 0) {', 'linear_half', 'linear'),
    ('last-block-leaves-ticket', 'kernels/cuda/gpu.cuh', 'atomicExch(ticket, 0u);', ';', 'linear_half', 'linear'),
    ('linear-top-of-half-a-group', L + '_x.cuh', 'top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 2));', '',
     'linear', 'linear'),
    ('linear-scale-no-barrier', L + '.cu', '        part[warp] = top;\n    __syncthreads();',
     '        part[warp] = top;', 'linear', 'linear'),
    ('linear-own-of-first-split', L + '_x.cuh', 'return {row, c, c < last', 'return {row, c - first, c < last',
     'linear_half', 'linear'),
    ('linear-own-other-row', L + '.cuh', 'x.lane = lane & (x.lanes - 1)', 'x.lane = lane & 3', 'linear_half', 'linear'),
    ('linear-own-too-late', L + '.cuh', 'c += LINEAR_WARPS * step)', 'c += (LINEAR_WARPS + 1) * step)', 'linear_ints', 'linear'),
    ('early-no-wait', L + '.cuh', '    gpu_wait_earlier();\n    const int m', '    const int m', 'linear_half', 'linear'),
    ('early-x-before-wait', L + '.cuh', 'linear_load_w<F, R>(a, ring + s * BYTES, first + s, n_tile);',
     'linear_load_w<F, R>(a, ring + s * BYTES, first + s, n_tile), linear_load_x<F, NT, R>(a, ring + s * BYTES, first + s, m_tile);',
     'linear_half', 'linear'),
    ('linear-norm-no-barrier', L + '.cuh', '            part[row][warp] = sum;\n    }\n    __syncthreads();',
     '            part[row][warp] = sum;\n    }', 'linear_half', 'linear'),
    ('linear-norm-of-last-row', L + '.cuh', 'scale[threadIdx.x] = norm_scale(part[threadIdx.x]', 'scale[threadIdx.x] = norm_scale(part[m - 1]',
     'linear_ints', 'linear'),
    ('linear-norm-of-other-tile', L + '.cu', 'const int tile = blockIdx.x, warp', 'const int tile = 0, warp', 'linear', 'linear'),
    ('linear-adds-to-each-split', L + '.cu', 'if (fold && o.add == o.y)', 'if (fold && o.add == nullptr)', 'linear', 'linear'),
    ('lt-adds-too-late', L + '_lt.cu', 'o.add = !p->f16 && a->add.data;', 'o.add = false;', 'linear_lt', 'lt'),
    ('linear-swizzle-of-wrong-row', L + '_tile.cuh', '(p ^ (row & 1)) * 16', '(p ^ (row & 2)) * 16', 'linear_half', 'linear'),
    ('linear-reads-padding', L + '_tile.cuh', 'left < 16 ? static_cast<int>(left) : 16);', '16);', 'linear_half',
     'linear'),
    ('floats-scale-of-wrong-row', L + '_floats.cuh', 'i < 2 ? d.x : d.y', 'd.x', 'linear_floats', 'linear'),
    ('floats-codes-swapped', L + '_floats.cuh', '0x7362', '0x6372', 'linear_floats', 'linear'),
    ('floats-no-sign', L + '_floats.cuh', ' | (w << 1 & 0x80008000u)', '', 'linear_floats', 'linear'),
    ('lt-row-of-other-half', L + '_lt.cu', '(i & 1) * 8 * width', '(i >> 1) * 8 * width', 'linear_lt', 'lt'),
    ('lt-tile-over-workspace', L + '_lt.cu', 'p->w = p->workspace + l->workspace;', 'p->w = p->workspace;',
     'linear_lt', 'lt'),
    ('lt-bias-of-first-piece', L + '_lt.cu', 'nullptr : bias + at;', 'nullptr : bias;', 'linear_lt', 'lt'),
    ('lt-factor-twice', L + '_lt.cu', 'o.factor = p->f16 ? 1.0f : factor;', 'o.factor = factor;', 'linear_lt', 'lt'),
    ('wide-no-barrier', L + '_wide.cuh', '__syncthreads(); /* chunk c is here', '/*', 'linear_mma8', 'linear'),
    ('wide-no-wait', L + '_wide.cuh', 'gpu_cp_async_wait<0>', 'gpu_cp_async_wait<1>', 'linear_mma8', 'linear'),
    ('wide-fold-forgets', L + '_wide.cuh', 'a.m), c >= a.per_split,', 'a.m), false,', 'linear_mma8', 'linear'),
    ('w8a8-codes-mixed', L + '_floats.cuh', '0x6420', '0x6240', 'linear_w8a8', 'linear'),
    ('w8a8-scale-of-other-row', L + '_w8a8.cu', 'i < 2 ? d[r].x : d[r].y', 'd[r].x', 'linear_w8a8', 'linear'),
    ('w4a4-half-of-other-block', L + '_w4a4.cu', '0x7632u : 0x5410u', '0x5410u : 0x7632u', 'linear_w4a4', 'fp4'),
    ('lt-fp4-scale-of-other-row', L + '_lt_fp4.cu', 'PANEL_ROWS + g + 8 * t;', 'PANEL_ROWS + g;', 'linear_lt_fp4', 'fp4'),
    ('lt-fp4-top-of-half-the-chunks', L + '_lt_fp4.cu', 'top = max(top, __shfl_xor_sync(GPU_ALL, top, 16));', '',
     'linear_lt_fp4', 'fp4'),
    ('lt-fp4-subnormal-power', L + '_lt_fp4.cu', '1u << (p + 9)', '1u << (p + 8)', 'linear_lt_fp4', 'fp4'),
    ('lt-fp4-not-times-by', L + '_lt.cu', 'a.by ? v * a.by[col] : v', 'v', 'linear_lt', 'fp4'),
    ('fp4-top-of-half-a-block', 'kernels/cuda/quant_fp4.cu', 'o < block / FOUR', 'o < 4', 'quant_fp4', 'fp4'),
    ('mma8-second-scale', L + '_mma8.cu', 'sc[i / 2 * 2 + 1])', 'sc[i / 2 * 2])', 'linear_mma8', 'linear'),
    ('mma8-fp4-other-half', L + '_mma8.cu', 'v.y, s[r].high, xd', 'v.y, s[r].d, xd',
     'linear_mma8', 'linear'),
    ('mma8-minimum-of-other-row', L + '_mma8.cu', 'i < 2 ? s[r].m.x : s[r].m.y', 's[r].m.x', 'linear_mma8', 'linear'),
    ('turing-bf16-of-other-column', 'kernels/cuda/gpu_75.cuh', '(col + n) * 4 + from', 'col * 4 + from', 'attention', 'attention'),
    ('turing-int8-rows-twice', 'kernels/cuda/gpu_75.cuh', 'a[half], b);', 'a[0], b);', 'linear_ints', 'linear'),
    ('sample-last-of-equals', 'kernels/cuda/sample_find.cuh', 'row.n - 1 - id)', 'id)', 'sample', 'choose'),
    ('sample-without-the-likeliest', 'kernels/cuda/sample_find.cuh', ': row.max) + !t', ': row.max)', 'sample', 'choose'),
    ('attention-no-barrier', A + '.cuh', '__syncthreads(); /* block b is here', '/*', 'attention', 'attention'),
    ('attention-fp8-no-barrier', A + '.cuh', '__syncthreads(); /* all of it is bf16 */', '', 'attention', 'attention'),
    ('attention-fp8-other-scale', A + '.cuh', 'kv.by[TOKENS + j', 'kv.by[j', 'attention', 'attention'),
    ('attention-fp8-unseen', A + '.cuh', 'ok ? kv_fp8_power(stage[2 * S::CODES + i]) : 0.0f', 'kv_fp8_power(stage[2 * S::CODES + i])',
     'attention', 'attention'),
    ('attention-no-barrier-at-end', A + '.cuh', '__syncthreads(); /* shared memory is free again */', '', 'attention',
     'attention'),
    ('attention-no-wait', A + '.cuh', 'gpu_cp_async_wait<0>();', 'gpu_cp_async_wait<1>();', 'attention', 'attention'),
    ('attention-future', A + '.cuh', ' && pos <= see[h].hi ?', ' ?', 'attention', 'attention'),
    ('attention-window', A + '.cuh', 'pos - w + 1 : 0', 'pos - w : 0', 'attention', 'attention'),
    ('attention-no-rescale', A + '.cuh', 'st.o[i][j] *= fix[j >> 1];', '', 'attention', 'attention'),
    ('attention-part-weight', A + '_split.cuh', 'l = attn_fold(l, u, own.y, v);', 'l += own.y;', 'attention',
     'attention'),
    ('attention-merge-too-early', A + '_split.cuh', 'parts.y - parts.x + 1))', 'parts.y - parts.x))', 'attention', 'attention'),
    ('attention-total-weight', A + '_tile.cuh', 'attn_fold(sum.l[h], u, st.l[h], v)', 'sum.l[h] + st.l[h]', 'attention',
     'attention'),
    ('attention-parts', A + '.cuh', 'static_cast<uint32_t>(pos - t.from) /', 'static_cast<uint32_t>(pos - t.from + (pos > 300 ? t.each : 0)) /', 'attention',
     'attention'),
]
FLAGS = (
    'g++ -std=c++17 -D_GNU_SOURCE -O2 -fno-strict-aliasing -ffp-contract=off -pthread -w -I{tree} -I.'
    ' -isystem {cuda}/include -x c++ -include tests/simt/simt.h'
)
BUILDS = {'plain': '', 'race': '-fsanitize=thread'}


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


def libraries():
    names = ['libmicrohttpd', 'libcjson', 'libpcre2-8', 'libutf8proc']
    return shlex.split(run(['pkg-config', '--libs'] + names).stdout)


def build(mutant, kind, out):
    """The test program with the mutant in it."""
    name, path, old, new, unit, test = mutant
    tree = os.path.join(out, name)
    os.makedirs(os.path.join(tree, os.path.dirname(path)), exist_ok=True)
    with open(path) as f:
        text = f.read()
    if text.count(old) < 1:
        raise ValueError(f'{name}: "{old}" is not in {path}')
    with open(os.path.join(tree, path), 'w') as f:
        f.write(text.replace(old, new))
    source = f'kernels/cuda/{unit}.cu'
    if path != source:  # found through the include path, before the real one
        with open(source) as f, open(os.path.join(tree, source), 'w') as to:
            to.write(f.read())
    flags = shlex.split(FLAGS.format(tree=tree, cuda=os.environ.get('CUDA_HOME', '/usr/local/cuda')))
    objects = glob.glob(f'build/simt/{kind}/kernels/cuda/*.o') + glob.glob(f'build/simt/{kind}/tests/simt/*.o')
    objects = [o for o in objects if not os.path.basename(o).startswith('test_')]
    objects = [o for o in objects if kind == 'race' or not o.endswith('/race.o')]
    objects = [o for o in objects if not o.endswith(f'cuda/{unit}.o')]
    made, program = os.path.join(tree, f'{unit}.{kind}.o'), os.path.join(tree, f'test.{kind}')
    for command in (
        flags + shlex.split(BUILDS[kind]) + ['-c', '-o', made, os.path.join(tree, source)],
        ['g++', '-rdynamic', '-pthread', '-o', program, f'build/simt/{kind}/tests/simt/test_{test}.o', made]
        + objects
        + ['build/libsupport.a', 'build/libinferd.a', '-lcmocka', '-ldl', '-lm']
        + libraries(),
    ):
        r = run(command)
        if r.returncode:
            raise ValueError(f'{name}: does not build\n{r.stderr}')
    return program


def caught(program):
    """How the test found it, or None. The first failure is enough."""
    try:
        r = run([program], timeout=300, env={**os.environ, 'CMOCKA_TEST_ABORT': '1'})
    except subprocess.TimeoutExpired:
        return 'does not end'
    return None if r.returncode == 0 else f'exit {r.returncode}'


def try_mutant(mutant, out):
    """Whether it was found; says so."""
    start, how = time.time(), None
    try:
        for kind in BUILDS:
            how = how or (found := caught(build(mutant, kind, out))) and f'{kind}: {found}'
    except ValueError as wrong:
        print(wrong, flush=True)
        return False
    print(f'{mutant[0]:30} {how or "MISSED":24} {time.time() - start:5.1f} s', flush=True)
    return bool(how)


def main():
    if not glob.glob('build/simt/plain/tests/simt/test_linear*'):
        print('SKIP the emulated tests are not built: mutants are not tried')
        return 0
    chosen = [m for m in MUTANTS if not sys.argv[1:] or m[0] in sys.argv[1:]]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda m: try_mutant(m, 'build/simt/mutants'), chosen))
    print(f'{len(found)} mutants, {found.count(False)} not found')
    return 0 if found and all(found) else 1


if __name__ == '__main__':
    sys.exit(main())
