"""Data sets of other libraries, made of a class path and arguments when they are needed."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from psst.images.source import SPLITS
from psst.images.sources.lists import SPLIT_NAMES

MODES = {"train": "train", "val": "validation", "test": "test"}
"""What learn2learn calls the splits."""


class MadeDataSets:
    """A data set of each split, made by one class with another ``mode``; or a single one.

    Args:
        class_path: such as ``learn2learn.vision.datasets.CIFARFS``.
        init_args: for its constructor.
        modes: the class's ``mode`` for each split. None: those of learn2learn if it has such an argument and
            `init_args` leave it free, else one data set for all classes.

    Raises:
        ValueError: nothing is found at the class path, it does not take these arguments, or a split is
            missing or unknown.
    """

    def __init__(
        self,
        class_path: str,
        init_args: Mapping[str, Any] | None = None,
        modes: Mapping[str, str] | None = None,
    ) -> None:
        self.class_path = class_path
        self.init_args = dict(init_args or {})
        make = _find(class_path)
        if modes is None:
            own = "mode" in inspect.signature(make).parameters and "mode" not in self.init_args
            modes = MODES if own else {}
        self.modes = {SPLIT_NAMES.get(split, split): mode for split, mode in modes.items()}
        if self.modes and set(self.modes) != set(SPLITS):
            raise ValueError(
                f"`data.init_args.modes` has the splits {', '.join(modes)}; it needs {', '.join(SPLITS)}, as "
                f"in `modes: {{{', '.join(f'{split}: {mode}' for split, mode in MODES.items())}}}`."
            )
        for arguments in self._arguments().values():
            _check_arguments(make, class_path, arguments)

    @property
    def description(self) -> dict[str, Any]:
        """The arguments, as plain values."""
        return {"class_path": self.class_path, "init_args": _plain(self.init_args), "modes": self.modes}

    def __len__(self) -> int:
        return len(self._arguments())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Make the data sets, and yield each with its split; a single one with "all".

        Raises:
            ValueError: a data set could not be made.
        """
        make = _find(self.class_path)
        for split, arguments in self._arguments().items():
            try:
                yield split, make(**arguments)
            except Exception as error:  # whatever the other library raises where files are missing or damaged
                raise ValueError(
                    f"`data.init_args.data_set={self.class_path}` could not be made with {arguments}: "
                    f"{type(error).__name__}: {error}; check `data.init_args.init_args`, and that its files "
                    "are where it looks for them."
                ) from error

    def _arguments(self) -> dict[str, dict[str, Any]]:
        if not self.modes:
            return {"all": self.init_args}
        return {split: {**self.init_args, "mode": self.modes[split]} for split in SPLITS}


def _find(class_path: str) -> Callable[..., Any]:
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`data.init_args.data_set={class_path}` cannot be imported ({error}); check its spelling, or "
            "install its library: for learn2learn on Python 3.11 and later see "
            "`tests/learn2learn/environment.py`."
        ) from error
    if not callable(found):
        raise ValueError(f"`data.init_args.data_set={class_path}` is a {type(found).__name__}, not a class.")
    return found  # type: ignore[no-any-return]  # the user's class


def _check_arguments(make: Callable[..., Any], class_path: str, arguments: Mapping[str, Any]) -> None:
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"`data.init_args.init_args` do not fit {class_path}: {error}; it takes "
            f"{inspect.signature(make)}."
        ) from None


def _plain(value: Any) -> Any:
    """Return a value that JSON holds; objects by their text, which tells torchvision's transforms apart."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    if " at 0x" in repr(value):
        raise ValueError(
            f"`data.init_args.init_args` holds {value!r}, whose text is another in the next run; make the "
            "data sets and give them in place of a class path."
        )
    return repr(value)
