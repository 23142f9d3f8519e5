"""The argument parser that the small commands share."""

import argparse


def command_parser(name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser for ``psst name``: options written out in full, the epilog printed as it stands."""
    return argparse.ArgumentParser(
        prog=f"psst {name}",
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
