"""Clocks, power and what slows a GPU down, ten times a second while something is measured."""

import atexit
import os
import shutil
import statistics
import subprocess
import threading
import time

FIELDS = ['clocks.sm', 'clocks.mem', 'power.draw', 'temperature.gpu', 'clocks_event_reasons.active']
# Bits of the last field that make a figure worthless: power cap, slowdown, heat, power brake.
SLOW = {0x4: 'power cap', 0x8: 'slowdown', 0x20: 'heat', 0x40: 'heat', 0x80: 'power brake'}


# Where containers have the driver's programs and libraries without saying so.
PLACES = ('/usr/local/nvidia/bin', '/usr/lib/wsl/lib', '/opt/bin')
LIBRARIES = ('/usr/local/nvidia/lib64', '/usr/lib/wsl/lib')


def smi():
    """nvidia-smi, or None."""
    return shutil.which('nvidia-smi', path=os.pathsep.join([os.environ.get('PATH', os.defpath), *PLACES]))


def gpu():
    """The one that programs take: the first that they see, in nvidia-smi's order."""
    return os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')[0] or '0'


def show_libraries():
    """Lets programs that are started from now on find the driver's libraries, after those of the machine's own."""
    known = [p for p in os.environ.get('LD_LIBRARY_PATH', '').split(os.pathsep) if p]
    known += [p for p in LIBRARIES if os.path.isdir(p) and p not in known]
    if known:
        os.environ['LD_LIBRARY_PATH'] = os.pathsep.join(known)


def query(fields):
    """What nvidia-smi says of the first GPU, by field; empty where it cannot say."""
    if not smi():
        return {}
    command = [smi(), '-i', gpu(), '--query-gpu=' + ','.join(fields), '--format=csv,noheader,nounits']
    r = subprocess.run(command, capture_output=True, text=True)
    values = [v.strip() for v in r.stdout.split('\n')[0].split(',')]
    if r.returncode == 0 and len(values) == len(fields):
        return dict(zip(fields, values))
    # One field that this driver does not know fails them all.
    return {k: v for f in fields for k, v in query([f]).items()} if len(fields) > 1 else {}


class Watch:
    """Samples since the first `with`; reads nothing where there is no nvidia-smi. One of it runs for all: it takes
    seconds to begin where nothing else holds the driver, and while it runs programs begin faster."""

    samples, child, reader, known = [], None, None, None

    def __enter__(self):
        if Watch.known is None:
            Watch.known = len(query(FIELDS)) == len(FIELDS)
        if Watch.known and (not Watch.child or Watch.child.poll() is not None):
            Watch.stop()
            Watch.child = subprocess.Popen(
                [smi(), '-i', gpu(), '--query-gpu=' + ','.join(FIELDS),
                 '--format=csv,noheader,nounits', '-lms', '100'],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            Watch.reader = threading.Thread(target=self.read, args=[Watch.child.stdout], daemon=True)
            Watch.reader.start()
            Watch.known = True
        return self

    def __exit__(self, *_):
        pass

    @staticmethod
    def stop():
        if Watch.child:
            Watch.child.terminate()
            Watch.child.wait()
            Watch.reader.join()
            Watch.child.stdout.close()
        Watch.child = Watch.known = None

    def read(self, lines):
        for line in lines:
            self.samples.append((time.monotonic(), parse(line)))

    def between(self, begin, end):
        """Of the samples of this time: medians, and what slowed the GPU down, if anything."""
        return summary([s for t, s in self.samples if s and begin <= t <= end])

    def since(self, begin):
        return self.between(begin, time.monotonic())


atexit.register(Watch.stop)


def parse(line):
    """Numbers of one line, or None where nvidia-smi had none to give."""
    try:
        *numbers, reasons = [v.strip() for v in line.split(',')]
        return [float(v) for v in numbers] + [int(reasons, 0)]
    except ValueError:
        return None


def summary(samples):
    if not samples:
        return {}
    names = ['sm_mhz', 'mem_mhz', 'watts', 'celsius']
    out = {n: statistics.median(s[i] for s in samples) for i, n in enumerate(names)}
    out['sm_mhz_min'] = min(s[0] for s in samples)
    slow = sorted({why for bit, why in SLOW.items() if any(s[4] & bit for s in samples)})
    if slow:
        out['throttled'] = slow
    return out
