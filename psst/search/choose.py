"""What a look says: which trade-offs are left, what the trunk goes on with, what each task has done."""

from collections.abc import Mapping, Sequence

from psst.evaluation import ClassDifference
from psst.search.mixture import MAIN_ONLY, Mixture
from psst.search.unit import Candidate, Measured


def ranked(found: Sequence[Candidate]) -> list[Candidate]:
    """The best on validation first."""
    return sorted(found, key=lambda candidate: -candidate.quality)


def preferred(finals: Sequence[Candidate]) -> Candidate:
    """The largest average, unless another is ahead of it by more than two standard errors; else the best.

    An average of branches is the better model on classes that nobody has seen, and validation is noisy:
    where its branches share a trade-off, whatever else has that one is only ahead by noise, and is left out.
    """
    order = ranked(finals)
    whole = max(order, key=lambda one: len(one.unit.members))
    if not whole.unit.members:
        return order[0]
    shared = {one.unit.mixture for one in finals if one.unit.name in whole.unit.members}
    best = next((one for one in order if shared != {one.unit.mixture}), whole)
    gap = best.measured - whole.measured
    return best if gap.mean > 2.0 * gap.standard_error else whole


def plainest(found: Sequence[Candidate]) -> Candidate | None:
    """The best branch on main only."""
    return next((candidate for candidate in ranked(found) if candidate.is_main_only), None)


def ahead(found: Sequence[Candidate], errors: float = 0.0) -> list[Candidate]:
    """Those that are ahead of main only by more than some standard errors of the difference, best first."""
    plain = plainest(found)
    if plain is None:
        return ranked(found)
    gaps = [(one, one.measured - plain.measured) for one in ranked(found) if not one.is_main_only]
    return [one for one, gap in gaps if gap.mean > errors * gap.standard_error]


def best_weights(found: Sequence[Candidate], errors: float = 1.0) -> dict[str, float]:
    """Tasks that were ahead of main only by themselves and some standard errors, and their best weights."""
    best: dict[str, float] = {}
    for candidate in ahead(found, errors):
        mixture = candidate.unit.mixture
        if len(mixture.weights) == 1 and mixture.plainly:
            task, weight = mixture.weights[0]
            best.setdefault(task, weight)
    return best


def merged(parts: Sequence[Measured]) -> Measured:
    """One measurement of several models on different classes: those of all folds."""
    scores = {f"{fold}/{name}": one for fold, part in enumerate(parts) for name, one in part.scores.items()}
    means = [sum(values) / len(parts) for values in zip(*((p.metric, p.quality) for p in parts), strict=True)]
    return Measured(means[0], means[1], scores)


def task_evidence(task: str, found: Sequence[Candidate]) -> ClassDifference | None:
    """How the best branch of a task alone did beside main only, in the latest look that tried it; or None."""
    for look in sorted({one.look for one in found if one.look}, reverse=True):
        here = [one for one in found if one.look == look and not one.unit.members]
        plain, alone = plainest(here), [one for one in ranked(here) if one.unit.mixture.tasks == (task,)]
        if plain is not None and alone:
            return alone[0].measured - plain.measured
    return None


def unlearned(task: str, found: Sequence[Candidate], chance: Mapping[str, float]) -> tuple[float, int] | None:
    """Least training loss of a task that never got below its chance level by 2%, and its steps; else None."""
    known = [
        (float(one.result["training"][task]), int(one.result["steps"]))
        for one in found
        if task in one.unit.mixture.tasks and task in one.result.get("training", {})
    ]
    if not known or task not in chance or min(known)[0] <= 0.98 * chance[task]:
        return None
    return min(known)[0], max(steps for _, steps in known)


def learned(one: Candidate, chance: Mapping[str, float]) -> bool:
    """Whether its tasks are below chance level: what was not learned is ahead by noise only."""
    return not any(unlearned(task, [one], chance) for task in one.unit.mixture.tasks)


def tried_again(found: Sequence[Candidate], errors: float = 1.0) -> list[Mixture]:
    """Main only, and what was ahead of it, the best with a third and three times its weights too."""
    best = [one.unit.mixture for one in ahead(found, errors)]
    near = [one.scaled(factor) for factor in (1.0, 1 / 3, 3.0) for one in best[:1] if one.plainly]
    return list(dict.fromkeys([MAIN_ONLY, *near, *best[1:]]))
