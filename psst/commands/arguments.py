"""The small commands: a function's signature and docstring say what its command takes."""

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from typing import Any

from psst.commands.quiet import quiet


def carry_out(
    function: Callable[..., str], words: list[str], epilog: str, flags: Mapping[str, str] | None = None
) -> int:
    """Call a function with what was typed, and print what it returns.

    Args:
        function: Its positional arguments are those of the command, its keywords the options.
        words: The command and its options.
        epilog: Stands under the help.
        flags: Help of those keywords that take no value.

    Raises:
        ArgumentError: The words do not fit (from argparse); it gets the options that there are.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(
        prog=f"psst {words[0]}",
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_function_arguments(
        function, as_positional=True, skip={name.replace("-", "_") for name in flags or ()}
    )
    for name, summary in (flags or {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=summary)
    try:
        options = parser.parse_args(words[1:])
    except ArgumentError as error:
        told: Any = error
        told.known = {option.lstrip("-") for option in parser._option_string_actions}
        raise
    quiet()
    sys.stdout.write(f"{function(**parser.instantiate(options).as_dict())}\n")
    return 0
