"""Support and query of an episode out of different groups of images: a burst, a track, a patient.

Support comes first: the images of each class in random order, leaving out those after which some class could
not give its support and its queries any more. Queries are then uniform over what no group of the support
holds. Where nothing is left out, the support is uniform over all images.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from psst.episodes.counters import Ids

_ORDERS = 20  # tried where groups lie in several classes: of an episode, and by `sides`


def sides(classes: Sequence[Ids], n_shot: int, n_query: int) -> set[int] | None:
    """Return groups for the support of every class that leave enough for its queries; None if not found.

    Groups that lie in one class each are found if there are any; others by a heuristic: it is NP-hard.
    """
    rng, members = np.random.default_rng(0), [Counter(groups.tolist()) for groups in classes]
    for _ in range(_ORDERS):
        chosen: set[int] = set()
        orders = [rng.permutation(np.sort(groups)).tolist() for groups in classes]
        if all(_pick(order, members, chosen, n_shot, n_query) for order in orders):
            return chosen
    return None


def draw_apart(
    rng: np.random.Generator,
    by_class: Sequence[Ids],
    groups: Sequence[Ids],
    n_shot: int,
    n_query: int,
    fallback: set[int],
) -> tuple[Ids, list[Ids]]:
    """Return the support of an episode, and all that may be queried, in random order.

    ``by_class`` holds image ids of N classes, ``groups`` those of the same images, ``fallback`` what `sides`
    gave. The results are image ids ``[N, S]``, and of each class those, at least Q, in none of these groups.
    """
    for _ in range(_ORDERS):
        orders = [rng.permutation(len(images)) for images in by_class]
        ids = [images[order] for images, order in zip(by_class, orders, strict=True)]
        drawn = [of_class[order] for of_class, order in zip(groups, orders, strict=True)]
        chosen = {group for of_class in drawn for group in of_class[:n_shot].tolist()}
        rest = _others(ids, drawn, chosen)
        if min(map(len, rest)) >= n_query:  # nothing is in the way, as mostly
            return np.stack([images[:n_shot] for images in ids]), rest
        chosen, members = set(), [Counter(of_class.tolist()) for of_class in groups]
        picked = [_pick(of_class.tolist(), members, chosen, n_shot, n_query) for of_class in drawn]
        if all(picked):
            break
    else:
        chosen = fallback
        picked = [np.flatnonzero(np.isin(of_class, [*chosen]))[:n_shot].tolist() for of_class in drawn]
    support = np.stack([images[places] for images, places in zip(ids, picked, strict=True)])
    return support, _others(ids, drawn, chosen)


def _others(ids: Sequence[Ids], groups: Sequence[Ids], chosen: set[int]) -> list[Ids]:
    """Return of each class the images that are in none of the chosen groups."""
    used = np.array([*chosen])
    return [
        images[(of_class[:, None] != used).all(axis=1)] for images, of_class in zip(ids, groups, strict=True)
    ]


def _pick(
    order: Sequence[int], classes: Sequence[Mapping[int, int]], chosen: set[int], n: int, n_query: int
) -> list[int]:
    """Return the first ``n`` places in ``order`` whose groups leave enough, adding those to ``chosen``.

    Empty if there are fewer than ``n``: only with groups in several ``classes``.
    """
    picked: list[int] = []
    refused: set[int] = set()  # for good: what is chosen later only leaves less
    for place, group in enumerate(order):
        if group in refused:
            continue
        if group not in chosen:
            wider = chosen | {group}
            if not all(_leaves(groups, wider, n, n_query) for groups in classes if group in groups):
                refused.add(group)
                continue
            chosen.add(group)
        picked.append(place)
        if len(picked) == n:
            return picked
    return []


def _leaves(groups: Mapping[int, int], chosen: set[int], n_shot: int, n_query: int) -> bool:
    """Return whether ``chosen``, or more groups, can give the support of a class and leave its queries."""
    sums = 1 << sum(size for group, size in groups.items() if group in chosen)
    for group, size in groups.items():
        if group not in chosen:
            sums |= sums << size  # bit k: some groups, the chosen ones among them, hold k images
    most = sum(groups.values()) - n_query
    return sums >> n_shot & ((1 << max(0, most - n_shot + 1)) - 1) > 0
