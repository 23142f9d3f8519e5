"""The Python door: a search with any LightningModule that names its losses."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.seed import isolate_rng

from psst.images import trust
from psst.search.budgets.budget import read_budget
from psst.search.budgets.search import make_pacer
from psst.search.engines import EngineName, check_engine, make_engine
from psst.search.engines.worker import packed
from psst.search.front_search import Search
from psst.search.metric_judge import MetricJudge
from psst.search.progress import Report
from psst.search.python_run import DataSource, ModuleFactory, PythonRun
from psst.search.reports.report import write_report
from psst.search.result import Metric, SearchResult
from psst.search.settings import SearchSettings
from psst.search.work import Workshop

_UNFOUNDED = (
    "resuming from a checkpoint that ended before the epoch ended",  # a KeyedLoader goes on where it was
    "The number of training batches",  # units may be short
    "isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
)


def search(
    module_factory: ModuleFactory,
    datamodule: DataSource,
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
    """Train a front of models between a main loss and others, and choose one on validation.

    The module's `training_step` returns ``{"loss": ..., "losses": {"main": ..., "other": ...}}``, positive
    losses, two or more; without one called ``main`` the first is the main one. The schedule is that of
    ``psst search``: a warm start, fixed weights from there (anchors), one run on each ray between them
    (subproblems), averages of neighbors of the best, the same fixed weights from scratch beside them.

    All units see the same training batches and draw the same random numbers in a step: a batch and what is
    drawn while it is used depend on `seed` and its place only, with any `num_workers`. Each trained candidate
    has seen `max_steps` steps of them, so weights are the only difference.

    There is one number a model, so the region that is explored is the best candidate and its neighbors, and
    no interval is given. Losses of the front are ``val/<task>_loss`` where the module logs them for all
    tasks, else the running means of the training losses at a unit's last step. Averages are checked on
    training batches, shuffled and augmented anew.

    Run again with the same `output`, it keeps finished units. Changed arguments are refused with what
    differs; changed code inside factory or data is not noticed unless shapes or hyperparameters change.
    Trainer, seed and threads of the process are as before when it returns.

    Args:
        module_factory: Returns a new module at each call; torch is seeded by `seed` before.
        datamodule: A LightningDataModule with training and validation loaders, copied for each unit, or a
            function that returns a new one.
        max_steps: Optimizer steps of one full training.
        monitor: The metric that chooses, as logged in validation.
        mode: Whether more or less of it is better.
        output: Folder for units, front and best.ckpt.
        settings: Of the search; the defaults if None.
        seed: Of parameters, batches and everything drawn in a step.
        trainer: Arguments of the Trainer, such as ``{"precision": "bf16-mixed"}``; one device unless told
            otherwise.
        workers: Units at work side by side; the result does not depend on it. With more than one, factory and
            datamodule are sent to other processes: define them at the top level of a module, and search below
            ``if __name__ == "__main__":``.
        engine: What the workers are: `processes` of this machine, or tasks of a `ray` cluster.
        budget: What the search may take, such as ``2h``, ``90m`` or ``45s``. It is cut down to that: shorter
            trainings than `max_steps`, fewer baselines, fewer anchors, and rays trained by halves.
        budget_steps: The same in optimizer steps; the result does not depend on the machine's speed.

    Returns:
        The candidates with losses and metric, the front, and which one is chosen; its checkpoint is
        ``output/best.ckpt``. Where the datamodule has a test loader, it and the baselines are tested once.

    Raises:
        TypeError: The factory gives no LightningModule, `training_step` no named losses, or `trainer` holds
            an unknown argument.
        ValueError: There is one loss only, `monitor` is not logged, `max_steps` is too small, the factory's
            modules are not fresh, or `output` holds a search with other arguments.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"`mode={mode!r}` must be 'max' or 'min'.")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int):
        raise TypeError(f"`max_steps={max_steps!r}` must be a whole number of optimizer steps.")
    check_engine(workers, engine)
    allowed = read_budget(budget, budget_steps, ("budget=", "budget_steps="))
    settings = settings or SearchSettings()

    def parts(steps: int, settings: SearchSettings) -> tuple[PythonRun, MetricJudge]:
        choice = {"monitor": monitor, "mode": mode}
        run = PythonRun(module_factory, datamodule, steps, seed, trainer, settings, choice)
        return run, MetricJudge(run, Metric(monitor, mode, monitor))

    run, judge = parts(max_steps, settings)
    with isolate_rng(), _process_settings(settings.threads), trust():
        pacer = None
        if allowed is not None:
            say = partial(print, file=sys.stderr)  # where the search's progress goes
            pacer = make_pacer(run, judge, settings, allowed, Path(output), say)
            settings = pacer.settings
            run, judge = parts(pacer.first.max_steps, settings)
        if workers > 1 or engine == "ray":
            packed(partial(_open_sent, judge, settings, Path(output)))  # refused before anything is written
        course = Search(run, judge, settings, Path(output), ("max_steps", "output"), pacer)
        opening = partial(_open_sent, judge, settings, course.folder)
        result = course.run(make_engine(engine, workers, opening, settings.threads, course.look))
        write_report(result, course.folder)
    return result


def _open_sent(judge: MetricJudge, settings: SearchSettings, folder: Path, report: Report) -> Workshop:
    """Make a workshop in another process, of what was sent there."""
    _silence()
    return Workshop(judge.run, judge, settings, folder, report)


def _silence() -> None:
    """Keep the trainers of all units from introducing themselves."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for remark in _UNFOUNDED:
        warnings.filterwarnings("ignore", message=f".*({remark})")


@contextmanager
def _process_settings(threads: int) -> Iterator[None]:
    """Set threads, and keep the trainers of all units from introducing themselves, for as long as needed."""
    lightning = logging.getLogger("pytorch_lightning")
    level, before = lightning.level, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        lightning.setLevel(level)
        torch.set_num_threads(before)
