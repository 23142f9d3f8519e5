"""The arguments of PSSTCallback that say how gradients are taken."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from psst.pareto.denoise import DenoisedGramian
from psst.pareto.features import Features
from psst.pareto.last_block import LastBlock
from psst.pareto.scopes import Parameters, Scope

ScopeName = Literal["parameters", "last_block", "features"]
Accumulate = Literal["micro_batch", "window"]


@dataclass(frozen=True)
class Settings:
    """See `PSSTCallback`.

    Raises:
        ValueError: A value is none of those known, or two do not go together.
    """

    scope: ScopeName = "parameters"
    shared: tuple[str, ...] | None = None
    denoise: bool = False
    accumulate: Accumulate = "micro_batch"
    main: str | None = None

    def __post_init__(self) -> None:
        known = {"scope": get_args(ScopeName), "denoise": (True, False), "accumulate": get_args(Accumulate)}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}={getattr(self, name)!r}` must be one of {list(choices)}.")
        if self.shared is not None and (not self.shared or not all(isinstance(n, str) for n in self.shared)):
            raise ValueError(
                f"`shared={list(self.shared)!r}` must be a list of names of parameters or modules; leave it "
                "out to find the shared parameters from the graphs."
            )
        if self.main is not None and not isinstance(self.main, str):
            raise ValueError(f"`main={self.main!r}` must be the name of a loss.")
        if self.accumulate == "window" and self.scope != "parameters":
            raise ValueError(
                f"`accumulate='window'` sums gradients over batches, but `scope={self.scope!r}` needs the "
                "graph of each batch once the weights are known; use `scope='parameters'` or "
                "`accumulate='micro_batch'`."
            )

    def open_scope(
        self,
        tasks: Sequence[str],
        parameters: Mapping[str, Tensor],
        adopt: Callable[[Tensor], str | None],
    ) -> Scope:
        """For tasks and a module's named parameters."""
        kinds: dict[str, type[Parameters] | type[LastBlock] | type[Features]] = {
            "parameters": Parameters,
            "last_block": LastBlock,
            "features": Features,
        }
        return kinds[self.scope](tasks, list(parameters), list(parameters.values()), self.shared, adopt)

    def denoiser(self) -> DenoisedGramian | None:
        """A fresh one; None where nothing is to be denoised or the scope does not allow it."""
        return DenoisedGramian() if self.denoise and self.scope != "features" else None


def as_names(shared: Sequence[str] | None) -> tuple[str, ...] | None:
    """A tuple.

    Raises:
        ValueError: A bare string, which is a sequence too.
    """
    if isinstance(shared, str) or not (shared is None or isinstance(shared, Sequence)):
        raise ValueError(
            f"`shared={shared!r}` must be a list of names of parameters or modules; write `[{shared!r}]`."
        )
    return None if shared is None else tuple(shared)
