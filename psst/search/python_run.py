"""A run given by Python objects: a function that makes modules, and a datamodule."""

import copy
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn.parameter import is_lazy

from psst.search.keyed_loader import KeyedLoader, PassPlace, one_loader

ModuleFactory = Callable[[], LightningModule]
DataSource = LightningDataModule | Callable[[], LightningDataModule]

_RESERVED = {
    "max_steps": "give `max_steps=` to `psst.search`",
    **dict.fromkeys(("max_epochs", "min_epochs", "min_steps"), "`max_steps` sets the length of each unit"),
    "max_time": "all candidates must train equally long",
    "fast_dev_run": "give a small `max_steps` instead",
    "default_root_dir": "`output` holds everything",
    "logger": "each unit logs to its own folder",
    "enable_checkpointing": "each unit keeps the model of its last step",
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary"), "the search reports for its units"),
    **dict.fromkeys(("check_val_every_n_epoch", "val_check_interval"), "each unit is validated at its end"),
    "num_sanity_val_steps": "the search validates an untrained module once, before it begins",
    "overfit_batches": "a front of models fitted to a few batches chooses nothing; give less data",
    "barebones": "the search needs what it switches off",
    "inference_mode": "measurements need `torch.no_grad`",
}
_SILENT = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class PythonRun:
    """Fresh modules, datamodules and trainers for the units of a search.

    Training batches come through a `KeyedLoader`, so that all units see the same ones and the weights are
    the only difference between them. A datamodule or loader with a ``state_dict`` of its own keeps its
    place itself and is left alone. The arguments are those of `psst.search`: a datamodule is copied for each
    unit (not deeply: what `setup` assigns stays with the copy), arguments of the Trainer deeply.
    """

    def __init__(
        self,
        module_factory: ModuleFactory,
        datamodule: DataSource,
        max_steps: int,
        seed: int = 0,
        trainer: Mapping[str, Any] | None = None,
    ) -> None:
        self.module_factory = module_factory
        self.source = datamodule
        self.max_steps = max_steps
        self.seed = seed
        self.trainer_arguments = {"devices": 1, **(trainer or {})}
        _check_arguments(self.trainer_arguments)

    def module(self) -> LightningModule:
        """Return a new module; TypeError if the factory gives something else."""
        seed_everything(self.seed, workers=True, verbose=False)
        module = self.module_factory()
        if not isinstance(module, LightningModule):
            raise TypeError(
                f"`module_factory` gave a {type(module).__name__}; it must return a new "
                "pytorch_lightning.LightningModule at each call."
            )
        return module

    def proven_module(self) -> LightningModule:
        """Return a fresh module; ValueError unless a second one shares nothing and begins as it does."""
        first, second = self.module(), self.module()
        if first is second:
            raise ValueError(
                "`module` gave the same object twice, but each unit needs a module of its own; make it "
                "inside: `lambda: MyModule(...)`."
            )
        one, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (first, second))
        owned = set(map(id, other.values()))
        for name, value in one.items():
            if id(value) in owned:
                raise ValueError(
                    f"`module` gave two modules that share `{name}`, so that units would train each "
                    "other's; make every layer inside the function."
                )
            if name not in other or not _same(value, other[name]):
                raise ValueError(
                    f"`module` gave two modules that differ in `{name}`, though `seed={self.seed}` was "
                    "set before each; draw parameters from torch's global generator."
                )
        return first

    def datamodule(self) -> LightningDataModule:
        """Return a datamodule for one unit, its training batches keyed."""
        data = self.plain_datamodule()
        if is_overridden("state_dict", data, LightningDataModule):
            return data  # it keeps its place itself
        make, place = data.train_dataloader, PassPlace(data)

        def train_dataloader() -> Any:
            loader = one_loader(make())
            if hasattr(loader, "state_dict") and not hasattr(loader, "flattened"):
                return loader
            stream = getattr(data, "psst_stream", "train")
            return KeyedLoader(loader, self.seed, stream, place)

        data.train_dataloader = train_dataloader  # type: ignore[method-assign]  # on the copy
        # a checkpoint holds where the pass began
        data.state_dict, data.load_state_dict = place.state_dict, place.load_state_dict  # type: ignore[method-assign]  # its hooks
        return data

    def varied(self, options: tuple[tuple[str, Any], ...]) -> "PythonRun":
        """Return the same run with another `max_steps`: a function that makes modules has no other keys."""
        other = copy.copy(self)
        for key, value in options:
            if key != "trainer.max_steps":
                raise ValueError(f"`settings` vary {key}, which only a config has; leave it out.")
            other.max_steps = value
        return other

    def plain_datamodule(self) -> LightningDataModule:
        """Return a datamodule for one unit, its batches as its author made them."""
        source = self.source
        data = copy.copy(source) if isinstance(source, LightningDataModule) else source()
        if not isinstance(data, LightningDataModule):
            raise TypeError(
                f"`datamodule` gave a {type(data).__name__}; pass a pytorch_lightning.LightningDataModule, "
                "or a function that returns one (`LightningDataModule.from_datasets` makes one of data sets)."
            )
        data.trainer = None
        return data

    def trainer(
        self,
        extra_callbacks: Sequence[Callback] = (),
        without: type[Callback] | tuple[type[Callback], ...] = (),
        **overrides: Any,
    ) -> Trainer:
        """Return a new trainer of one process that leaves nothing behind; ValueError for more processes."""
        arguments = {**copy.deepcopy(self.trainer_arguments), **dict.fromkeys(_SILENT, False), **overrides}
        callbacks = arguments.pop("callbacks", None) or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        kept = [callback for callback in callbacks if not isinstance(callback, without)]
        trainer = Trainer(**{**arguments, "callbacks": [*kept, *extra_callbacks]})
        if trainer.world_size > 1:
            raise ValueError(
                f"`trainer={{'devices': {arguments['devices']!r}}}` makes {trainer.world_size} processes; a "
                "unit of the search trains in one: set `devices` to 1."
            )
        return trainer

    def identity(self) -> str:
        """Return what must not change between two runs of a search in one folder, as JSON."""
        module = self.module()
        shapes = {k: str(list(v.shape)) for k, v in module.state_dict().items() if not is_lazy(v)}
        found = {
            "module": _path_of(module),
            "hparams": dict(module.hparams),
            "shapes": shapes,
            "datamodule": _path_of(self.plain_datamodule()),
            "seed": self.seed,
            "trainer": {k: v for k, v in sorted(self.trainer_arguments.items()) if k != "log_every_n_steps"},
        }
        return json.dumps(found, indent=1, default=_text_of, skipkeys=True)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two parameters are equal, or have no values yet."""
    if is_lazy(one) or is_lazy(other):
        return is_lazy(one) and is_lazy(other)
    return torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach()))


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Hold the user's arguments against what the Trainer takes and what the search sets."""
    known = inspect.signature(Trainer).parameters
    for name in arguments:
        if name in _RESERVED:
            raise ValueError(f"`trainer={{'{name}': ...}}` is set by the search: {_RESERVED[name]}.")
        if name not in known:
            raise TypeError(f"`trainer={{'{name}': ...}}` is no argument of the Trainer; see its signature.")


def _text_of(value: object) -> Any:
    """What JSON holds of an object: its text, or its class where that is an address."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    text = repr(value)
    return _path_of(value) if re.search(r" at 0x[0-9a-fA-F]+", text) else text


def _path_of(thing: object) -> str:
    """Return the import path of an object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
