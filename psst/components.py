"""Components as plain descriptions: what a checkpoint or a config.json keeps instead of pickled objects."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar, cast

_Kind = TypeVar("_Kind")


def describe(component: object) -> dict[str, Any]:
    """Return the class path and the constructor's arguments of a component, as plain values.

    A component keeps every argument of its constructor as an attribute of the same name (the convention of
    scikit-learn), so nothing has to be registered. Tuples become lists, paths text, nested components
    descriptions of their own: what is returned is fit for YAML, JSON and `instantiate`.

    Raises:
        TypeError: An argument is not kept as an attribute, or its value is no plain one.
        ValueError: The class cannot be imported, for it was defined inside a function.
    """
    kind = type(component)
    arguments = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"`{kind.__name__}` takes `{parameter}`, which a description cannot hold; name each argument."
            )
        if not hasattr(component, parameter.name):
            raise TypeError(
                f"`{kind.__name__}` does not keep its argument `{parameter.name}`; "
                f"set `self.{parameter.name} = {parameter.name}` in its constructor."
            )
        value = getattr(component, parameter.name)
        arguments[parameter.name] = _plain(value, f"{kind.__name__}.{parameter.name}")
    return {"class_path": _public_path(kind), "init_args": arguments}


def instantiate(description: Mapping[str, Any], kind: Callable[..., _Kind]) -> _Kind:
    """Make the component that a description, ``class_path`` and perhaps ``init_args``, stands for.

    Raises:
        TypeError: The class is no `kind`, which is seen before anything is called, or does not accept
            ``init_args``.
        ValueError: Not a description, or nothing importable at ``class_path``.
    """
    assert isinstance(kind, type)  # for callers too, but to checkers an abstract one is no `type[_Kind]`
    path = description.get("class_path")
    extra = sorted(set(description) - {"class_path", "init_args"})
    if not isinstance(path, str) or extra:
        raise ValueError(
            f"A description of a {kind.__name__} has `class_path` and `init_args`, found "
            f"{sorted(description)}; write `class_path: package.Class`."
        )
    found = _import(path)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise TypeError(
            f"`class_path: {path}` is not a {kind.__module__}.{kind.__qualname__}; name a subclass."
        )
    arguments = description.get("init_args") or {}
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise TypeError(
            f"`init_args` of {path} do not fit: {error}; it takes {inspect.signature(found)}."
        ) from None
    return cast(_Kind, found(**arguments))


def as_component(argument: str, value: object, kind: Callable[..., _Kind]) -> _Kind:
    """Return a component given as itself or as its description; `argument` names it in the error.

    TypeError if the value is neither of this kind nor its description; raises as `instantiate` besides.
    """
    assert isinstance(kind, type)  # as above
    if isinstance(value, Mapping):
        return cast(_Kind, instantiate(value, kind))
    if not isinstance(value, kind):
        parts = sorted(getattr(kind, "__abstractmethods__", ()))
        wrap = f"; wrap it in a subclass of {_public_path(kind)} with {', '.join(parts)}" if parts else ""
        raise TypeError(
            f"`{argument}` must be a {kind.__name__} or its description, found {type(value).__name__}{wrap}."
        )
    return cast(_Kind, value)


def _plain(value: object, owner: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item, owner) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, owner) for key, item in value.items()}
    try:
        return describe(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{owner}` holds a {type(value).__name__}, which is no plain value: {error}"
        ) from error


def _public_path(kind: type) -> str:
    """Return the shortest import path that leads to the class, such as ``psst.backbones.Conv4``."""
    parts = kind.__module__.split(".")
    for length in range(1, len(parts) + 1):
        door = ".".join(parts[:length])
        if getattr(sys.modules.get(door), kind.__name__, None) is kind:
            return f"{door}.{kind.__name__}"
    raise ValueError(
        f"`{kind.__module__}.{kind.__qualname__}` cannot be imported; define it at the top of a module."
    )


def _import(path: str) -> object:
    module_path, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_path)
    except (ImportError, ValueError) as error:
        raise ValueError(f"`class_path: {path}` cannot be imported: {error}; check its spelling.") from error
    if not hasattr(module, name):
        classes = {key: kind for key, kind in vars(module).items() if isinstance(kind, type)}
        own = [key for key, kind in classes.items() if kind.__module__.startswith(module_path)]
        public = ", ".join(own) or "no class"
        raise ValueError(f"`class_path: {path}`: {module_path} has no `{name}`; it offers {public}.")
    return getattr(module, name)
