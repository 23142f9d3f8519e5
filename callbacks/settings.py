"""The arguments of PSSTCallback that say how gradients are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from psst.callbacks.checks import named_positions
from psst.pareto.denoise import DenoisedGramian
from psst.pareto.features import Features
from psst.pareto.last_block import LastBlock
from psst.pareto.scopes import Parameters, Scope

ScopeName = Literal["parameters", "last_block", "features"]
Denoise = Literal["ema", "product"]
Accumulate = Literal["micro_batch", "window"]


@dataclass(frozen=True)
class Settings:
    """See `PSSTCallback`.

    Raises:
        ValueError: A value is none of those known, or two do not go together.
    """

    scope: ScopeName = "parameters"
    shared: tuple[str, ...] | None = None
    denoise: Denoise | None = None
    accumulate: Accumulate = "micro_batch"

    def __post_init__(self) -> None:
        known = {
            "scope": get_args(ScopeName),
            "denoise": (*get_args(Denoise), None),
            "accumulate": get_args(Accumulate),
        }
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}={getattr(self, name)!r}` must be one of {list(choices)}.")
        if isinstance(self.shared, str) or (self.shared is not None and not self.shared):
            raise ValueError(
                f"`shared={self.shared!r}` must be a list of names of parameters or modules; leave it out to "
                "find the shared parameters from the graphs."
            )
        if self.accumulate == "window" and self.scope != "parameters":
            raise ValueError(
                f"`accumulate='window'` sums gradients over batches, but `scope={self.scope!r}` needs the "
                "graph of each batch once the weights are known; use `scope='parameters'` or "
                "`accumulate='micro_batch'`."
            )

    def open_scope(self, parameters: Mapping[str, Tensor]) -> Scope:
        """For a module's named parameters; ValueError where `shared` does not fit them."""
        names, values = list(parameters), list(parameters.values())
        shared = None if self.shared is None else named_positions(self.shared, names)
        if self.scope == "last_block":
            return LastBlock(names, values, shared, _announce)
        return (Features if self.scope == "features" else Parameters)(names, values, shared)

    def denoiser(self) -> DenoisedGramian | None:
        """A fresh one; None where nothing is to be denoised or the scope does not allow it."""
        return None if self.denoise is None or self.scope == "features" else DenoisedGramian(self.denoise)


def as_names(shared: Sequence[str] | None) -> tuple[str, ...] | None:
    """A tuple; a bare string stays one, to be refused."""
    return shared if shared is None or isinstance(shared, str) else tuple(shared)  # type: ignore[return-value]  # a str is a sequence too


def _announce(block: str) -> None:
    rank_zero_info(f"PSSTCallback: `scope='last_block'` takes the Gramian over `{block}`.")
