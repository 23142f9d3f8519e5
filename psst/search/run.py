"""From a configuration to a searched, chosen, tested and reported model."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from psst.images import trust
from psst.search.budget import Budget, solved
from psst.search.engines import EngineName, check_engine, make_engine
from psst.search.episode_judge import EpisodeJudge
from psst.search.progress import Report
from psst.search.ranks import first_only
from psst.search.record import occupied
from psst.search.report import print_report, write_report
from psst.search.result import SearchResult
from psst.search.session import Search
from psst.search.settings import SearchSettings
from psst.search.work import Workshop
from psst.training.experiment import Experiment

_CONFIG = "config.yaml"

_lasting = ExitStack()  # of a worker: as long as its process lives


def run_search(
    experiment: Experiment,
    settings: SearchSettings,
    output: Path,
    workers: int = 1,
    engine: EngineName = "processes",
    prepare: Callable[[], None] | None = None,
    budget: Budget | None = None,
) -> SearchResult:
    """Search, write the result files into `output`, and print what was found.

    Args:
        experiment: The parsed configuration.
        settings: Its `search:` group.
        output: Folder for units, front, pictures and best.ckpt; units finished there are not run again.
        workers: Units at work side by side; the result does not depend on it.
        engine: `processes` of this machine, or `ray` tasks.
        prepare: Called in each of these processes first.
        budget: What search and rivals may take: T is made for it.

    Raises:
        ValueError: The configuration leaves nothing to search, `output` holds a search of another model or
            is in use, or the budget does not pay for any.
    """
    check_engine(workers, engine)
    torch.set_num_threads(settings.threads)
    with occupied(output, "--output"), trust() as known:  # the files of the data set are looked at once
        judge = EpisodeJudge(experiment)
        judge.task_names()
        if budget is not None:
            steps = solved(budget, experiment, judge, settings, output)
            experiment = experiment.with_overrides({"trainer.max_steps": steps})
            judge = EpisodeJudge(experiment)
        search = Search(experiment, judge, settings, output)
        if budget is not None:
            search.manifest.budget |= {**budget.described(), "max_steps": experiment.max_steps}
        first_only(experiment.save)(search.folder / _CONFIG)
        digest = hashlib.sha256(experiment.yaml().encode()).hexdigest()
        opening = partial(open_configured, search.folder, prepare, dict(known), digest)
        result = search.search(make_engine(engine, workers, opening, settings.threads, search.workshop))
        first_only(write_report)(result, search.folder)
        first_only(print_report)(result, output)
    return result


def open_configured(
    folder: Path, prepare: Callable[[], None] | None, known: Mapping[str, str], digest: str, report: Report
) -> Workshop:
    """Make a workshop in another process, from the config.yaml in the search's folder.

    Args:
        folder: Of the search.
        prepare: Called first.
        known: What the search knows of the data's files, see `psst.images.trust`.
        digest: SHA-256 of the configuration as the search reads it.
        report: Told how far a unit is.

    Raises:
        RuntimeError: The file was changed, or is read differently here.
    """
    _lasting.enter_context(trust(known))
    if prepare is not None:
        prepare()
    path = folder / _CONFIG
    experiment = Experiment.from_config(path, search=SearchSettings)
    if hashlib.sha256(experiment.yaml().encode()).hexdigest() != digest:
        raise RuntimeError(f"{path} is not what the search has written; start again, with `--workers 1`.")
    settings = experiment.settings()
    return Workshop(experiment, EpisodeJudge(experiment), settings, folder, report)
