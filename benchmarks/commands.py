"""The page of the commands, from their own help.

python benchmarks/commands.py > docs/commands.md
"""

import io
import os
from contextlib import redirect_stdout, suppress

from psst.cli import _COMMANDS, main

HEAD = """# Commands

`psst COMMAND --help` prints what stands here. Options of a run, such as `--data.init_args.root`, are the keys
of its config: `psst search --config NAME --print_config` shows them all with their defaults.
[The search](search.md) tells of `--plan`, `--budget`, `--workers` and the rest.
"""
RUNS = ("search", "fit", "validate", "test")  # whose help is the config, pages of it


def told(*words: str) -> str:
    """What the command prints for its help, 100 columns wide."""
    os.environ["COLUMNS"] = "100"
    with redirect_stdout(io.StringIO()) as text, suppress(SystemExit):
        main([*words, "--help"])
    return text.getvalue().strip()


def page() -> str:
    lines = [HEAD]
    for name, (_, summary) in _COMMANDS.items():
        lines.append(f"## psst {name}\n\n{summary[0].upper()}{summary[1:]}.\n")
        if name not in RUNS:
            lines.append(f"```text\n{told(name)}\n```\n")
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    print(page())
