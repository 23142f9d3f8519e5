"""``psst data prepare | info | verify``: what a path holds, and the store of decoded images."""

import argparse
import sys
from pathlib import Path

from psst.commands.arguments import command_parser
from psst.commands.quiet import quiet

_TEXT = """\
examples:
  psst data prepare --config omniglot_minimal_conv4 --data.init_args.root data/omniglot
  psst data prepare --data psst.datamodules.MiniImageNet --data.init_args.root data/mini_imagenet
  psst data info data/birds          which data set lies there, by looking into it
  psst data info .psst/STORE         what a store holds
  psst data verify .psst/STORE"""


def main(words: list[str]) -> int:
    """Carry out one of the three."""
    options, rest = _parse(words[1:])
    quiet()
    if options.action == "prepare":
        _prepare(rest)
        return 0
    if options.action == "info":
        sys.stdout.write(f"{_info(options.path)}\n")
        return 0
    from psst.datamodules.prepare import verify

    store = verify(options.store)
    sys.stdout.write(f"{store.folder}: {len(store):,} images, as their checksums say\n")
    return 0


def _info(path: Path) -> str:
    from psst.datamodules.prepare import info
    from psst.datamodules.recognize import is_store, recognize

    return info(path) if is_store(path) else recognize(path)


def _parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = command_parser(
        "data", "Decode a data set once, look at a data set or a store, or check a store.", _TEXT
    )
    commands = parser.add_subparsers(dest="action", required=True, metavar="{prepare,info,verify}")
    raw = argparse.RawDescriptionHelpFormatter
    summary = "decode a data set into its store"
    about = "--config takes a file or a shipped name; --data a data set. `psst fit --help` lists their keys."
    commands.add_parser(
        "prepare", help=summary, description=about, epilog=_TEXT, formatter_class=raw, allow_abbrev=False
    )
    looking = commands.add_parser("info", help="say which data set a path holds, or what a store holds")
    looking.add_argument("path", type=Path, metavar="PATH")
    checking = commands.add_parser("verify", help="compare a store with its checksums")
    checking.add_argument("store", type=Path, metavar="STORE")
    options, rest = parser.parse_known_args(words)
    if rest and options.action != "prepare":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options, rest


def _prepare(rest: list[str]) -> None:
    from psst.datamodules import EpisodicDataModule
    from psst.datamodules.prepare import info, prepare
    from psst.search.settings import SearchSettings
    from psst.training.experiment import Experiment

    datamodule = Experiment.from_args(rest, SearchSettings, needs_model=False).datamodule()
    if not isinstance(datamodule, EpisodicDataModule):
        raise TypeError(f"`data.class_path` is {type(datamodule).__name__}, which keeps no store of images.")
    sys.stdout.write(f"{info(prepare(datamodule))}\n")
