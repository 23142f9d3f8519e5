"""``psst fit | validate | test | predict``: one Lightning run."""

from pathlib import Path
from typing import Any

from psst.commands.quiet import quiet
from psst.deploy.checkpoint import read_checkpoint
from psst.search.settings import SearchSettings
from psst.training.experiment import STRICT, RunCLI

_EXAMPLES = {
    "fit": "psst fit --config quickstart --trainer.max_steps 100",
    "validate": "psst validate --config RUN/config.yaml --ckpt_path RUN/checkpoints/NAME.ckpt",
    "test": "psst test --config RUN/config.yaml --ckpt_path RUN/checkpoints/NAME.ckpt",
    "predict": "psst predict --config RUN/config.yaml --ckpt_path RUN/checkpoints/NAME.ckpt",
}


class Run(RunCLI):
    """Checks what only the command line can get wrong, then lets Lightning run."""

    def before_instantiate_classes(self) -> None:
        """Refuse a run without data."""
        if self.config[self.config["subcommand"]].get("data") is None:
            raise ValueError("`data` is missing; name a data set such as `--data psst.datamodules.Glyphs`.")

    def after_instantiate_classes(self) -> None:
        """Refuse a file that is no checkpoint; the module refuses those of another model."""
        path = self.config[self.config["subcommand"]].get("ckpt_path")
        if path is not None and path not in ("best", "last", "hpc"):  # those are Lightning's to find
            read_checkpoint(Path(path))


def main(words: list[str]) -> int:
    """Parse the words, make the parts, run them.

    Args:
        words: The command and its options.
    """
    quiet()
    kwargs: dict[str, Any] = {"prog": "psst", **STRICT}
    for command, example in _EXAMPLES.items():
        kwargs[command] = {"epilog": f"example: {example}", **STRICT}
    Run(words, SearchSettings, parser_kwargs=kwargs)
    return 0
