"""``psst one-shot-runs CHECKPOINT RUNS``: the 20 official one-shot runs of Omniglot."""

from pathlib import Path

from psst.commands.arguments import command

_TEXT = """\
RUNS is all_runs.zip of the repository brendenlake/omniglot (folder python/one-shot-classification), or
the folder it unpacks to. A run is 20-way, 1-shot, within one evaluation alphabet, 20 test drawings.
Models of the protocol "vinyals" trained on some of these alphabets: for them it is no test.

example: psst one-shot-runs runs/omniglot/best.ckpt data/omniglot/all_runs.zip"""


@command(_TEXT)
def main(checkpoint: Path, runs: Path) -> str:
    """Error of a checkpoint in the 20 official one-shot runs of Omniglot.

    Args:
        checkpoint: Of `psst search` or `psst fit`.
        runs: File all_runs.zip, or its folder.
    """
    from psst.deploy.export import load_module
    from psst.evaluation.one_shot_runs import evaluate_one_shot_runs, read_one_shot_runs, report_one_shot_runs

    module = load_module(checkpoint)
    channels, size, _ = module.image_shape or (0, 0, 0)  # a checkpoint's module is built
    drawings = read_one_shot_runs(runs, size, channels)
    return report_one_shot_runs(evaluate_one_shot_runs(module.embed, drawings, module.head))
