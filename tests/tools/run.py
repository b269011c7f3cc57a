#!/usr/bin/env python3
"""Runs test programs, each in its own process with a time limit, and counts what they say.

One line a program; the whole output of those that fail. The last line is "N passed, N failed,
N skipped"; the exit status is 0 only when nothing failed. Counted are test cases: cmocka's
for programs, pytest's for --e2e, one for a check, one for a fuzz target. A line that begins with
SKIP is a skip even where the program took it for a pass.
"""

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

RUN = re.compile(rb'^\[ RUN      \] ', re.M)
OK = re.compile(rb'^\[       OK \] ', re.M)
SKIPPED = re.compile(rb'^\[  SKIPPED \] ', re.M)
SKIP_LINE = re.compile(rb'^SKIP\b.*', re.M)
E2E_XML = 'build/e2e.xml'
CACHE = 'build/cache'  # of what is known of GPUs: the tests' own, not the user's
# A sanitizer reserves terabytes of addresses; where a process may not, the program never begins.
NO_SANITIZER = re.compile(
    rb'ReserveShadowMemoryRange failed|ThreadSanitizer: unexpected memory mapping|'
    rb'CHECK failed: sanitizer_allocator_primary'
)


class Result:
    def __init__(self, name, seconds, passed, failed, skipped, why='', output=b''):
        self.name, self.seconds, self.why, self.output = name, seconds, why, output
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def line(self):
        counts = f'{self.passed} passed'
        if self.failed:
            counts += f', {self.failed} failed'
        if self.skipped:
            counts += f', {self.skipped} skipped'
        mark = 'FAIL' if self.failed else 'ok  '
        return f'{mark} {self.name:<34} {self.seconds:6.1f} s  {counts}' + (
            f'  ({self.why})' if self.why else ''
        )


def execute(command, limit):
    """Returns exit status (None: ran too long), stdout, stderr. A child's children die with it."""
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=limit)
        return child.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        return None, out, err


def ending(status, limit):
    if status is None:
        return f'stopped after {limit} s'
    if status < 0:
        return f'ended by {signal.Signals(-status).name}'
    return f'exit status {status}' if status else ''


def count_cmocka(status, out):
    """Passed, failed, skipped, by the lines that cmocka prints on stdout."""
    started, passed, skipped = (
        len(RUN.findall(out)),
        len(OK.findall(out)),
        len(SKIPPED.findall(out)),
    )
    failed = started - passed - skipped
    silent = max(0, len(SKIP_LINE.findall(out)) - skipped)  # printed SKIP and returned
    silent = min(silent, passed)
    if failed == 0 and (status != 0 or started == 0):
        failed = 1  # a leak found at exit, a crash between tests, a program without tests
    return passed - silent, failed, skipped + silent


def no_sanitizer(path, begin):
    why = 'SKIP: too few addresses for the sanitizer; see ulimit -v'
    return Result(short(path), time.monotonic() - begin, 0, 0, 1, why)


def run_program(path, limit):
    begin = time.monotonic()
    status, out, err = execute([path], limit)
    if not out and NO_SANITIZER.search(err):
        return no_sanitizer(path, begin)
    counts = count_cmocka(status, out)
    why = ending(status, limit)
    reasons = {line.decode(errors='replace')[5:60].strip(': ') for line in SKIP_LINE.findall(out)}
    return Result(
        short(path),
        time.monotonic() - begin,
        *counts,
        why or '; '.join(sorted(reasons)[:2]),
        out + err,
    )


def run_fuzzer(path, seconds):
    begin, limit = time.monotonic(), seconds + 120
    status, out, err = execute([path, f'-seconds={seconds}'], limit)
    if not out and NO_SANITIZER.search(err):
        return no_sanitizer(path, begin)
    return Result(
        short(path),
        time.monotonic() - begin,
        int(status == 0),
        int(status != 0),
        0,
        ending(status, limit),
        out + err,
    )


def starts_threads(path):
    """Whether anything that is linked into the program calls pthread_create."""
    names = subprocess.run(['nm', '-D', '--undefined-only', path], capture_output=True, text=True)
    return names.returncode != 0 or ' pthread_create' in names.stdout


def short(path):
    return '/'.join(path.split('/')[-2:])


def run_check(script):
    begin = time.monotonic()
    status, out, err = execute([sys.executable, script], 120)
    skipped = len(SKIP_LINE.findall(out))
    passed = status == 0 and (skipped == 0 or skipped < len(out.splitlines()))
    counts = int(passed), int(status != 0), skipped
    return Result(short(script), time.monotonic() - begin, *counts, ending(status, 120), out + err)


def run_e2e(folder, limit):
    """pytest over the folder, in the virtual environment; its counts come from its XML report."""
    begin = time.monotonic()
    if os.path.exists(E2E_XML):
        os.remove(E2E_XML)
    status, out, err = execute(
        [
            '.venv/bin/python',
            '-m',
            'pytest',
            '-q',
            '-rs',
            '-p',
            'no:cacheprovider',
            f'--junitxml={E2E_XML}',
            folder,
        ],
        limit,
    )
    passed = failed = skipped = 0
    if os.path.exists(E2E_XML):
        suite = ElementTree.parse(E2E_XML).getroot().find('testsuite')
        total, skipped = int(suite.get('tests')), int(suite.get('skipped'))
        failed = int(suite.get('failures')) + int(suite.get('errors'))
        passed = total - failed - skipped
    if status != 0:
        failed = max(failed, 1)
    return Result(
        folder, time.monotonic() - begin, passed, failed, skipped, ending(status, limit), out + err
    )


def has_e2e(folder):
    return (
        folder
        and os.path.isdir(folder)
        and any(name.startswith('test_') and name.endswith('.py') for name in os.listdir(folder))
    )


def report(result):
    print(result.line(), flush=True)
    if result.failed:
        sys.stdout.buffer.write(b'\n'.join(result.output.splitlines()[-80:]) + b'\n')
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--timeout', type=float, default=60, help='seconds a program')
    parser.add_argument('--e2e-timeout', type=float, default=420)
    parser.add_argument('--fuzz-seconds', type=int, default=2)
    parser.add_argument('--check', action='append', default=[], metavar='SCRIPT')
    parser.add_argument('--e2e', metavar='FOLDER')
    parser.add_argument('--threaded', action='store_true', help='only programs that can start threads')
    parser.add_argument('program', nargs='*')
    args = parser.parse_args()
    os.environ['INFERD_GPU_CACHE'] = os.path.abspath(CACHE)
    if args.threaded:
        chosen = [p for p in args.program if starts_threads(p)]
        print(f'-- {len(args.program) - len(chosen)} programs are left out: they start no thread')
        args.program = chosen
    fuzzers = [p for p in args.program if os.path.basename(p).startswith('fuzz_')]
    programs = [p for p in args.program if p not in fuzzers]
    results = []

    def stage(name, calls, jobs):
        """Runs the calls side by side and reports each as it ends."""
        if not calls:
            return
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
            for done in concurrent.futures.as_completed([pool.submit(*call) for call in calls]):
                results.append(done.result())
                report(results[-1])
        print(f'-- {name}: {time.monotonic() - begin:.1f} s', flush=True)

    stage('checks', [(run_check, script) for script in args.check], args.jobs)
    stage('programs', [(run_program, p, args.timeout) for p in programs], args.jobs)
    stage('fuzz targets', [(run_fuzzer, p, args.fuzz_seconds) for p in fuzzers], args.jobs)
    stage('end to end', [(run_e2e, args.e2e, args.e2e_timeout)] if has_e2e(args.e2e) else [], 1)
    failed = sum(r.failed for r in results)
    for result in results:
        if result.failed:
            print(result.line())
    print(
        f'{sum(r.passed for r in results)} passed, {failed} failed, '
        f'{sum(r.skipped for r in results)} skipped'
    )
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
