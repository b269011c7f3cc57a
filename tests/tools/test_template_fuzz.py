#!/usr/bin/env python3
"""The differential fuzzer of templates, short and always with the same seed; `make test-all` has it
longer. It needs the virtual environment (for Jinja2) and the library, which `make test` makes."""

import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
PYTHON = os.path.join(ROOT, '.venv', 'bin', 'python')
COUNT = os.environ.get('TEMPLATES', '300')


def main():
    if not os.path.exists(os.path.join(ROOT, 'build', 'libinferd.a')):
        return print('SKIP build/libinferd.a is not there')
    if subprocess.call([PYTHON, '-c', 'import jinja2'], stderr=subprocess.DEVNULL) if os.path.exists(PYTHON) else 1:
        return print('SKIP Jinja2 is not in .venv')
    script = os.path.join(ROOT, 'tests', 'tools', 'template_fuzz.py')
    sys.exit(subprocess.call([PYTHON, script, '-n', COUNT], cwd=ROOT))


main()
