"""Support and query of an episode out of different groups of images: a burst, a track, a patient.

Support comes first: the images of each class in random order, leaving out those after which some class could
not give its support and its queries any more. Queries are then uniform over what no group of the support
holds. Where nothing is left out, the support is uniform over all images.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from psst.episodes.counters import Ids
from psst.randomness import stream_key

_ORDERS = 20  # of an episode, tried where groups lie in several classes; then come the sides of `sides`
_SIDES = 20  # orders tried to find those

_Members = Mapping[int, int]  # groups of one class, and how many of its images each holds


class Apart:
    """Draws support and what may be queried, one episode at a time; arguments as of `EpisodeSampler`.

    Attributes:
        groups: of the images of each class; one without, -1, has one of its own.
        members: of each class its groups, and how many of its images each holds.
        sides: groups that may give the support of every class while all others give the queries, see
            `sides_of`.

    Example:
        >>> apart = Apart([np.arange(4)], np.array([0, 0, 1, 1]), 1, 2, key=0)  # two tracks of one class
        >>> support, rest = apart.draw(0, [0], n_shot=1)
        >>> support.shape, [len(images) for images in rest]
        ((1, 1), [2])
    """

    def __init__(self, by_class: Sequence[Ids], groups: Ids, n_shot: int, n_query: int, key: int) -> None:
        self.by_class, self.n_query, self.key = by_class, n_query, key
        self.groups = [np.where(groups[ids] < 0, -1 - ids, groups[ids]) for ids in by_class]
        counts = [np.unique(of_class, return_counts=True) for of_class in self.groups]
        self.members: list[_Members] = [
            dict(zip(found.tolist(), sizes.tolist(), strict=True)) for found, sizes in counts
        ]
        self.sides = self.sides_of(self.members, n_shot, n_query)

    @staticmethod
    def sides_of(classes: Sequence[_Members], n_shot: int, n_query: int) -> set[int] | None:
        """Return groups for the support of every class that leave enough for its queries; None if not found.

        With groups that lie in one class each it finds them if there are any. With others the search is a
        heuristic one, for deciding it is NP-hard.
        """
        rng = np.random.default_rng(0)
        for _ in range(_SIDES):
            chosen: set[int] = set()
            orders = [rng.permutation(np.repeat(list(groups), list(groups.values()))) for groups in classes]
            if all(_pick(order.tolist(), classes, chosen, n_shot, n_query) for order in orders):
                return chosen
        return None

    def draw(self, index: int, classes: Sequence[int], n_shot: int) -> tuple[Ids, list[Ids]]:
        """Return the support of episode ``index``, and all that may be queried, in random order.

        Args:
            index: nothing else but the key decides.
            classes: N places in `by_class`.
            n_shot: support images a class, S.

        Returns:
            Image ids ``[N, S]``, and of each class those in none of the support's groups.
        """
        rng = np.random.Generator(np.random.Philox(key=stream_key(self.key, "apart", index)))
        present = [self.members[place] for place in classes]
        for _ in range(_ORDERS):
            orders = [rng.permutation(len(self.by_class[place])) for place in classes]
            ids = [self.by_class[place][order] for place, order in zip(classes, orders, strict=True)]
            groups = [self.groups[place][order] for place, order in zip(classes, orders, strict=True)]
            first = np.stack([images[:n_shot] for images in ids])
            rest = _others(ids, groups, np.concatenate([of_class[:n_shot] for of_class in groups]))
            if min(map(len, rest)) >= self.n_query:  # nothing is in the way, as mostly
                return first, rest
            chosen: set[int] = set()
            picked = [_pick(g.tolist(), present, chosen, n_shot, self.n_query) for g in groups]
            if all(picked):
                break
        else:
            assert self.sides is not None  # else no sampler was made
            chosen = self.sides
            picked = [np.flatnonzero(np.isin(g, list(chosen)))[:n_shot].tolist() for g in groups]
        support = np.stack([images[places] for images, places in zip(ids, picked, strict=True)])
        return support, _others(ids, groups, np.array(list(chosen)))


def _others(ids: Sequence[Ids], groups: Sequence[Ids], chosen: Ids) -> list[Ids]:
    """Return of each class the images that are in none of the chosen groups."""
    return [
        images[(of_class[:, None] != chosen).all(axis=1)]
        for images, of_class in zip(ids, groups, strict=True)
    ]


def _pick(
    order: Sequence[int], classes: Sequence[_Members], chosen: set[int], n: int, n_query: int
) -> list[int]:
    """Return the first ``n`` places in ``order`` whose groups leave enough, adding those to ``chosen``.

    ``order`` holds the group of each image of a class, ``classes`` all that have to be served, ``chosen`` the
    groups of the support so far. Empty if there are fewer than ``n``: only with groups in several classes.
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


def _leaves(groups: _Members, chosen: set[int], n_shot: int, n_query: int) -> bool:
    """Return whether ``chosen``, or more groups, can give the support of a class and leave its queries."""
    sums = 1 << sum(size for group, size in groups.items() if group in chosen)
    for group, size in groups.items():
        if group not in chosen:
            sums |= sums << size  # bit k: some groups, the chosen ones among them, hold k images
    most = sum(groups.values()) - n_query
    return sums >> n_shot & ((1 << max(0, most - n_shot + 1)) - 1) > 0
