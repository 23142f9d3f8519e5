"""The arguments of PSSTCallback that say how gradients are taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

ScopeName = Literal["parameters", "last_block"]
Accumulate = Literal["micro_batch", "window"]


@dataclass(frozen=True)
class Settings:
    """See `PSSTCallback`.

    Raises:
        ValueError: A value is none of those known, or two do not go together.
    """

    scope: ScopeName = "parameters"
    shared: Sequence[str] | None = None
    accumulate: Accumulate = "micro_batch"
    main: str | None = None

    def __post_init__(self) -> None:
        for name, kind in (("scope", ScopeName), ("accumulate", Accumulate)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"`{name}={getattr(self, name)!r}` must be one of {list(get_args(kind))}.")
        if self.shared is not None and not _names(self.shared):
            raise ValueError(
                f"`shared={self.shared!r}` must be a list of names of parameters or modules, such as "
                "`['backbone']`; leave it out to find the shared parameters from the graphs."
            )
        if self.main is not None and not isinstance(self.main, str):
            raise ValueError(f"`main={self.main!r}` must be the name of a loss.")
        if self.accumulate == "window" and self.scope != "parameters":
            raise ValueError(
                f"`accumulate='window'` sums gradients over batches, but `scope={self.scope!r}` needs the "
                "graph of each batch once the weights are known; use `scope='parameters'` or "
                "`accumulate='micro_batch'`."
            )


def _names(shared: object) -> bool:
    listed = isinstance(shared, Sequence) and not isinstance(shared, str) and len(shared) > 0
    return listed and all(isinstance(name, str) for name in shared)  # type: ignore[attr-defined]  # a sequence
