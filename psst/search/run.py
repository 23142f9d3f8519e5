"""From a configuration to a searched, chosen, tested and reported model."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from psst.images import trust
from psst.search.budgets.budget import Budget
from psst.search.budgets.search import budgeted_experiment
from psst.search.engines import EngineName, check_engine, make_engine
from psst.search.episode_judge import EpisodeJudge
from psst.search.front_search import Search
from psst.search.progress import Report
from psst.search.ranks import first_only
from psst.search.reports import cost
from psst.search.reports.report import print_tables, write_report
from psst.search.result import SearchResult
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
    """Search, write the result files into `output`, and print the tables.

    Args:
        experiment: The parsed configuration.
        settings: Its `search:` group.
        output: Folder for units, front, pictures and best.ckpt; units finished there are not run again.
        workers: Units at work side by side; the result does not depend on it.
        engine: `processes` of this machine, or `ray` tasks.
        prepare: Called in each of these processes first.
        budget: What the search may cost; it is cut down to that.

    Raises:
        ValueError: The configuration leaves nothing to search, `output` holds a search with another one, or
            the budget does not pay for any.
    """
    check_engine(workers, engine)
    torch.set_num_threads(settings.threads)
    pacer = None
    if budget is not None:
        experiment, pacer = budgeted_experiment(experiment, budget, output)
        settings = experiment.settings()
    with trust() as known:  # the files of the data set are looked at once, by the check in `Search`
        judge = EpisodeJudge(experiment, settings.selection)
        search = Search(experiment, judge, settings, output, pacer=pacer)
        first_only(experiment.save)(search.folder / _CONFIG)
        opening = partial(open_configured, search.folder, prepare, dict(known))
        result = search.run(make_engine(engine, workers, opening, settings.threads, search.look))
        _tell(search, result, output)
    return result


def open_configured(
    folder: Path, prepare: Callable[[], None] | None, known: Mapping[str, str], report: Report
) -> Workshop:
    """Make a workshop in another process, from the config.yaml in the search's folder.

    Args:
        folder: Of the search.
        prepare: Called first.
        known: What the search knows of the data's files, see `psst.images.trust`.
        report: Told how far a unit is.
    """
    _lasting.enter_context(trust(known))
    if prepare is not None:
        prepare()
    path = folder / _CONFIG
    experiment = Experiment.from_config(path, search=SearchSettings)
    if experiment.yaml() != path.read_text(encoding="utf-8"):
        raise RuntimeError(f"{path} is read differently in another process; set `--workers 1`.")
    settings = experiment.settings()
    return Workshop(experiment, EpisodeJudge(experiment, settings.selection), settings, folder, report)


@first_only
def _tell(search: Search, result: SearchResult, output: Path) -> None:
    """Write and print what was found."""
    write_report(result, search.folder)
    print_tables(result)
    if search.pacer is not None:
        print(search.pacer.spent_line(search.manifest.units))
    spent = cost.described(result.units, result.max_steps)["all"]
    took = f"{spent['steps']:.0f} training steps in {spent['seconds']:.0f} s"
    print(f"{took}; best.ckpt, front.* and metrics.json in {output}")
