"""What `psst fit` on many small files costs the second time, beside importing torch and Lightning.

python benchmarks/second_run.py              # 50,000 PNG files of 8 x 8 in 100 class folders
python benchmarks/second_run.py --files 5000

Each run is a process of its own: it imports torch and Lightning, then times the command with one step of
training. The first run decodes the files; of the others the median counts. Mind the load of the machine.
"""

import argparse
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

BUDGET = 3.0  # seconds
CLASSES = 100
CONFIG = """
seed_everything: 0
model:
  class_path: psst.training.FewShotModule
  init_args:
    backbone: {{class_path: psst.backbones.Conv4}}
    main:
      class_path: psst.tasks.Episodic
      init_args: {{head: {{class_path: psst.fewshot.PrototypicalHead}}}}
data:
  class_path: psst.datamodules.ImageFolder
  init_args: {{root: {root}/images, size: 16, cache_dir: {root}/cache}}
trainer: {{max_steps: 1, limit_val_batches: 0, logger: false, enable_checkpointing: false}}
"""
RUN = """
import time
import pytorch_lightning, torch
from psst.cli import main
started = time.perf_counter(), time.process_time()
try:
    main()
except SystemExit as done:
    assert not done.code
print("seconds", time.perf_counter() - started[0], time.process_time() - started[1])
"""


def make_files(folder: Path, n_files: int) -> None:
    rng = np.random.default_rng(0)
    for class_id in range(CLASSES):
        place = folder / f"class{class_id:03d}"
        place.mkdir(parents=True)
        for i in range(n_files // CLASSES):
            data = BytesIO()
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(data, "PNG")
            (place / f"{i:05d}.png").write_bytes(data.getvalue())


def seconds(root: Path) -> tuple[float, float]:
    """By the clock, and of the process's own time on the cores."""
    command = [sys.executable, "-c", RUN, "fit", "--config", str(root / "own.yaml")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    _, clock, own = done.stdout.splitlines()[-1].split()
    return float(clock), float(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_files(root / "images", given.files)
        (root / "own.yaml").write_text(CONFIG.format(root=root))
        print(f"first run of {given.files} files: {seconds(root)[0]:.2f} s by the clock", flush=True)
        clock, own = (
            median(times) for times in zip(*(seconds(root) for _ in range(given.repeats)), strict=True)
        )
    verdict = "PASS" if clock <= BUDGET else "over"
    print(
        f"second run: {clock:.2f} s by the clock, {own:.2f} s of its own, {verdict} (at most {BUDGET:.0f} s)"
    )


if __name__ == "__main__":
    main()
