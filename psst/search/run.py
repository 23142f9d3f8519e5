"""From a configuration to a searched, chosen, tested and reported model."""

from pathlib import Path

import torch

from psst.search.episode_judge import EpisodeJudge
from psst.search.front_search import Search
from psst.search.report import print_tables, write_report
from psst.search.result import SearchResult
from psst.search.settings import SearchSettings
from psst.training.experiment import Experiment

__all__ = ["run_search"]


def run_search(experiment: Experiment, settings: SearchSettings, output: Path) -> SearchResult:
    """Search, write the result files into `output`, and print the tables.

    Args:
        experiment: The parsed configuration.
        settings: Its `search:` group.
        output: Folder for units, front, pictures and best.ckpt; units finished there are not run again.

    Raises:
        ValueError: The configuration leaves nothing to search, or `output` holds a search with another one.
    """
    torch.set_num_threads(settings.threads)
    search = Search(experiment, EpisodeJudge(experiment), settings, output)
    result = search.run()
    steps, seconds = search.manifest.cost
    write_report(result, search.folder, steps, seconds)
    print_tables(result)
    print(f"{steps} training steps in {seconds:.0f} s; best.ckpt, front.* and metrics.json in {output}")
    return result
