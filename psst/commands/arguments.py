"""The small commands: a function's signature and docstring say what its command takes."""

import inspect
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from typing import Any

from psst.commands.quiet import quiet


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
