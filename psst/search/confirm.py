"""Does the choice hold on classes that had no say in it?"""

from typing import Any

from psst.evaluation import ClassDifference, class_difference
from psst.search.result import Candidate, SearchResult


def _rivals(result: SearchResult) -> list[Candidate]:
    """What the chosen model is held against: `plain` and the best fixed weights, or the first anchor."""
    names = ["plain", result.best_fixed]
    found = [model for model in result.baselines if model.name in names]
    if not found:
        found = [model for model in result.candidates if model.kind == "anchor"][:1]
    return [model for model in found if model.name != result.chosen]


def differences(result: SearchResult, held_out: bool) -> dict[str, ClassDifference]:
    """Accuracy of the chosen model minus each rival's, on the classes that chose or that were held out."""
    best = result.best.held_out if held_out else result.best.scores
    found = {}
    for rival in _rivals(result):
        theirs = rival.held_out if held_out else rival.scores
        if best and theirs:
            found[rival.name] = class_difference(best, theirs)
    return found


def verdict(difference: ClassDifference) -> str:
    """`better`, `worse` or `undecided`, by the interval."""
    if difference.better:
        return "better"
    return "worse" if difference.worse else "undecided"


def described(result: SearchResult) -> dict[str, Any]:
    """How the choice was made, among how many, and what the classes that chose and confirmed say of it."""
    told: dict[str, Any] = {
        "kind": result.selection.kind,
        "reason": result.selection.reason,
        "chosen": result.chosen,
        "among": len(result.candidates),
    }
    for held_out, part in ((False, "chose"), (True, "confirm")):
        gaps = differences(result, held_out)
        told[f"classes_that_{part}"] = n_classes(result.best, held_out)
        told[f"on_the_classes_that_{part}"] = {name: difference_described(gap) for name, gap in gaps.items()}
    return told


def difference_described(gap: ClassDifference) -> dict[str, Any]:
    """Plain values of the chosen model minus another."""
    return {
        "mean": gap.mean,
        "half_width": gap.half_width,
        "half_width_over_episodes": gap.episode_half_width,
        "classes": gap.n_classes,
        "episodes": gap.n,
        "verdict": verdict(gap),
    }


def n_classes(model: Candidate, held_out: bool) -> int:
    """Number of classes in the episodes of a model's scores; 0 if they do not say."""
    groups = (model.held_out if held_out else model.scores).values()
    return sum(len(set(group.class_ids.ravel().tolist())) for group in groups if group.class_ids is not None)
