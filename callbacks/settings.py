"""The arguments of PSSTCallback that say how gradients are taken."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

_KNOWN = {"scope": ("parameters", "last_block"), "accumulate": ("micro_batch", "window")}


@dataclass(frozen=True)
class Settings:
    """See `PSSTCallback`.

    Raises:
        ValueError: A value is none of those known, or two do not go together.
    """

    scope: str = "parameters"
    shared: Sequence[str] | None = None
    accumulate: str = "micro_batch"
    main: str | None = None

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}={getattr(self, name)!r}` must be one of {list(known)}.")
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

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """ValueError where `shared` names no parameter, of all `names`, and no module that holds one."""
        parts = [name.split(".") for name in names]
        modules = {".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}
        for wanted in self.shared or ():
            if wanted not in modules:
                known = sorted(modules)
                near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.3) or known[:3]
                raise ValueError(
                    f"`shared` names {wanted!r}, which is no parameter and holds none; nearest are {near}."
                )


def _names(shared: object) -> bool:
    listed = isinstance(shared, Sequence) and not isinstance(shared, str) and len(shared) > 0
    return listed and all(isinstance(name, str) for name in shared)  # type: ignore[attr-defined]  # a sequence
