"""What the callback's numbers mean: trade-offs, fixed weights and levels on the worked examples.

python benchmarks/tradeoffs.py --steps 300 1500 --seeds 5 --out tradeoffs.jsonl

Trains the modules of docs/any_module.md (digits and their quarter turns; three measurements from one
score) once for each way and seed, and prints means with standard errors. Every finished run is a line of
the file: started again, the same command goes on where it was.
"""

import argparse
import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from psst.callbacks import PSSTCallback
from psst.pareto import FixedWeights

PAGE = Path(__file__).parent.parent / "docs" / "any_module.md"
TRADEOFFS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
FIXED = (0.1, 0.3, 1.0, 3.0, 10.0)
WAYS: dict[str, Callable[[], PSSTCallback]] = {
    **{f"tradeoff {t:g}": lambda t=t: PSSTCallback(tradeoff=t) for t in TRADEOFFS},
    **{f"fixed {w:g}": lambda w=w: PSSTCallback(FixedWeights(w)) for w in FIXED},
}
LEVELS = {"digits": {"turn": (0.2, 0.4, 0.8)}, "health": {"bmi": (0.85, 0.95)}}


def worked(name: str) -> dict[str, Any]:
    """Names of a worked example, up to where it begins to train."""
    block = re.search(rf"```python runnable {name}\n(.*?)```", PAGE.read_text(), re.S)
    assert block is not None
    code = re.split(r"\nquiet = |\nfor tradeoff|\nsettings = |\ndata = pl\.", block[1])[0]
    code = code.replace("import psst.search\n", "")
    names: dict[str, Any] = {"__name__": name}
    exec(compile(code, name, "exec"), names)
    return names


def digits(names: dict[str, Any]) -> tuple[Any, DataLoader, DataLoader]:
    return names["Digits"](), DataLoader(names["train"], 64, shuffle=True), DataLoader(names["val"], 500)


def health(names: dict[str, Any]) -> tuple[Any, DataLoader, DataLoader]:
    tensors = torch.utils.data.TensorDataset(names["inputs"], names["targets"])
    train, val = (torch.utils.data.Subset(tensors, rows) for rows in (range(300), range(300, len(tensors))))
    return names["Health"](), DataLoader(train, 150, shuffle=True), DataLoader(val, len(val))


EXAMPLES = {"digits": digits, "health": health}


def run(
    example: str, names: dict[str, Any], callback: PSSTCallback, steps: int, seed: int
) -> dict[str, float]:
    pl.seed_everything(seed, verbose=False)
    module, train, val = EXAMPLES[example](names)
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train)
    (found,) = trainer.validate(module, val, verbose=False)
    last = np.exp(callback.trajectory.log_losses[-1])
    losses = {f"loss {name}": float(value) for name, value in zip(callback._step.names, last, strict=True)}
    return {**{key: float(value) for key, value in found.items()}, **losses}


def table(rows: list[dict[str, Any]]) -> None:
    for example in EXAMPLES:
        for steps in sorted({row["steps"] for row in rows}):
            here = [row for row in rows if row["example"] == example and row["steps"] == steps]
            if not here:
                continue
            keys = list(here[0]["found"])
            print(f"\n{example}, {steps} steps\n| way | {' | '.join(keys)} |\n|---|" + "---|" * len(keys))
            for way in dict.fromkeys(row["way"] for row in here):
                values = np.array([list(row["found"].values()) for row in here if row["way"] == way])
                error = values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else values[0] * 0
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(values.mean(axis=0), error, strict=True)]
                print(f"| {way} ({len(values)}) | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 1500])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", nargs="+", choices=list(EXAMPLES), default=list(EXAMPLES))
    parser.add_argument("--only", nargs="+", default=[""], help="ways that hold one of these words")
    parser.add_argument("--out", type=Path, default=Path("tradeoffs.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = {(row["example"], row["way"], row["steps"], row["seed"]) for row in rows}
    for seed in range(given.seeds):
        for steps in given.steps:
            for example in given.examples:
                names = worked(example)
                ways = dict(WAYS)
                for task, levels in LEVELS[example].items():
                    for level in levels:
                        ways[f"level {task} {level:g}"] = lambda t=task, v=level: PSSTCallback(levels={t: v})
                for way, make in ways.items():
                    if (example, way, steps, seed) in done or not any(word in way for word in given.only):
                        continue
                    found = run(example, names, make(), steps, seed)
                    row = {"example": example, "way": way, "steps": steps, "seed": seed, "found": found}
                    rows.append(row)
                    with given.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    table(rows)


if __name__ == "__main__":
    main()
