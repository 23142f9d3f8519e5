"""Runs that ship with the package, one YAML each; the first line of each file is the command that runs it."""

from importlib.resources import files
from pathlib import Path


def shipped() -> dict[str, Path]:
    """Return the shipped runs by name, in alphabetical order."""
    return _in(Path(str(files(__name__))))


def recipes() -> dict[str, Path]:
    """Return the published recipes by name, in alphabetical order; `psst reproduce` runs one."""
    return _in(Path(str(files(__name__))) / "recipes")


def _in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(config: str | Path) -> Path:
    """Return the file behind ``--config``: a path as it is, else a shipped run by name.

    Args:
        config: Path of a YAML file, or the name of a shipped run or recipe with or without ``.yaml``.

    Raises:
        FileNotFoundError: Neither a file nor a shipped name.
    """
    path = Path(config).expanduser()
    if path.is_file():
        return path
    runs = {**shipped(), **recipes()}
    if path.parent == Path() and path.name.removesuffix(".yaml") in runs:
        return runs[path.name.removesuffix(".yaml")]
    raise FileNotFoundError(
        f"`--config {config}` is neither a file nor a shipped run; shipped are: {', '.join(shipped())}, "
        "and the recipes of `psst reproduce --list`."
    )
