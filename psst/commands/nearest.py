"""The nearest right word for a wrong one, and where in a file the wrong one stands."""

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml  # type: ignore[import-untyped]  # comes with jsonargparse

# how jsonargparse words it: a key of the run, an argument of a class, of a group of one, a name in a module
_KEY = re.compile(r"(?:unrecognized arguments: --|option ')(?P<word>[\w.]+)")
_CLASS = re.compile(r"given class_path '(?P<path>[\w.]+)'")
_ARGUMENT = re.compile(r": Option '(?P<word>\w+)' is not accepted")
_MEMBER = re.compile(
    r"Group '(?P<group>\w+)' does not accept option '(?P<word>\w+)'"
    r"|: unrecognized arguments: --(?P<group2>\w+)\.(?P<word2>\w+)"
)
_NAME = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<word>\w+)'")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like another; None if none is."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def explained(told: str, keys: Iterable[str], configs: Sequence[Path]) -> str:
    """Return an account of a wrong key with the right one, and with file and line of the wrong one.

    Args:
        told: The account of jsonargparse.
        keys: Of the run, dotted.
        configs: Files that the run was read from.
    """
    if told.startswith("Problems parsing config"):
        return _broken(configs) or told
    word, known = _wrong(told, keys)
    if not word:
        return told
    right = nearest(word, known)
    meant = f"; did you mean `{right}`?" if right else ""
    return f"{told.rstrip('.')}{_place(word.rpartition('.')[2], configs)}{meant}"


def _broken(configs: Sequence[Path]) -> str | None:
    """Say where a file is no YAML."""
    for path in configs:
        try:
            yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            return f"`{path}`{place}: {error.problem or error.context}"
    return None


def _wrong(told: str, keys: Iterable[str]) -> tuple[str, Iterable[str]]:
    """The wrong word, and the words that would be right there."""
    classes = _CLASS.findall(told)
    if found := _NAME.search(told):
        return found["word"], dir(import_module(found["module"]))
    if classes and (found := _MEMBER.search(told)):
        group, word = found["group"] or found["group2"], found["word"] or found["word2"]
        return word, _members(_class(classes[-1]), group)
    if classes and (found := _ARGUMENT.search(told)):
        return found["word"], _arguments(_class(classes[-1]))
    if not classes and (found := _KEY.search(told)):
        return found["word"], keys
    return "", ()


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _arguments(kind: Any) -> list[str]:
    """Names of the arguments of a class, and of those whose `**kwargs` it hands on to."""
    return [name for each in kind.__mro__[:-1] for name in inspect.signature(each.__init__).parameters]


def _members(kind: Any, group: str) -> list[str]:
    """Names of the fields of a group of arguments."""
    hints = [get_type_hints(each.__init__).get(group) for each in kind.__mro__[:-1]]
    found = [
        one for each in hints if each is not None for one in (each, *get_args(each)) if is_dataclass(one)
    ]
    return [field.name for field in fields(found[0])] if found else []


def _place(word: str, configs: Sequence[Path]) -> str:
    for path in configs:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(rf"(?:^|[\s{{,.]){re.escape(word)}\s*:", line.partition("#")[0]):
                return f" (`{path}`, line {number})"
    return ""
