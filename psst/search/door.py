"""The Python door: a search with any LightningModule that names its losses."""

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pytorch_lightning.utilities.seed import isolate_rng

from psst.search.budget import read_budget
from psst.search.engines import EngineName
from psst.search.judge import Judge
from psst.search.python_run import DataSource, ModuleFactory, PythonRun
from psst.search.result import SearchResult
from psst.search.session import run_search
from psst.search.settings import SearchSettings
from psst.search.unit import Metric

_UNFOUNDED = (
    "resuming from a checkpoint that ended before the epoch ended",  # a KeyedLoader goes on where it was
    "Be aware that when using `ckpt_path`",  # a unit has callbacks of its own
    "The number of training batches",  # units may be short
    "`training_step` returned `None`|module\\(s\\) in eval mode",  # on batches that are looked at only
    "isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
)


def search(
    module: ModuleFactory,
    data: DataSource,
    *,
    max_steps: int,
    monitor: str,
    mode: Literal["max", "min"] = "max",
    output: str | Path = "runs/search",
    settings: SearchSettings | None = None,
    seed: int = 0,
    trainer: Mapping[str, Any] | None = None,
    workers: int = 1,
    engine: EngineName = "processes",
    budget: str | None = None,
    budget_steps: int | None = None,
) -> SearchResult:
    """Find the trade-off between a main loss and others in which a metric does best.

    The `training_step` of it returns ``{"loss": ..., "losses": {"main": ..., "other": ...}}``, two losses or
    more; without one called ``main`` the first is the main one. The course is that of ``psst search``: one
    trunk, looks that try weights in short branches from it, a last look whose branches are the cool-down
    that every training needs, their average; and beside it plain training, equal weights and a grid of
    weights at the same cost, which are candidates too. Cost is counted in passes: operations of a step over
    those of a step that goes back from the main loss alone.

    Batches and what is drawn while they are used depend on `seed` and their place only, with any
    `num_workers`; branches of one look see batches of their own.

    There are no classes to draw: standard errors are those over eight parts of the validation data, and
    folds of classes are refused. Run again with the same `output`, it keeps finished units. Another module,
    data or seed is refused with what differs; changed code is not noticed unless shapes or hyperparameters
    change. Trainer, seed and threads of the process are as before when it returns.

    Args:
        module: Returns a new module at each call; torch is seeded by `seed` before.
        data: A LightningDataModule with training and validation loaders, copied for each unit, or a function
            that returns a new one.
        max_steps: T, optimizer steps of one full training on the main loss.
        monitor: The metric that chooses, as logged in validation.
        mode: Whether more or less of it is better.
        output: Folder for units, front and best.ckpt.
        settings: Of the search; the defaults if None.
        seed: Of parameters, batches and everything drawn in a step.
        trainer: Arguments of the Trainer, such as ``{"precision": "bf16-mixed"}``; one device unless told
            otherwise.
        workers: Units at work side by side; the result does not depend on it. With more than one, module and
            data are sent to other processes: define them at the top level of a module, and search below
            ``if __name__ == "__main__":``.
        engine: What the workers are: `processes` of this machine, or tasks of a `ray` cluster.
        budget: What search and rivals may take, such as ``2h``, ``90m`` or ``45s``: T is made for it.
        budget_steps: The same in passes; the result does not depend on the machine's speed.

    Returns:
        Candidates, what is handed over, tests; its checkpoint is ``output/best.ckpt``. Where the datamodule
        has a test loader, the best of the search and of each rival are tested once.

    Raises:
        TypeError: The function gives no LightningModule, `training_step` no named losses, or `trainer` holds
            an unknown argument.
        ValueError: There is one loss only, `monitor` is not logged, the function's modules are not fresh, or
            `output` holds a search of another module or is in use.

    Example:
        >>> result = psst.search(MyModule, MyData(), max_steps=2000, monitor="val/accuracy")
        >>> result.handed_over, result.best.name
        ('search', 'soup of 3')
    """
    if mode not in ("max", "min"):
        raise ValueError(f"`mode={mode!r}` must be 'max' or 'min'.")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"`max_steps={max_steps!r}` must be a whole number of optimizer steps above 0.")
    _check_engine(workers, engine)
    allowed = read_budget(budget, budget_steps, ("budget=", "budget_steps="))
    run = PythonRun(module, data, max_steps, seed, trainer)
    judge, settings = Judge(run, Metric(monitor, mode, monitor)), settings or SearchSettings()
    lightning = logging.getLogger("pytorch_lightning")
    level, threads = lightning.level, torch.get_num_threads()
    try:
        with isolate_rng(), warnings.catch_warnings():
            _silence()
            return run_search(judge, settings, Path(output), "output", workers, engine, _silence, allowed)
    finally:
        lightning.setLevel(level)
        torch.set_num_threads(threads)


def _silence() -> None:
    """Keep the trainers of all units from introducing themselves."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for remark in _UNFOUNDED:
        warnings.filterwarnings("ignore", message=f".*({remark})")


def _check_engine(workers: int, engine: str) -> None:
    """Raise ValueError where there is no such engine, ImportError where it is not installed."""
    if isinstance(workers, bool) or workers < 1:
        raise ValueError(f"`workers={workers}` must be at least 1.")
    if engine not in get_args(EngineName):
        raise ValueError(f"`engine={engine}` must be one of {list(get_args(EngineName))}.")
    if engine == "ray" and find_spec("ray") is None:
        raise ImportError("`engine=ray` needs Ray: pip install 'psst-fewshot[ray]'.")
