"""What processes that read one store cost together, as the system counts it."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from psst.images import ImageRecord, build_store

ROLLUP = Path("/proc/self/smaps_rollup")
READ = """
import sys
sys.path.insert(0, sys.argv[1])
from psst.images import ImageStore
store = ImageStore(sys.argv[2])
for start in range(0, len(store), 20):
    assert store.images[start : start + 20].max() > 0
print("read", flush=True)
sys.stdin.read()
"""


class Large:
    """140 MB of images."""

    name, channels = "large", 3

    def key(self, size):
        return {}

    def scan(self):
        return [ImageRecord("only", "train", i) for i in range(930)]

    def decode(self, record, size):
        return np.full((size, size, 3), 1 + record.reference % 255, np.uint8)


def reader(folder):
    command = [sys.executable, "-c", READ, str(Path(__file__).parents[2]), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "read\n"
    return process


def proportional_set_size(process):
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@pytest.mark.skipif(not ROLLUP.exists(), reason="the system does not say who shares what")
def test_two_processes_with_one_store_use_at_most_1_2_times_the_memory_of_one(tmp_path):
    folder = build_store(Large(), 224, tmp_path).folder
    with ExitStack() as stack:
        first = stack.enter_context(reader(folder))
        stack.callback(first.kill)
        alone = proportional_set_size(first)
        second = stack.enter_context(reader(folder))
        stack.callback(second.kill)
        together = proportional_set_size(first) + proportional_set_size(second)
    assert alone > 130_000  # KiB: all images were read
    assert together <= 1.2 * alone
