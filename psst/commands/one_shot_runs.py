"""``psst one-shot-runs CHECKPOINT RUNS``: the 20 official one-shot runs of Omniglot."""

import sys
from pathlib import Path

from psst.commands.arguments import command_parser
from psst.commands.quiet import quiet

_TEXT = """\
RUNS is all_runs.zip of the repository brendenlake/omniglot (folder python/one-shot-classification), or
the folder it unpacks to. A run is 20-way, 1-shot, within one evaluation alphabet, 20 test drawings.
Models of the protocol "vinyals" trained on some of these alphabets: for them it is no test.

example: psst one-shot-runs runs/omniglot/best.ckpt data/omniglot/all_runs.zip"""


def main(words: list[str]) -> int:
    """Evaluate one checkpoint."""
    summary = "Error of a checkpoint in the 20 official one-shot runs of Omniglot."
    parser = command_parser("one-shot-runs", summary, _TEXT)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of `psst search` or `psst fit`")
    parser.add_argument("runs", type=Path, metavar="RUNS", help="all_runs.zip, or its folder")
    options = parser.parse_args(words[1:])
    quiet()
    from psst.deploy.checkpoint import load_module
    from psst.episodes.one_shot_runs import read_one_shot_runs
    from psst.evaluation.one_shot_runs import evaluate_one_shot_runs

    module = load_module(options.checkpoint)
    assert module.image_shape is not None  # a checkpoint's module is built
    channels, size, _ = module.image_shape
    runs = read_one_shot_runs(options.runs, size, channels)
    sys.stdout.write(f"{evaluate_one_shot_runs(module.embed, runs, module.head)}\n")
    return 0
