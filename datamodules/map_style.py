"""Data sets of torchvision, of learn2learn, and any others that give ``(image, label)`` by index."""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import SPLITS, Source
from psst.images.sources.lists import SEEDED, SPLIT_NAMES
from psst.images.sources.map_style import MapStyleSource

_MODES = {"train": "train", "val": "validation", "test": "test"}  # what learn2learn calls the splits


class _PairsData(EpisodicDataModule):
    """What the two have in common.

    Args:
        splits: of classes to be divided: "seeded" for 64:16:20, or the path of lists of class names, as
            `ImageFolder` takes them.
        split_seed: of the seeded division; ``seed`` does not change it.
        channels: 3 for color, 1 for grayscale.
        size: side length in pixels; the centered square of each image is resized to it.
        **shared: see `EpisodicDataModule`.
    """

    def __init__(
        self, splits: str = SEEDED, split_seed: int = 0, channels: int = 3, size: int = 84, **shared: Any
    ) -> None:
        self.splits, self.split_seed, self.channels = splits, split_seed, channels
        super().__init__(size=size, **shared)

    def _source(self, data_sets: Mapping[str, Sequence[Any]], name: str, **options: Any) -> MapStyleSource:
        return MapStyleSource(data_sets, name.lower(), self.channels, self.splits, self.split_seed, **options)


def _find_class(path: str, home: str = "") -> Callable[..., Any]:
    """Return the class at a class path, or of a plain name in ``home``."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or home), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"`data.init_args.data_set={path}` cannot be imported ({error}); check its spelling, install "
            "its library, and give the path of a class, for example torchvision.datasets.CIFAR100."
        ) from error
    if not callable(found):
        raise ValueError(f"`data.init_args.data_set={path}` is a {type(found).__name__}, not a class.")
    return found  # type: ignore[no-any-return]  # the user's class


def _opened(make: Callable[..., Any], path: str, advice: str, given: Mapping[str, Any]) -> Any:
    """Return a data set of the class at the user's ``path``; ``advice`` is how to get its files."""
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "no arguments"
    law = f"`data.init_args.data_set={path}`"
    try:
        return make(**given)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(f"{law} with {shown} cannot be opened: {error} {advice}") from error
    except Exception as error:  # whatever the other library raises
        found = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{law} does not take {shown}: {found}; it takes {inspect.signature(make)}."
        ) from error


class TorchvisionData(_PairsData):
    """Any data set of torchvision, or of a class of yours whose items are an image and a class.

    Its parts are pooled and its classes divided: few-shot learning is tested on classes that training has not
    seen. In a configuration::

        class_path: psst.datamodules.TorchvisionData
        init_args: {data_set: CIFAR100, root: data, size: 32}

    Args:
        data_set: name of a class in ``torchvision.datasets``, or the class path of any other.
        root: folder of the data set, the argument ``root`` of most classes.
        arguments: other arguments of the class, for example ``{annotation_level: family}``.
        parts: arguments of the parts to be pooled, for example ``[{split: train}, {split: test}]``; by
            default both values of ``train`` for a class that has it.
        download: let the class fetch its files, if it can.
        **shared: `splits`, `split_seed`, `channels` and `size` as of `ImageFolder`; see `EpisodicDataModule`.
    """

    def __init__(
        self,
        data_set: str,
        root: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        parts: Sequence[Mapping[str, Any]] | None = None,
        download: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.data_set, self.root, self.parts = data_set, root, parts
        self.arguments = dict(arguments or {})
        self.downloads = download  # not `self.download`, which fetches files that psst knows

    def source(self) -> Source:
        """Return the pooled images; ValueError if there is no such class, or its parts are to be chosen."""
        make = _find_class(self.data_set, "torchvision.datasets")
        given = self.arguments if self.root is None else {"root": self.root, **self.arguments}
        known = _parameters(make)
        fetch = {"download": True} if self.downloads and "download" in known else {}
        parts = self.parts
        if parts is None and "train" not in known and "split" in known and "split" not in given:
            raise ValueError(
                f"`data.init_args.data_set={self.data_set}` comes in parts; say which of them to pool, for "
                "example `data.init_args.parts=[{split: train}, {split: test}]`."
            )
        if parts is None:
            both = "train" in known and "train" not in given
            parts = [{"train": True}, {"train": False}] if both else [{}]
        advice = "Put its files there, or set `data.init_args.download=true` if it can fetch them."
        return self._source(
            {"": [{**given, **part, **fetch} for part in parts]},
            self.data_set.rpartition(".")[2],
            options={"data_set": self.data_set, "arguments": self.arguments, "parts": self.parts},
            make=partial(_opened, make, self.data_set, advice),
        )


def _parameters(make: Callable[..., Any]) -> set[str]:
    """Return the names of all arguments, also those that ``**kwargs`` hands on to base classes."""
    names: set[str] = set()
    for owner in inspect.getmro(make) if inspect.isclass(make) else (make,):
        parameters = inspect.signature(owner).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


class Learn2Learn(_PairsData):
    """Any data set in learn2learn's manner; its images are stored once, and learn2learn is not needed after.

    By class path, as in a YAML::

        class_path: psst.datamodules.Learn2Learn
        init_args:
          data_set: learn2learn.vision.datasets.CIFARFS
          init_args: {root: data}
          modes: {train: train, val: validation, test: test}

    or from Python, with data sets, MetaDatasets or Tasksets as they are::

        Learn2Learn({"train": train, "validation": validation, "test": test}, size=84)

    Images may be Pillow's, or arrays or tensors of uint8, or of floats up to 1 or up to 255, channels first
    or last. A transform that normalizes, or draws at random, does not belong here: PSST has its own.

    The store is known by the class path and its arguments: when files below its root have changed, delete the
    store. Of data sets given as objects, all labels and some images are looked at.

    Args:
        data_set: a class path, a data set of each split, or one data set whose classes are divided.
        init_args: for the class of a class path.
        modes: the ``mode`` of that class for each split; by default as above, if it has one.
        **shared: `splits` (of a single data set), `split_seed`, `channels` and `size` as of `ImageFolder`;
            see `EpisodicDataModule`.
    """

    def __init__(
        self,
        data_set: Any,
        init_args: dict[str, Any] | None = None,
        modes: dict[str, str] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not isinstance(data_set, str) and (init_args or modes):
            raise ValueError(
                "`data.init_args.init_args` and `modes` belong to a class path; `data.init_args.data_set` is "
                f"a {type(data_set).__name__}: leave them out."
            )
        self.data_set: Any = data_set
        self.init_args, self.modes = init_args, modes

    def source(self) -> Source:
        """Return the images; ValueError if nothing is at the class path, or splits are missing or unknown."""
        if isinstance(self.data_set, Mapping):
            given = {split: [data] for split, data in _by_split(self.data_set, "data_set").items()}
            return self._source(given, "learn2learn")
        if not isinstance(self.data_set, str):
            return self._source({"": [self.data_set]}, type(self.data_set).__name__)
        path, arguments = self.data_set, dict(self.init_args or {})
        make = _find_class(path)
        own = "mode" in inspect.signature(make).parameters and "mode" not in arguments
        modes = _by_split((_MODES if own else {}) if self.modes is None else self.modes, "modes")
        advice = "Check `data.init_args.init_args`, and that its files are where it looks for them."
        return self._source(
            {split: [{**arguments, "mode": mode}] for split, mode in modes.items()} or {"": [arguments]},
            path.rpartition(".")[2],
            options={"class_path": path, "init_args": _text(arguments), "modes": modes},
            by_content=False,
            make=partial(_opened, make, path, advice),
        )


def _by_split(given: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return what is given for each split under PSST's names."""
    named = {SPLIT_NAMES.get(str(split), str(split)): value for split, value in given.items()}
    if named and (set(named) != set(SPLITS) or len(named) != len(given)):
        raise ValueError(
            f"`data.init_args.{argument}` has the splits {', '.join(map(str, given))}; it needs one entry "
            f"each for {', '.join(SPLITS)}. A single data set has its classes divided."
        )
    return {split: named[split] for split in SPLITS if named}


def _text(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON; objects by their text, which tells torchvision's transforms apart."""
    text = json.dumps(arguments, sort_keys=True, default=repr)
    if " at 0x" in text:
        raise ValueError(
            f"`data.init_args.init_args` holds {text}, which is another text in the next run; make the data "
            "sets and give them in place of a class path."
        )
    return text
