"""Runs that ship with the package, one YAML each; the first line of each file is the command that runs it."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with jsonargparse

_MOST = 20_000  # values that a config may have


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
        ValueError: It cannot be read; see `read`.
    """
    path = Path(config).expanduser()
    if path.is_file():
        _check_sections(read(path), path)
        return path
    runs = {**shipped(), **recipes()}
    if path.parent == Path() and path.name.removesuffix(".yaml") in runs:
        return runs[path.name.removesuffix(".yaml")]
    raise FileNotFoundError(
        f"`--config {config}` is neither a file nor a shipped run; shipped are: {', '.join(shipped())}, "
        "and the recipes of `psst reproduce --list`."
    )


def read(path: Path) -> dict[str, Any]:
    """Return what a YAML file says.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML of keys and plain values, or endless by its aliases; with file and line.
    """
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(f"`{path}` is not a file; name a YAML file.")
    try:
        text = path.read_text(encoding="utf-8")
        if (root := yaml.compose(text, yaml.SafeLoader)) is not None:
            _count(root, {})
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"`{path}`{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error).split("\n")[0]
        raise ValueError(f"`{path}` is no YAML ({reason}); give a text of keys and values.") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"`{path}`, line 1: found {found} where keys and values are to stand.")
    return content


def _check_sections(content: dict[str, Any], path: Path) -> None:
    for name, value in content.items():
        if not isinstance(name, str):
            raise ValueError(f"`{path}`: the key `{name}` is no text; write `{name!r}` or another name.")
        if name in ("trainer", "search") and not isinstance(value, dict | None):
            raise ValueError(f"`{path}`: `{name}` must have keys and values below it, found {value!r}.")


def _count(node: Any, known: dict[int, int]) -> int:
    """Values below a node with its aliases written out."""
    if id(node) not in known:
        known[id(node)] = 0  # not done
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in parts if isinstance(key, yaml.ScalarNode)]
            for place, (key, _) in enumerate(parts):
                if key.value in names[:place]:
                    raise yaml.MarkedYAMLError(
                        None, None, f"`{key.value}` stands there twice", key.start_mark
                    )
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if not 0 < known[id(node)] < _MOST:
        law = f"aliases that lead back to themselves, or to more than {_MOST} values"
        raise yaml.MarkedYAMLError(None, None, law, node.start_mark)
    return known[id(node)]
