"""What a data module is asked for, held against what there is, in the words of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from numbers import Integral

_Range = int | tuple[int, int]  # a number, or the lowest and the highest


def _typed(name: str, value: object) -> str:
    """Return an argument as it stands in a configuration, a range in brackets."""
    listed = f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else value
    return f"`data.init_args.{name}={listed}`"


def check_numbers(values: Mapping[str, _Range], least: int = 1) -> None:
    """Raise ValueError for what is no whole number, or range, from ``least`` on."""
    for name, value in values.items():
        pair = value if isinstance(value, (list, tuple)) else (value, value)
        if len(pair) != 2 or not all(isinstance(number, Integral) for number in pair) or pair[0] > pair[1]:
            law = "a whole number, or two as `[low, high]` with low at most high"
            raise ValueError(f"{_typed(name, value)} must be {law}.")
        if pair[0] < least:
            raise ValueError(f"{_typed(name, value)} must be at least {least}.")


class _Settings:
    """A group of settings, below ``data.init_args`` by the name of its class; numbers have their ranges."""

    def __post_init__(self) -> None:
        group = type(self).__name__.lower()
        check_numbers({f"{group}.{n}": v for n, v in vars(self).items() if n not in ("balance", "file")})
        balance = getattr(self, "balance", None)
        if balance is not None and not 0 < balance < inf:
            raise ValueError(f"{self.typed('balance')} must be above 0; null gives each class as many.")

    def typed(self, name: str) -> str:
        """Return one of them as it stands in a configuration, a range in brackets."""
        return _typed(f"{type(self).__name__.lower()}.{name}", getattr(self, name))


@dataclass(frozen=True)
class Episodes(_Settings):
    """Episodes to train on.

    Args:
        way: classes of an episode, N; ``[low, high]`` draws the number anew for each batch.
        shot: support images a class, S; ``[low, high]`` as for `way`.
        query: query images a class, Q.
        per_batch: episodes of one shape that a training step takes together.
        per_epoch: episodes after which Lightning counts an epoch.
        balance: concentration of the Dirichlet distribution that spreads the ``way * query`` queries over the
            classes; 1 for any proportions alike; None for `query` of each.

    Example:
        >>> Glyphs(episodes=Episodes(way=10, shot=1, query=5))
    """

    way: _Range = 5
    shot: _Range = 1
    query: int = 15
    per_batch: int = 1
    per_epoch: int = 100
    balance: float | None = None


@dataclass(frozen=True)
class Evaluation(_Settings):
    """Episodes to validate and test on.

    Args:
        way: classes of an episode; a group of classes with fewer uses all it has.
        shot: support images a class.
        query: query images a class.
        val_episodes: validation episodes, of each group.
        test_episodes: test episodes, of each group.
        file: list of episodes that a data module's `save_episodes` has written, in place of drawn ones in the
            splits that it lists.

    Example:
        >>> Glyphs(evaluation=Evaluation(way=5, shot=5, test_episodes=10000))
    """

    way: int = 5
    shot: int = 1
    query: int = 15
    val_episodes: int = 2000
    test_episodes: int = 10000
    file: str | None = None
