"""Adapters on a frozen pretrained encoder, over class splits of a folder of images.

    python benchmarks/pretrained.py groceries photos/groceries --splits 5 --out runs/pretrained \
        -- --data.init_args.groups.pattern '(.*)_'

For each split (64:16:20 of the classes, `split_seed` 0, 1, ...) it runs `psst search --config
pretrained_adapter` with the words after `--`, which resumes where it was, and tests every final at 5 shots
too; beside them scikit-learn's logistic regression on frozen features. It prints a row a split, the means,
and paired differences whose intervals resample splits and the classes within them. A second table says what
the folds said: validation of main only, of the best task alone, of all at weight 1, of `upgrad` over all,
and of the chosen one. `--table` prints what several names say together; `--cosines` how the
tasks' gradients lie to main's, on adapters that were trained on all of them: the mean over batches, and in
parentheses the cosine of the mean gradients.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from seeds import resampled, unit_of

from psst.search.settings import SearchSettings
from psst.training import FewShotModule
from psst.training.experiment import Experiment

LOGISTIC_EPISODES = 300
PAIRS = (("search", "frozen"), ("search", "plain"), ("search", "fixed"), ("handed over", "frozen"))


def main() -> None:
    own, words = sys.argv[1:], []
    if "--" in own:
        own, words = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", help="of the data set, for folders; with --table several, joined by commas")
    parser.add_argument("root", nargs="?", help="the folder of images")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first split's seed")
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print only what is there")
    parser.add_argument("--cosines", action="store_true", help="of gradients, in what is there")
    given = parser.parse_args(own)
    for seed in [] if given.table or given.cosines else range(given.first, given.first + given.splits):
        folder = given.out / f"{given.name}-{seed}"
        began = time.monotonic()
        command = ["psst", "search", "--config", "pretrained_adapter", "--output", str(folder)]
        command += ["--workers", str(given.workers), "--data.init_args.root", given.root]
        command += ["--data.init_args.splits", "seeded", "--data.init_args.split_seed", str(seed), *words]
        subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)
        note(folder, time.monotonic() - began)
    folders = [f for name in given.name.split(",") for f in sorted(given.out.glob(f"{name}-[0-9]*"))]
    folders = [folder for folder in folders if (folder / "shots.json").is_file()]
    if given.cosines:
        print_cosines(folders)
    else:
        show(folders)
        show_folds(folders)


def note(folder: Path, seconds: float) -> None:
    """Test every final at 5 shots, and leave what was found."""
    path = folder / "shots.json"
    if path.is_file():
        return
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    five = {name: at_five_shots(folder, name) for name in run["candidates"] if name != "own"}
    found = {"seconds": seconds, "five": five, "logistic": logistic(folder)}
    path.write_text(json.dumps(found), encoding="utf-8")


def at_five_shots(folder: Path, name: str) -> float:
    module, data = loaded(folder, name)
    place = folder / "units" / unit_of(folder, name) / "five"
    trainer = Trainer(default_root_dir=place, logger=False, enable_progress_bar=False, accelerator="cpu")
    found = trainer.test(module, datamodule=data, verbose=False)
    return 100 * found[0]["test/accuracy"]


def loaded(folder: Path, name: str) -> tuple[FewShotModule, object]:
    more = {"data.init_args.evaluation.shot": 5}
    experiment = Experiment.from_config(folder / "config.yaml", more, SearchSettings)
    path = folder / "units" / unit_of(folder, name) / "model.ckpt"
    module = FewShotModule.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    return module, experiment.datamodule()


def logistic(folder: Path) -> float:
    """Accuracy of logistic regression on frozen features, 5 shots."""
    from sklearn.linear_model import LogisticRegression

    module, data = loaded(folder, "frozen")
    data.prepare_data()
    data.setup("test")
    module.attach(data)
    module.eval()
    features, ids = [], []
    with torch.no_grad():
        for batch in data.test_dataloader():
            batch = data.on_after_batch_transfer(batch, 0)
            features.append(torch.nn.functional.normalize(module.embed_and_judge(batch)[0], dim=1).numpy())
            ids.append(batch.ids.numpy())
    rows = {int(image): row for row, image in enumerate(np.concatenate(ids))}
    table, scores = np.concatenate(features), []
    [sampler] = data.episode_plan("test").values()
    episodes = sampler.draw(0, LOGISTIC_EPISODES)
    for support, query in zip(episodes.support, episodes.query, strict=True):
        known = [table[np.vectorize(rows.get)(part.ravel())] for part in (support, query)]
        labels = [np.repeat(np.arange(len(part)), part.shape[1]) for part in (support, query)]
        model = LogisticRegression(C=10.0, max_iter=300).fit(known[0], labels[0])
        scores.append((model.predict(known[1]) == labels[1]).mean())
    return 100 * float(np.mean(scores))


def show(folders: list[Path]) -> None:
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    more = [json.loads((folder / "shots.json").read_text(encoding="utf-8")) for folder in folders]
    names = [name for name in runs[0]["candidates"] if all(name in run["candidates"] for run in runs)]
    columns = [
        *names,
        "handed over",
        "5 shots: " + ", ".join(n for n in names if n != "own"),
        "logistic",
        "s",
    ]
    print(f"| split | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for folder, run, shots in zip(folders, runs, more, strict=True):
        cells = [f"{run['candidates'][n]['test']:.2f} ({run['candidates'][n]['model']})" for n in names]
        cells += [run["handed_over"], ", ".join(f"{v:.2f}" for v in shots["five"].values())]
        print(f"| {folder.name} | {' | '.join(cells)} | {shots['logistic']:.2f} | {shots['seconds']:.0f} |")
    means = [np.mean([run["candidates"][name]["test"] for run in runs]) for name in names]
    handed = np.mean([run["candidates"][run["handed_over"]]["test"] for run in runs])
    five = np.mean([list(shots["five"].values()) for shots in more], axis=0)
    cells = [f"{mean:.2f}" for mean in [*means, handed]] + [", ".join(f"{value:.2f}" for value in five)]
    print(f"| mean | {' | '.join(cells)} | {np.mean([s['logistic'] for s in more]):.2f} | |")
    for one, other in (*PAIRS, ("handed over", "plain"), ("search", "own")):
        if other in names:
            print(difference(folders, runs, one, other))


def show_folds(folders: list[Path]) -> None:
    """What validation on the folds says of kinds of candidates, tuned alike."""
    kinds: dict[str, Callable[[str], bool]] = {
        "main only": lambda name: name.startswith("main only"),
        "best task alone": lambda name: len(name.split()) == 1 and "=" in name and "all=" not in name,
        "all=1": lambda name: name == "all=1",
        "upgrad over all": lambda name: name == "upgrad",
        "chosen": lambda name: True,
    }
    print(f"\n| split, on folds | {' | '.join(kinds)} |\n|{'---|' * (len(kinds) + 1)}")
    table = []
    for folder in folders:
        rows = json.loads((folder / "front.json").read_text(encoding="utf-8"))
        own = [(row["name"].partition(",")[0], row) for row in rows if row["line"] == "search"]
        best = {kind: [row for name, row in own if is_of(name)] for kind, is_of in kinds.items()}
        tops = [max(found, key=lambda row: row["val_accuracy"]) for found in best.values()]
        table.append([100 * row["val_accuracy"] for row in tops])
        cells = [f"{100 * row['val_accuracy']:.2f} ({row['name']})" for row in tops]
        print(f"| {folder.name} | {' | '.join(cells)} |")
    print(f"| mean | {' | '.join(f'{mean:.2f}' for mean in np.mean(table, axis=0))} |")


def print_cosines(folders: list[Path], batches: int = 50) -> None:
    """Mean cosine over batches of each task's gradient with main's, and the cosine of the mean gradients."""
    for folder in folders:
        module, data = loaded(folder, "fixed")
        data.prepare_data()
        data.setup("fit")
        module.attach(data)
        module.train()
        shared = [one for one in module.encoder.backbone.parameters() if one.requires_grad]
        names, rows = module.task_names, []
        for index in range(batches):
            losses = module.task_losses(data.train_batch(index))
            each = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()]
            rows.append(torch.stack([torch.cat([part.flatten() for part in parts]) for parts in each]))
        gradients = torch.stack(rows)
        one = torch.nn.functional.cosine_similarity(gradients[:, 1:], gradients[:, :1], dim=2).mean(dim=0)
        mean = gradients.mean(dim=0)
        of_mean = torch.nn.functional.cosine_similarity(mean[1:], mean[:1], dim=1)
        told = [f"{n} {a:+.2f} ({b:+.2f})" for n, a, b in zip(names[1:], one, of_mean, strict=True)]
        print(f"{folder.name}: {', '.join(told)}", flush=True)


def difference(folders: list[Path], runs: list[dict], one: str, other: str) -> str:
    """Mean over splits of one final minus another; splits are drawn, and classes within them."""
    pairs = []
    for folder, run in zip(folders, runs, strict=True):
        names = [run["handed_over"] if name == "handed over" else name for name in (one, other)]
        pairs.append([folder / "units" / unit_of(folder, name) for name in names])
    gaps, low, high = resampled(pairs)
    ahead, each = sum(gap > 0 for gap in gaps), ", ".join(f"{gap:+.2f}" for gap in gaps)
    mean = f"{np.mean(gaps):+.2f} ({low:+.2f} to {high:+.2f})"
    return f"{one} - {other}: {mean}, ahead in {ahead} of {len(gaps)}: {each}"


if __name__ == "__main__":
    main()
