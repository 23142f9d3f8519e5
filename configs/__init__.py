"""Runs that ship with the package, one YAML each; the first line of each file is the command that runs it."""

from importlib.resources import files
from pathlib import Path


def shipped() -> dict[str, Path]:
    """Return the shipped runs by name, in alphabetical order."""
    paths = (Path(str(entry)) for entry in files(__name__).iterdir())
    return {path.stem: path for path in sorted(paths) if path.suffix == ".yaml"}


def find(config: str | Path) -> Path:
    """Return the file behind ``--config``: a path as it is, else a shipped run by name.

    Args:
        config: Path of a YAML file, or the name of a shipped run with or without ``.yaml``.

    Raises:
        FileNotFoundError: Neither a file nor a shipped name.
    """
    path = Path(config).expanduser()
    if path.is_file():
        return path
    runs = shipped()
    if path.parent == Path() and path.name.removesuffix(".yaml") in runs:
        return runs[path.name.removesuffix(".yaml")]
    raise FileNotFoundError(
        f"`--config {config}` is neither a file nor a shipped run; shipped are: {', '.join(runs)}."
    )
