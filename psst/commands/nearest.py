"""What the parser has against a key: as typed, with file and line, the law and the nearest right word."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml  # type: ignore[import-untyped]  # comes with jsonargparse

# how jsonargparse words it: keys on the way, an unknown one, a class, a name in a module, kinds of values
_KEY = re.compile(r'Parser key "([\w.]+)": ?')
_UNKNOWN = re.compile(
    r"(?:unrecognized arguments: --|(?:Group '(?P<group>\w+)' does not accept o|O|o)ption ')(?P<word>[\w.-]+)"
)
_CLASS = re.compile(r"class_path[ =]'([\w.]+)'(?:: )?")
_NAME = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<word>\w+)'")
_KIND = re.compile(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[(.*?)\]|(tuple) with \d+ elements)")
_VALUE = re.compile(r"\.? Got value: (.*)")
_ONE = re.compile(r"'(\w+)'")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "keys and values",
    **dict.fromkeys(("list", "tuple", "Iterable"), "a list"),
}
_MISSING = re.compile(r"the following arguments are required: (.*)")
_TOO_MANY = re.compile(r"unrecognized arguments: ([^-].*)")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word, or the last part of a dotted one, that is most like another; None if none is."""
    ends = {one.rpartition(".")[2]: one for one in reversed(list(known))}
    found = get_close_matches(word, [*ends.values(), *ends], n=1, cutoff=0.6)
    return ends.get(found[0], found[0]) if found else None


def explained(told: str, keys: Iterable[str], configs: Sequence[Path], words: Sequence[str] = ()) -> str:
    """Return an account of a wrong key or value: where it stands, the law, the nearest right word.

    `told` is that of jsonargparse; `keys` are those of the run, dotted; `configs` are files that it was read
    from, `words` what was typed.
    """
    way, rest = [part for key in _KEY.findall(told) for part in key.split(".")], _KEY.split(told)[-1]
    classes, unknown, got = _CLASS.findall(told), _UNKNOWN.search(rest), _VALUE.search(rest)
    if missing := _MISSING.search(told):
        if classes:
            return f"`--{'.'.join([*way, 'init_args', missing[1]])}` is missing; {classes[-1]} needs it."
        names = [name.rpartition(".")[2] for name in missing[1].split(", ")]
        typed = ", ".join(f"`--{name}`" if name in keys else f"`{name}`" for name in names)
        return f"{typed} {'is' if len(names) == 1 else 'are'} missing{_ways(words)}."
    if extra := _TOO_MANY.search(told):
        return f"`{extra[1]}` is too much, or lacks the option before it{_ways(words)}."
    if unknown is not None:
        wrong = unknown["word"].split(".")
        way += [*filter(None, [unknown["group"]]), *wrong]
        word, known = _wrong(wrong, classes, keys, ".".join(way))
    elif name := _NAME.search(rest):
        word, known = name["word"], dir(import_module(name["module"]))
    elif way:
        word, known = got[1] if got else "", _ONE.findall("".join(one[1] for one in _KIND.findall(rest)))
    else:
        return told
    key, value, place = _typed([part for part in way if part != "init_args"], words, configs)
    right = nearest(word, known) if word else None
    meant = f"; did you mean `{right}`?" if right else "."
    if unknown is not None:
        return f"`{key}` is unknown{f' to {classes[-1]}' if classes else ''}{place}{meant}"
    return f"`{key.lstrip('-')}={value or (got[1] if got else '')}`{place}{_law(rest).rstrip('.')}{meant}"


def _ways(words: Sequence[str]) -> str:
    """What to type, for a command whose words are missing or too many."""
    if words and words[0] in ("fit", "validate", "test", "search"):
        model = "" if words[0] in ("fit", "search") else " and a trained model with `--ckpt_path FILE`"
        return f"; name a run with `--config NAME_OR_FILE`{model}"
    return f"; `psst {words[0]} --help` has examples" if words else ""


def _law(rest: str) -> str:
    """What a value has to be."""
    kinds = [_KINDS.get(kind or pair, kind) or f"one of {some}" for kind, some, pair in _KIND.findall(rest)]
    told = _VALUE.sub("", _KIND.sub("", _CLASS.sub("", rest).replace("Problem with given ", ""))).strip(" .")
    if kinds and (not told or told.startswith(("expected a path", "Type "))):
        return f" must be {' or '.join(dict.fromkeys(kinds))}"
    return f": {told}"


def _wrong(
    parts: Sequence[str], classes: Sequence[str], keys: Iterable[str], key: str
) -> tuple[str, Iterable[str]]:
    """The wrong one of the words that a key ends with, and those that would be right there."""
    if not classes:
        firsts = {one.partition(".")[0] for one in keys}
        known = keys if key.partition(".")[0] in firsts or nearest(parts[0], firsts) is None else firsts
        return (key if known is keys else parts[0]), known
    module, _, name = classes[-1].rpartition(".")
    kind = getattr(import_module(module), name)
    taken = (name for each in kind.__mro__[:-1] for name in inspect.signature(each.__init__).parameters)
    arguments = [*taken, "class_path", "init_args"]  # those of bases too, to which `**kwargs` are handed on
    if parts[0] in arguments and len(parts) > 1:
        return parts[1], _members(kind, parts[0])
    return parts[0], [*(f"{one}.{each}" for one in arguments for each in _members(kind, one)), *arguments]


def _members(kind: Any, group: str) -> list[str]:
    """Names of the fields of a group of arguments."""
    hints = [get_type_hints(each.__init__).get(group) for each in kind.__mro__[:-1]]
    found = [
        one for each in hints if each is not None for one in (each, *get_args(each)) if is_dataclass(one)
    ]
    return [field.name for field in fields(found[0])] if found else []


def _typed(parts: list[str], words: Sequence[str], configs: Sequence[Path]) -> tuple[str, str, str]:
    """The key as typed, its value, and file and line if it stands in a file."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        key, equals, value = word.partition("=")
        if key.startswith("--") and [part for part in key[2:].split(".") if part != "init_args"] == parts:
            return key, value if equals else following, ""
    for path in reversed(configs):
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        for key, line, node in _places(root, parts):
            value = node.value if isinstance(node, yaml.ScalarNode) else ""
            return key, value, f" (`{path}`, line {line})"
    return ".".join(parts), "", ""


def _places(node: Any, parts: Sequence[str], above: str = "") -> Iterator[tuple[str, int, Any]]:
    """Each key below a node that parts lead to, with its line and its value."""
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        yield from _places(item, parts, above)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{above}{key.value}"
        if key.value == "init_args":
            yield from _places(value, parts, f"{name}.")
        elif key.value == parts[0] and len(parts) == 1:
            yield name, key.start_mark.line + 1, value
        elif key.value == parts[0]:
            yield from _places(value, parts[1:], f"{name}.")
