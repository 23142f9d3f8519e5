"""The small commands: a signature and a docstring say what each takes; and what libraries need not say."""

import inspect
import logging
import sys
import warnings
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from typing import Any


def command(epilog: str) -> Callable[[Callable[..., str]], Callable[[list[str]], int]]:
    """Make a command of a function: given what was typed, it prints what the function returns.

    The function's positional arguments are those of the command, its keywords the options, and those that are
    False by default take no value. The epilog stands under the help. ArgumentError (argparse's) if the words
    do not fit; it gets the options that there are.
    """
    return lambda function: partial(_carry_out, function, epilog)


def _carry_out(function: Callable[..., str], epilog: str, words: list[str]) -> int:
    from docstring_parser import parse  # comes with jsonargparse
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(
        prog=f"psst {words[0]}",
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parameters = inspect.signature(function).parameters.values()
    flags: set[str | int] = {one.name for one in parameters if one.default is False}
    parser.add_function_arguments(function, as_positional=True, skip=flags)
    for described in parse(function.__doc__ or "").params:
        if described.arg_name in flags:
            option = f"--{described.arg_name.replace('_', '-')}"
            parser.add_argument(option, action="store_true", help=described.description)
    try:
        options = parser.parse_args(words[1:])
    except ArgumentError as error:
        told: Any = error
        told.known = {option.lstrip("-") for option in parser._option_string_actions}
        raise
    quiet()
    sys.stdout.write(f"{function(**parser.instantiate(options).as_dict())}\n")
    return 0


def quiet() -> None:
    """Filter known remarks, each for the reason beside it."""
    remarks = (
        "does not have many workers",  # images come from a memory map: workers help in few cases
        "isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
        "Checkpoint directory .* exists and is not empty",  # the folder of the run itself
        "You are using the plain ModelCheckpoint",  # an advertisement
        "Experiment logs directory .* exists",  # the unit's folder, made just before
        "Be aware that when using `ckpt_path`",  # a unit of a search has callbacks of its own
        "The dirpath has changed",  # a resume into a new version folder
        "`log_every_n_steps`|The number of training batches",  # short runs are meant to be short
        "uncalibrated: ",  # the table says so
        "Trying to infer the `batch_size`",  # episodes are one batch each
    )
    for remark in remarks:
        warnings.filterwarnings("ignore", message=f".*({remark})")
    loading = "pytorch_lightning.trainer.connectors.checkpoint_connector"
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed", loading):
        logging.getLogger(name).addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """Drop advertisements and the devices that are absent; keep everything else."""
    text = record.getMessage()
    absent = text.endswith(("used: False", "using: 0 TPU cores", "using: 0 HPUs"))
    told = text.startswith(("Seed set to", "`weights_only` was not set"))  # ours hold plain values only
    return not (absent or told or "Tip: For seamless" in text)
