"""``psst search``: the trade-off between main and auxiliary tasks."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from psst.commands.arguments import quiet

if TYPE_CHECKING:
    from psst.search.judge import Judge
    from psst.search.settings import SearchSettings

_TEXT = """\
All other options are those of `psst fit`: --config takes a file or a shipped name, any key of it can be
overridden (--trainer.max_steps 200, --data.init_args.episodes.way 5). `psst fit --help`
lists them. Units that are finished in DIR are not run again, and a unit that was stopped goes on.

example: psst search --config quickstart --output runs/quickstart"""


def main(words: list[str]) -> int:
    """Parse the words and search."""
    parser = argparse.ArgumentParser(
        prog="psst search",
        description="Find the trade-off between main and auxiliary tasks; choose on validation, test once.",
        epilog=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--output", type=Path, metavar="DIR", help="for units, front and best.ckpt (default: runs/NAME)")
    told = "units side by side (default: 1, in this process)"
    add("--workers", type=int, default=1, metavar="N", help=told)
    told = "what the workers are: processes of this machine, or tasks of a Ray cluster"
    add("--engine", choices=("processes", "ray"), default="processes", help=told)
    told = "what search and rivals may take, such as 2h, 90m or 45s: trainer.max_steps is made for it"
    add("--budget", metavar="TIME", help=told)
    add("--budget-steps", type=int, metavar="N", help="the same in passes")
    add("--plan", action="store_true", help="print units and cost, and keep nothing")
    options, rest = parser.parse_known_args(words[1:])
    if options.workers < 1:
        raise ValueError(f"`--workers {options.workers}` must be at least 1.")
    from psst.search import run_search
    from psst.search.budget import read_budget, solved
    from psst.search.episode_judge import EpisodeJudge
    from psst.search.ranks import first_only
    from psst.search.report import print_report
    from psst.search.settings import SearchSettings
    from psst.training.experiment import Experiment

    _silence()
    budget = read_budget(options.budget, options.budget_steps)
    experiment = Experiment(rest, SearchSettings)
    named = [Path(str(path)).stem for path in experiment.config.get("config") or ["search"]]
    output = options.output or Path("runs") / named[-1]
    if output.exists() and not output.is_dir():
        raise ValueError(f"`--output {output}` is a file; name a folder.")
    settings, judge = experiment.settings(), EpisodeJudge(experiment)
    if not options.plan:
        how = (options.workers, options.engine, _silence, budget)
        first_only(print_report)(run_search(judge, settings, output, "--output", *how), output)
    else:
        if budget is not None:
            steps = solved(budget, judge, settings, output)
            judge.run = experiment.varied((("trainer.max_steps", steps),))
        _print_plan(judge, settings)
    sys.stdout.flush()
    return 0


def _print_plan(judge: "Judge", settings: "SearchSettings") -> None:
    """Print units, steps, passes and seconds of a search, as far as they are known; nothing is kept."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from psst.search.budget import measured_pace
    from psst.search.folds import make_course
    from psst.search.progress import seconds_text

    remark = judge.check(settings)
    pace = measured_pace(judge, settings)
    table = Table(
        "unit",
        *(Column(name, justify="right") for name in ("number", "steps", "passes", "seconds")),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = make_course(judge, settings, judge.run.max_steps, Path(), "").rows()
    for row in rows:
        numbers = (f"{value:.0f}" for value in (row.steps, row.passes, row.passes * pace.step))
        table.add_row(row.label, str(row.number), *numbers)
    total = sum(row.passes for row in rows)
    console = Console(width=max(Console().width, 100), highlight=False)
    console.print(table)
    took = f"{seconds_text(total * pace.step)} at {1000 * pace.step:.1f} ms a pass"
    line = f"in all {total:.0f} passes, about {took}"
    console.print(f"{line}, and {pace.judging:.1f} s for each validation{'; ' + remark if remark else ''}")


def _silence() -> None:
    """Keep dozens of trainers quiet: the search reports for them."""
    import pytorch_lightning  # noqa: F401  # sets the level of its logger

    quiet()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
