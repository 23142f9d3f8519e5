"""``psst reproduce NAME``: run a published recipe, and print its accuracy beside the paper's."""

import json
import sys
from pathlib import Path
from typing import Any

from psst.commands.arguments import command
from psst.configs import find, read, recipes

_TEXT = """\
The first word is a recipe, or a YAML file that has `recipe:`. Killed, the same command goes on where it was.
Other keys of the run are given as for `psst fit`, in a file: --keys my.yaml.

example: psst reproduce snell2017_protonet_conv4_mini --tiny
example: psst reproduce --list"""

_TINY = {
    "data.init_args.batch_size": 8,
    "data.init_args.size": 32,
    "data.init_args.num_workers": 0,
    "data.init_args.download": False,
    "data.init_args.episodes.way": 3,
    "data.init_args.episodes.query": 2,
    "data.init_args.episodes.per_batch": 2,
    "data.init_args.episodes.per_epoch": 2,
    "data.init_args.evaluation.query": 2,
    "data.init_args.evaluation.val_episodes": 4,
    "data.init_args.evaluation.test_episodes": 20,
    "trainer.max_steps": 2,
    "trainer.limit_train_batches": 2,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
_HEAD = "| recipe | data | source | setting | published | here |\n|---|---|---|---|---|---|\n"


def main(words: list[str]) -> int:
    """Run a recipe, or list them."""
    if "--list" in words:
        sys.stdout.write(table())
        return 0
    return _reproduce(words)


def table() -> str:
    """Return all recipes as a table in Markdown."""
    return _HEAD + "".join(_row(name, path) for name, path in recipes().items())


def _row(name: str, path: Path) -> str:
    run = read(path)
    data, rows = run["data"]["class_path"].rpartition(".")[2], run["recipe"]["results"]
    setting = ", ".join(f"{row['way']}-way {row['shot']}-shot" for row in rows)
    published = ", ".join(_with_interval(row["accuracy"], row.get("half_width")) for row in rows)
    ours = ", ".join("-" if row.get("ours") is None else f"{row['ours']:.2f}" for row in rows)
    source = run["recipe"]["source"].partition(";")[0]
    return f"| `{name}` | {data} | {source} | {setting} | {published} | {ours} |\n"


def _with_interval(accuracy: float, half_width: float | None) -> str:
    return f"{accuracy:.2f}" + (f" ± {half_width:.2f}" if half_width is not None else "")


@command(_TEXT)
def _reproduce(
    name: str,
    *,
    root: str | None = None,
    output: Path | None = None,
    keys: Path | None = None,
    seed: int = 0,
    tiny: bool = False,
) -> str:
    """Train a published recipe stage by stage, test it as its paper does, and compare.

    Args:
        name: Of the recipe, or a YAML file.
        root: Folder of the data set; that of the recipe if not given.
        output: Folder for what is written; ``runs/NAME`` if not given.
        keys: YAML of other keys, laid over every stage, such as ``trainer.devices: 2``.
        seed: Of everything random.
        tiny: Two steps on a small archive in the real format, made here: does it run?
    """
    from psst.commands.recipe import Recipe, reproduce
    from psst.commands.tiny import write_tiny
    from psst.files import write_atomic
    from psst.training.experiment import Experiment

    path = find(name)
    run = Experiment.from_config(path, {"seed_everything": seed})
    recipe = Recipe.read(read(path).get("recipe"), name)
    folder = (output or Path("runs") / (f"{path.stem}-tiny" if tiny else path.stem)).resolve()
    last: dict[str, object] = {"seed_everything": seed}
    if keys is not None:
        last |= read(keys)
    if tiny:
        root = str(folder / "data")
        write_tiny(run.config["data"]["class_path"], Path(root))
        last |= {**_TINY, "data.init_args.cache_dir": str(folder / "stores")}
    if root is not None:
        last["data.init_args.root"] = root
    found, done = reproduce(run, recipe, folder, last)
    rows = list(zip(recipe.results, found, strict=True))
    lines = [f"{path.stem}: {recipe.source}", *(_compared(row, ours) for row, ours in rows)]
    lines += [f"departs: {text}" for text in recipe.departs]
    hours, best = done["seconds"] / 3600, done["checkpoint"]
    lines.append(f"{done['steps']} steps in {hours:.2f} h; best on validation: {best}")
    if tiny:
        lines.append("These are two steps on noise: they say that the recipe runs, and nothing else.")
    facts = {"results": [{**vars(row), "ours": 100 * ours.mean} for row, ours in rows], **done}
    write_atomic(folder / "reproduced.json", json.dumps(facts, indent=1))
    return "\n".join(lines)


def _compared(row: Any, found: Any) -> str:
    ours = f"{100 * found.mean:.2f} ± {100 * found.half_width:.2f} over {found.covers}"
    alone = f"± {100 * found.episode_half_width:.2f} over episodes alone"
    difference = f"{100 * found.mean - row.accuracy:+.2f}"
    published = _with_interval(row.accuracy, row.half_width)
    return f"{row.way}-way {row.shot}-shot: {ours} ({alone}); published {published}: {difference}"
