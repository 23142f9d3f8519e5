"""Classes of torchvision's data sets, made from what a configuration says."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def make_data_sets(
    data_set: str, arguments: Mapping[str, Any], parts: Sequence[Mapping[str, Any]] | None, download: bool
) -> list[Any]:
    """Make the data sets to be pooled.

    Args:
        data_set: class path, ``torchvision.datasets.CIFAR100``; a name alone is looked for in torchvision.
        arguments: of the class, the same for all parts.
        parts: further arguments of each part; None for both values of ``train`` where the class has it.
        download: let the class fetch its files, if it can.

    Raises:
        ValueError: there is no such class, arguments it does not take, or its parts are to be chosen.
        FileNotFoundError: its files are not there.
    """
    make = _find_class(data_set)
    known = _parameters(make)
    if parts is None and "split" in known and "split" not in arguments and "train" not in known:
        raise ValueError(
            f"`data.init_args.data_set={data_set}` comes in parts; say which of them to pool, for example "
            "`data.init_args.parts=[{split: train}, {split: test}]`."
        )
    if parts is None:
        halves = "train" in known and "train" not in arguments
        parts = [{"train": True}, {"train": False}] if halves else [{}]
    unknown = sorted({*arguments, *(name for part in parts for name in part)} - known)
    if unknown:
        raise ValueError(
            f"`data.init_args.data_set={data_set}` does not take {', '.join(unknown)}; it takes "
            f"{', '.join(sorted(known))}."
        )
    fetch = {"download": True} if download and "download" in known else {}
    return [_make(make, data_set, {**arguments, **part, **fetch}) for part in parts]


def _make(make: Callable[..., Any], data_set: str, arguments: Mapping[str, Any]) -> Any:
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    try:
        return make(**arguments)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"`data.init_args.data_set={data_set}` with {shown} cannot be opened: {error} Put its files "
            "there, or set `data.init_args.download=true` if it can fetch them."
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"`data.init_args.data_set={data_set}` does not take {shown}: {error}") from error


def _find_class(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module or "torchvision.datasets"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`data.init_args.data_set={path}` cannot be imported ({error}); give the path of a class, for "
            "example torchvision.datasets.CIFAR100."
        ) from error
    if not callable(found):
        raise ValueError(f"`data.init_args.data_set={path}` is not a class.")
    return found  # type: ignore[no-any-return]  # the user's class


def _parameters(make: Callable[..., Any]) -> set[str]:
    """Return the names of all arguments, those that ``**kwargs`` hands on to base classes included."""
    names: set[str] = set()
    for owner in inspect.getmro(make) if inspect.isclass(make) else (make,):
        parameters = inspect.signature(owner).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names - {"self", "args", "kwargs"}
