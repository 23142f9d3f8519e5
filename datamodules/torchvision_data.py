"""Any data set of torchvision."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes.checks import check_channels
from psst.images import Source
from psst.images.sources.map_style import MapStyleSource

_ADVICE = "Put its files there, or set `data.init_args.download=true` if it can fetch them."


class TorchvisionData(EpisodicDataModule):
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
        splits: "seeded" divides the classes 64:16:20; or the path of your lists of class names, as
            `ImageFolder` takes them.
        split_seed: of the seeded division; ``seed`` does not change it.
        channels: 3 for color, 1 for grayscale.
        size: side length in pixels; the centered square of each image is resized to it.
        download: let the class fetch its files, if it can.
        **shared: see `EpisodicDataModule`.
    """

    def __init__(
        self,
        data_set: str,
        root: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        parts: Sequence[Mapping[str, Any]] | None = None,
        splits: str = "seeded",
        split_seed: int = 0,
        channels: int = 3,
        size: int = 84,
        download: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        self.data_set, self.root, self.parts = data_set, root, parts
        self.arguments = dict(arguments or {})
        self.splits, self.split_seed = splits, split_seed
        self.downloads = download  # not `self.download`, which fetches files that psst knows
        self.channels = check_channels(channels)

    def source(self) -> Source:
        """Return the pooled images; the data sets are made when they are first needed.

        Raises:
            ValueError: there is no such class, arguments it does not take, or its parts are to be chosen.
        """
        make = MapStyleSource.find_class(self.data_set, "torchvision.datasets")
        given = self.arguments if self.root is None else {"root": self.root, **self.arguments}
        known = _parameters(make)
        fetch = {"download": True} if self.downloads and "download" in known else {}
        arguments = [{**given, **part, **fetch} for part in self._chosen_parts(given, known)]
        return MapStyleSource(
            {"": arguments},
            self.data_set.rpartition(".")[2].lower(),
            *(self.channels, self.splits, self.split_seed),
            options={"data_set": self.data_set, "arguments": self.arguments, "parts": self.parts},
            make=MapStyleSource.maker(make, self.data_set, _ADVICE),
        )

    def _chosen_parts(self, given: Mapping[str, Any], known: set[str]) -> Sequence[Mapping[str, Any]]:
        if self.parts is not None:
            return self.parts
        if "train" in known:
            return [{}] if "train" in given else [{"train": True}, {"train": False}]
        if "split" in known and "split" not in given:
            raise ValueError(
                f"`data.init_args.data_set={self.data_set}` comes in parts; say which of them to pool, for "
                "example `data.init_args.parts=[{split: train}, {split: test}]`."
            )
        return [{}]


def _parameters(make: Callable[..., Any]) -> set[str]:
    """Return the names of all arguments, those that ``**kwargs`` hands on to base classes included."""
    names: set[str] = set()
    for owner in inspect.getmro(make) if inspect.isclass(make) else (make,):
        parameters = inspect.signature(owner).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names
