"""Was the trade-off that folds chose the best of those they tried? Trains all of them in full and tests them.

    for seed in 0 1 2 3 4; do
      psst search --config quickstart --search.course folds --search.vary '{length: [1]}' \
        --trainer.max_steps 300 --model.init_args.backbone.init_args.hidden 16 --seed_everything $seed \
        --output runs/quick-folds-$seed
    done
    python benchmarks/hindsight.py runs/quick-folds-*

Each folder is a finished search on folds. Every trade-off that it tried with the setting of its choice is
trained once more on all classes that are not for testing, as the search did with its choice, and tested on
the same episodes. Trained models stay in `hindsight` of the folder: started again, the command goes on.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seeds import resampled

from psst.process import begin_process
from psst.search.course import scratch
from psst.search.episode_judge import EpisodeJudge
from psst.search.mixture import Mixture
from psst.search.runner import UnitRunner
from psst.search.settings import SearchSettings, Setting
from psst.search.unit import Unit
from psst.training.experiment import Experiment


def main(folders: list[Path]) -> None:
    """Print test accuracies by trade-off, and the difference of the choice to the best of them."""
    begin_process()
    torch.set_num_threads(1)
    tested = [in_full(folder) for folder in folders]
    names = [name for name in tested[0] if all(name in one for one in tested)]
    print(f"| search | {' | '.join(names)} | chosen |\n|---|{'---|' * len(names)}---|")
    for folder, found in zip(folders, tested, strict=True):
        cells = [f"{accuracy(found[name]):.2f}" for name in names]
        print(f"| {folder.name} | {' | '.join(cells)} | {chosen(folder)['name']} |")
    means = {name: float(np.mean([accuracy(one[name]) for one in tested])) for name in names}
    best = max(means, key=means.__getitem__)
    print(f"| mean | {' | '.join(f'{means[name]:.2f}' for name in names)} | |")
    pairs = [[one[chosen(folder)["name"]], one[best]] for folder, one in zip(folders, tested, strict=True)]
    gaps, low, high = resampled(pairs)
    each = ", ".join(f"{gap:+.2f}" for gap in gaps)
    print(f"chosen - {best}: {np.mean(gaps):+.2f} ({low:+.2f} to {high:+.2f}); a search: {each}")


def in_full(folder: Path) -> dict[str, Path]:
    """Folders of tested models by trade-off."""
    best = record(folder, chosen(folder)["unit"])
    experiment = Experiment.from_config((folder / "config.yaml").read_text(), search=SearchSettings)
    judge, out, found = EpisodeJudge(experiment), folder / "hindsight", {}
    judge.check(experiment.settings())
    for row in rows(folder):
        unit = record(folder, row["unit"])
        if unit["setting"] != best["setting"]:
            continue
        name, mixture, setting = row["name"], unit["mixture"], unit["setting"]
        own = Mixture(tuple(map(tuple, mixture["weights"])), mixture["method"])
        options = tuple(map(tuple, setting["options"]))
        how = Setting(setting["length"], setting["rate"], options)
        fold = (-1, best["fold"][1])
        found[name] = trained(judge, out, scratch(name.replace(" ", "-"), own, best["stop"], fold, how))
        print(f"{folder.name}, {name}: {accuracy(found[name]):.2f} %", file=sys.stderr)
    return found


def trained(judge: EpisodeJudge, out: Path, unit: Unit) -> Path:
    """Train and test a unit, unless that is done; return its folder."""
    runner = UnitRunner(judge, judge.run.settings(), out)
    folder = out / "units" / unit.name
    if not (folder / "test_scores.npz").is_file():
        runner.do(replace(unit, key=unit.name))
        runner.do(replace(unit, name=f"test {unit.name}", parent=unit.name, test=True))
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    """What the search alone has judged."""
    found = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    return [row for row in found if row["line"] == "search"]


def chosen(folder: Path) -> dict[str, Any]:
    """The row of its choice."""
    return next(row for row in rows(folder) if "search" in row["final_of"].split())


def record(folder: Path, unit: str) -> dict[str, Any]:
    """What is written of a unit."""
    content: dict[str, Any] = json.loads((folder / "units" / unit / "unit.json").read_text(encoding="utf-8"))
    return content["unit"]


def accuracy(folder: Path) -> float:
    """On test, in percent."""
    return 100 * json.loads((folder / "test.json").read_text(encoding="utf-8"))["result"]["metric"]


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
