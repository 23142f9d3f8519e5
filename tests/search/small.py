"""A search of a tenth of a second a unit, by the command and by the Python door."""

import json
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import psst.search
from psst.cli import main
from psst.search import Look, SearchSettings
from tests.search.tasks import Columns, Heads

LOOKS = (
    '[{"at": 0.4, "length": 0.15, "at_most": 0.6}, '
    '{"at": 0.7, "length": 0.15, "tries": "around", "at_most": 0.3}]'
)
WORDS = [
    *("search", "--config=quickstart", "--trainer.max_steps=20", f"--search.looks={LOOKS}"),
    *("--search.least_steps=1", "--search.least_last_steps=2", "--search.renewal_batches=2"),
    "--search.checkpoint_every=2",
    *(
        "--data.init_args.evaluation.val_episodes=20",
        "--data.init_args.evaluation.test_episodes=20",
        "--data.init_args.episodes.query=2",
    ),
    "--model.init_args.backbone.init_args.hidden=4",
]
FEW = SearchSettings(
    looks=[Look(0.4, 0.15, "singles", 0.6), Look(0.7, 0.15, "around", 0.3)],
    least_steps=1,
    least_last_steps=2,
    renewal_batches=2,
    checkpoint_every=2,
)


@cache
def store() -> TemporaryDirectory:
    """A folder for the image store of this process's tests: to build it takes longer than most searches."""
    return TemporaryDirectory(prefix="psst-")


def command(output: Path, *more: str) -> int:
    """Run the command in this process."""
    os.environ["PSST_TRACEBACK"] = "1"
    where = [f"--data.init_args.cache_dir={store().name}", f"--output={output}"]
    try:
        return main([*WORDS, *where, *more])
    finally:
        del os.environ["PSST_TRACEBACK"]


def results(folder: Path) -> dict[str, dict]:
    """What the finished units of a search have given, by name."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("units/*/unit.json")}
    return {name: unit["result"] for name, unit in found.items() if "result" in unit}


def birds(root: Path, **n_classes: int) -> Path:
    """Write a folder of four images a class, by split."""
    for split, count in n_classes.items():
        for number in range(count):
            folder = root / "birds" / split / f"{split}{number}"
            folder.mkdir(parents=True)
            for shade in range(4):
                Image.new("L", (16, 16), 40 * number + 10 * shade).save(folder / f"{shade}.png")
    return root / "birds"


def door(output, module=Heads, data=None, **changes):
    """Search with a module that has nothing to do with few-shot learning."""
    arguments = {"max_steps": 20, "monitor": "val/error", "mode": "min", "settings": FEW, **changes}
    trainer = {"accelerator": "cpu", **arguments.pop("trainer", {})}
    return psst.search.search(module, data or Columns(), output=output, trainer=trainer, **arguments)
