"""What a branch trains on: weights of the auxiliary tasks, or a method that finds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from psst.pareto import Method, MinNorm, Preference, Ray, RelativeWeights

_WEIGHTS = (0.3, 1.0, 3.0)
Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Mixture:
    """A trade-off between the losses.

    Attributes:
        weights: Auxiliary tasks that take part and their weights, the main task having 1; in units of the
            losses' running means but for tasks whose `unit` is ``raw``.
        method: Name of a method that weighs the same tasks step by step, such as ``upgrad``; empty for none.
        rays: Name of a file of rays in the search's folder and the number of one, for methods that keep to
            one.

    Example:
        >>> Mixture((("rotation", 0.3),)).name(["rotation"])
        'w=0.3'
    """

    weights: Weights = ()
    method: str = ""
    rays: tuple[str, int] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the auxiliary tasks that take part."""
        return tuple(task for task, _ in self.weights)

    @property
    def plainly(self) -> bool:
        """Whether fixed weights make it, and some task takes part."""
        return bool(self.weights) and not self.method

    def name(self, auxiliary: Sequence[str]) -> str:
        """What reports call it, `auxiliary` being all tasks there are."""
        if not self.weights:
            return "main only"
        if self.rays is not None:
            return f"{self.method} {self.rays[1]}"
        whole = len(self.weights) == len(auxiliary)
        if self.method:
            return self.method if whole else f"{self.method} {'+'.join(self.tasks)}"
        if len(auxiliary) == 1:
            return f"w={self.weights[0][1]:.3g}"
        same = {weight for _, weight in self.weights}
        if len(same) == 1 and whole:
            return f"all={same.pop():.3g}"
        return " ".join(f"{task}={weight:.3g}" for task, weight in self.weights)

    def scaled(self, factor: float) -> "Mixture":
        """The same with every weight times `factor`, rounded to two digits."""
        return Mixture(tuple((task, float(f"{weight * factor:.2g}")) for task, weight in self.weights))

    def weighing(self, losses: Sequence[str], raw: Sequence[str], folder: Path) -> Method | str | None:
        """Return the method for losses of these names, main first, or its name; None for main alone.

        There may be more losses than take part; weights of those in `raw` count in raw losses.
        """
        if self.rays is not None:
            kinds: dict[str, Callable[[Path, int], Method]]
            kinds = {"preference": Preference, "ray": Ray, "min_norm": MinNorm}
            return kinds[self.method](folder / self.rays[0], self.rays[1])
        if len(losses) < 2:
            return None
        if self.method:
            return self.method
        weights = dict(self.weights)
        places = [place for place, name in enumerate(losses[1:]) if name in raw]
        return RelativeWeights([weights.get(name, 0.0) for name in losses[1:]], places)


MAIN_ONLY = Mixture()


def by_methods(best: Sequence[str], order: Sequence[str], methods: Sequence[str]) -> list[Mixture]:
    """Each method over all tasks and over those that were ahead."""
    found = [Mixture(together(tasks).weights, method) for method in methods for tasks in (order, best)]
    return [one for one in dict.fromkeys(found) if one.weights]


def alone(task: str, weight: float = 1.0) -> Mixture:
    """One auxiliary task."""
    return Mixture(((task, weight),))


def weighed(weights: Mapping[str, float], order: Sequence[str]) -> Mixture:
    """Tasks at weights of their own."""
    return Mixture(tuple((task, weights[task]) for task in order if task in weights))


def together(tasks: Sequence[str], weight: float = 1.0) -> Mixture:
    """Several tasks at one weight."""
    return weighed(dict.fromkeys(tasks, weight), tasks)


def singles(auxiliary: Sequence[str]) -> list[Mixture]:
    """Main only; each task alone at weight 1; main only again; all. One auxiliary task: 0, 1, 0.3 and 3."""
    if len(auxiliary) == 1:
        return [MAIN_ONLY, *(alone(auxiliary[0], weight) for weight in (1.0, 0.3, 3.0))]
    return [MAIN_ONLY, *map(alone, auxiliary), MAIN_ONLY, together(auxiliary)]


def weight_grid(auxiliary: Sequence[str]) -> list[Mixture]:
    """Each task alone at 0.3, 1 and 3."""
    return [alone(task, weight) for task in auxiliary for weight in _WEIGHTS]


def mixed(best: Mapping[str, float], order: Sequence[str], raw: Sequence[str] = ()) -> list[Mixture]:
    """Main only; each task, pairs and all of those in `best`, at their best and at half of these weights.

    What only holds back the others, as `Preserve` does, may be behind alone and help beside the best of them:
    each of the `raw` tasks is tried beside it at weight 1.
    """
    tasks = [task for task in order if task in best]
    sets = [group for size in (len(tasks), 2, 1) for group in combinations(tasks, size)]
    found = [MAIN_ONLY]
    for factor in (1.0, 0.5):
        for group in dict.fromkeys(sets):
            if len(group) > 1 or factor == 1.0:
                found.append(weighed(best, group).scaled(factor))
    for first, weight in [*best.items()][:1]:
        found += [weighed({first: weight, task: 1.0}, order) for task in raw if task not in best]
    return list(dict.fromkeys(found))
