"""Methods by name, for those who want no more than that."""

import difflib

from psst.balancers.torch_jd import TorchJD, balancer_names
from psst.pareto import FixedWeights, Method, MinNorm, Tradeoff

_OURS: dict[str, type[Method]] = {"fixed_weights": FixedWeights, "min_norm": MinNorm, "tradeoff": Tradeoff}
_WITH_ARGUMENTS = ("Levels", "Preference", "Ray")


def method_named(name: str) -> Method:
    """A method with its default arguments.

    Args:
        name: One of ours, such as ``min_norm``, or of `TorchJD`'s, such as ``upgrad``; case, ``_`` and ``-``
            do not matter.

    Raises:
        ValueError: No method has that name, or it needs arguments.

    Example:
        >>> method = method_named("min_norm")
    """
    wanted = _plain(name)
    for own, kind in _OURS.items():
        if wanted == _plain(own):
            return kind()
    for other in _WITH_ARGUMENTS:
        if wanted == _plain(other):
            raise ValueError(f"`method={name}` needs arguments; make a {other} and give that.")
    theirs = {_plain(each): each for each in balancer_names()}
    if wanted not in theirs:
        known = {**{_plain(own): own for own in _OURS}, **{key: each.lower() for key, each in theirs.items()}}
        (near,) = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
        raise ValueError(
            f"`method={name}` is the name of no method; the nearest is `{known[near]}`, all are "
            f"{', '.join(sorted(known.values()))}."
        )
    return TorchJD(theirs[wanted])


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
