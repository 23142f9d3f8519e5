"""``psst search``: the trade-off between main and auxiliary tasks."""

import logging
import sys
from pathlib import Path

from psst.commands.arguments import command_parser
from psst.commands.quiet import quiet

_TEXT = """\
All other options are those of `psst fit`: --config takes a file or a shipped name, any key of it can be
overridden (--trainer.max_steps 200, --data.init_args.n_way 5, --search.baselines false). `psst fit --help`
lists them. Units that are finished in DIR are not run again.

example: psst search --config quickstart --output runs/quickstart"""


def main(words: list[str]) -> int:
    """Parse the words and search."""
    parser = command_parser("search", "Train a front of models, choose on validation, test once.", _TEXT)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="for units, front and best.ckpt (default: runs/NAME)"
    )
    options, rest = parser.parse_known_args(words[1:])
    from psst.search import run_search
    from psst.search.settings import SearchSettings
    from psst.training.experiment import Experiment

    quiet()
    lightning = logging.getLogger("pytorch_lightning")  # sets its own level when imported
    lightning.setLevel(logging.WARNING)  # dozens of trainers: the search reports for them

    experiment = Experiment.from_args(rest, SearchSettings)
    output = options.output or Path("runs") / _name(rest)
    if output.exists() and not output.is_dir():
        raise ValueError(f"`--output {output}` is a file; name a folder.")
    run_search(experiment, experiment.settings(), output)
    sys.stdout.flush()
    return 0


def _name(rest: list[str]) -> str:
    """Name the output after the last config."""
    words = [word.removeprefix("--config=") for word in rest]
    configs = [b for a, b in zip(rest, words[1:], strict=False) if a in ("--config", "-c")]
    configs += [word for word, bare in zip(words, rest, strict=True) if word != bare]
    return Path(configs[-1]).stem if configs else "search"
