"""A process of the command line keeps freed memory, unless it is told not to."""

import os
import platform
import subprocess
import sys

import pytest

# page faults of the second time that 64 MiB are taken, written and given back
FAULTS = """
import ctypes, resource
from psst.process import begin_process
begin_process()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    room = ctypes.c_void_p(c.malloc(64 << 20))
    ctypes.memset(room, 1, 64 << 20)
    c.free(room)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
CHILD = f"""
import subprocess, sys
from psst.process import begin_process
begin_process()
print(subprocess.run([sys.executable, "-c", {FAULTS!r}], capture_output=True, text=True).stdout)
"""


def faults(program, **settings):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **settings}
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is spoken to")
def test_a_freed_buffer_is_not_mapped_anew(monkeypatch):
    for variable in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "PSST_ALLOCATOR"):
        monkeypatch.delenv(variable, raising=False)  # a command may have run in this process
    left_alone = faults(FAULTS, PSST_ALLOCATOR="system")
    assert left_alone > 16  # 64 MiB in pages, huge ones included
    assert faults(FAULTS) < left_alone / 4  # none but what Python itself does in between
    assert faults(CHILD) < left_alone / 4
    assert faults(FAULTS, MALLOC_TRIM_THRESHOLD_="1") > left_alone / 4  # somebody has chosen


def test_cuda_is_hidden_only_where_there_is_none():
    shown = "from psst.process import begin_process, _loads; import os; begin_process(); "
    shown += "print(int(os.environ.get('CUDA_VISIBLE_DEVICES') == '' and _loads('libcuda.so.1')))"
    assert faults(shown) == 0
