"""``psst data prepare | info | verify``: what a path holds, and the store of decoded images."""

import sys
from pathlib import Path
from typing import Literal

from psst.commands.arguments import carry_out
from psst.commands.quiet import quiet

_TEXT = """\
--config takes a file or a shipped name, --data a data set; `psst fit --help` lists their keys.

examples:
  psst data prepare --config omniglot_minimal_conv4 --data.init_args.root data/omniglot
  psst data prepare --data psst.datamodules.MiniImageNet --data.init_args.root data/mini_imagenet
  psst data info data/birds          which data set lies there, by looking into it
  psst data info .psst/STORE         what a store holds
  psst data verify .psst/STORE"""


def main(words: list[str]) -> int:
    """Carry out one of the three."""
    if words[1:2] != ["prepare"]:
        return carry_out(_look, words, _TEXT)
    quiet()
    sys.stdout.write(f"{_prepare(words[2:])}\n")
    return 0


def _look(action: Literal["info", "verify"], path: Path) -> str:
    """Look at a data set or a store, or compare a store with its checksums.

    Args:
        action: Either, or `prepare` to decode a data set once.
        path: Of the data set or the store.
    """
    from psst.datamodules.prepare import info, verify
    from psst.datamodules.recognize import is_store, recognize

    if action == "verify":
        store = verify(path)
        return f"{store.folder}: {len(store):,} images, as their checksums say"
    return info(path) if is_store(path) else recognize(path)


def _prepare(rest: list[str]) -> str:
    from psst.datamodules import EpisodicDataModule
    from psst.datamodules.prepare import info, prepare
    from psst.search.settings import SearchSettings
    from psst.training.experiment import Experiment

    datamodule = Experiment.from_args(rest, SearchSettings, needs_model=False).datamodule()
    if not isinstance(datamodule, EpisodicDataModule):
        raise TypeError(f"`data.class_path` is {type(datamodule).__name__}, which keeps no store of images.")
    return info(prepare(datamodule))
