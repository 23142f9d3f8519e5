"""How long branches are, and how many of them a look has room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psst.search.mixture import MAIN_ONLY, Mixture, by_methods, singles, together, weight_grid
from psst.search.settings import Look, SearchSettings

Cost = Callable[[Sequence[str]], float]
"""Passes of an optimizer step on main and some tasks."""


@dataclass(frozen=True)
class Layout:
    """One look.

    Attributes:
        mixtures: Of its branches; one that stands there twice is trained on other batches each time.
        passes: Of each branch.
        left_out: Trade-offs that there was no room for.
    """

    mixtures: tuple[Mixture, ...]
    passes: float
    left_out: tuple[Mixture, ...] = ()


def lay_out(
    look: Look,
    candidates: Sequence[Mixture],
    passes: float,
    settings: SearchSettings,
    last: bool,
    left: float | None = None,
) -> Layout:
    """Divide a look's passes among trade-offs, the first of them first.

    A look from the trunk that is the last one uses up its passes, with the first trade-offs a second time
    where there are few; any other look leaves the rest to the trunk. Without room for two branches, an
    earlier look has none.

    Args:
        look: What is asked for.
        candidates: Trade-offs, those to be tried in any case first.
        passes: T of the line.
        settings: Hold the least lengths.
        last: Whether it is the last look.
        left: Passes that the last look uses up, what earlier ones have saved included; as planned if None.
    """
    candidates = list(candidates)
    if look.at == 0:
        room = len(candidates) if look.at_most is None else round(look.at_most / look.length)
        return Layout(tuple(candidates[:room]), look.length * passes, tuple(candidates[room:]))
    least = settings.least_last_steps if last else settings.least_steps
    length = max(look.length * passes, float(least))
    share = look.length * len(candidates) if look.at_most is None else look.at_most
    room = int(share * passes / length + 1e-6)
    if not last:
        count = min(room, len(candidates))
        if count < 2:
            return Layout((), length, tuple(candidates))
        return Layout(tuple(candidates[:count]), length, tuple(candidates[count:]))
    count = max(room, 1)
    chosen = [candidates[place % len(candidates)] for place in range(count)]
    whole = share * passes if left is None else max(left, float(count))
    return Layout(tuple(chosen), whole / count, tuple(candidates[count:]))


def steps_of(mixture: Mixture, passes: float, cost: Cost) -> int:
    """Optimizer steps that some passes buy."""
    return max(1, round(passes / cost(mixture.tasks)))


def course_passes(
    looks: Sequence[Look], n_candidates: Sequence[int], passes: float, settings: SearchSettings
) -> float:
    """Passes of a whole line.

    Args:
        looks: In order.
        n_candidates: Trade-offs that each look would like to try.
        passes: T.
        settings: Hold the least lengths.
    """
    trunk = max((look.at for look in looks), default=0.0)
    total = trunk * passes
    for number, (look, count) in enumerate(zip(looks, n_candidates, strict=True), 1):
        layout = lay_out(look, [MAIN_ONLY] * count, passes, settings, number == len(looks))
        total += layout.passes * len(layout.mixtures) * look.folds
    return total


def rivals(settings: SearchSettings, auxiliary: Sequence[str]) -> dict[str, list[Mixture]]:
    """Return each rival's trade-offs: a course of its own for every one, which share the rival's passes."""
    known = {"plain": [MAIN_ONLY], "fixed": [together(auxiliary)], "grid": weight_grid(auxiliary)}
    return {name: known[name] for name in dict.fromkeys(("plain", *settings.rivals))}


def look_sizes(looks: Sequence[Look], auxiliary: Sequence[str], settings: SearchSettings) -> list[int]:
    """Return how many trade-offs each look would like to try, as far as that is known beforehand."""
    count = len(auxiliary)
    methods = len(by_methods((), auxiliary, settings.methods, settings.levels))
    many = {"singles": len(singles(auxiliary)), "grid": 3 * count, "rays": 5 if count == 1 else 6}
    around = {"around": 4, "mixtures": 1 + 2 * count, "methods": 2 * methods}
    return [{**many, **around}[look.tries] for look in looks]
