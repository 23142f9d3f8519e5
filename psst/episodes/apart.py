"""Support and query of an episode out of different groups of images: a burst, a track, a patient.

Support comes first: the images of each class in random order, leaving out those after which some class could
not give its support and its queries any more. Queries are then uniform over what no group of the support
holds. Where nothing is left out, the support is uniform over all images.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from psst.episodes.counters import Ids, Words, distinct
from psst.randomness import stream_key

_ORDERS = 20  # of an episode, tried where groups lie in several classes; then come the sides of `sides`
_SIDES = 20  # orders tried to find those

_Members = Mapping[int, int]  # groups of one class, and how many of its images each holds


def members(image_groups: Ids, ids: Ids) -> dict[int, int]:
    """Return the groups of the images ``ids`` of a class; an image without one has a group of its own.

    Args:
        image_groups: group of every image of the store, -1 without.
        ids: of the class.
    """
    groups, counts = np.unique(_coded(image_groups, ids), return_counts=True)
    return dict(zip(groups.tolist(), counts.tolist(), strict=True))


def can_part(groups: _Members, n_shot: int, n_query: int) -> bool:
    """Return whether a class can give so many images of some groups, and of others."""
    return _reaches(groups.values(), n_shot, sum(groups.values()) - n_query)


def sides(classes: Sequence[_Members], n_shot: int, n_query: int) -> set[int] | None:
    """Return groups that may give the support of every class while all others give the queries.

    With groups that lie in one class each there are such as soon as `can_part` holds for every class. With
    others the search is a heuristic one, for deciding it is NP-hard; None if it finds none.
    """
    rng = np.random.default_rng(0)
    for _ in range(_SIDES):
        chosen: set[int] = set()
        orders = [rng.permutation(np.repeat(list(groups), list(groups.values()))) for groups in classes]
        if all(_pick(order.tolist(), classes, chosen, n_shot, n_query) for order in orders):
            return chosen
    return None


class Apart:
    """Draws places of images in a list, `image_ids`, of class after class, and in a class group after group.

    Args:
        by_class: image ids of each class.
        image_groups: group of every image of the store, -1 without.
        n_shot: images of each class in the largest support, S.
        n_query: queries that each class is able to give, Q.
        key: of the random stream.

    Attributes:
        image_ids: the list; as `by_class` gives them where no group has two images.
        groups: group of each image of the list, numbered anew.

    Raises:
        ValueError: the classes cannot be served together; `can_part` has been asked for each before.

    Example:
        >>> groups = np.array([0, 0, 1, 1])  # two tracks of one class
        >>> apart = Apart([np.arange(4)], groups, 1, 2, key=0)
        >>> support = apart.support(0, np.array([[0]]), np.array([[[0]]], dtype=np.uint64))
        >>> support, apart.room(np.array([[0]]), support)
        (array([[[0]]]), array([[2]]))
    """

    def __init__(
        self, by_class: Sequence[Ids], image_groups: Ids, n_shot: int, n_query: int, key: int
    ) -> None:
        self.n_query, self.key = n_query, key
        self.image_ids: Ids = np.concatenate([_by_group(ids, image_groups) for ids in by_class])
        self.sizes: Ids = np.array([len(ids) for ids in by_class], dtype=np.int64)
        self.starts: Ids = np.cumsum(self.sizes) - self.sizes
        found, codes = np.unique(_coded(image_groups, self.image_ids), return_inverse=True)
        self.groups: Ids = codes.reshape(-1).astype(np.int64)
        of_class = np.repeat(np.arange(len(by_class)), self.sizes)
        begins = np.flatnonzero(np.diff(of_class, prepend=-1) | np.diff(self.groups, prepend=-1))
        # a run: the images of one group in one class, next to each other
        self._run_starts: Ids = begins
        self._run_sizes: Ids = np.diff(begins, append=len(codes))
        self._run_of: Ids = np.repeat(np.arange(len(begins)), self._run_sizes)
        run_codes, run_classes = self.groups[begins], of_class[begins]
        self._spanning = len(np.unique(run_codes)) < len(begins)
        self._n_codes = len(found)
        keys = run_classes * self._n_codes + run_codes
        self._by_key: Ids = np.argsort(keys)
        self._keys: Ids = keys[self._by_key]
        self._classes: list[dict[int, int]] = [{} for _ in by_class]
        for run, (place, code) in enumerate(zip(run_classes.tolist(), run_codes.tolist(), strict=True)):
            self._classes[place][code] = int(self._run_sizes[run])
        chosen = sides(self._classes, n_shot, n_query) if self._spanning else set()
        if chosen is None:
            raise ValueError(
                f"`n_shot={n_shot}` and `n_query={n_query}` cannot be served by all classes at once: groups "
                "of images lie in several of them, so that what one needs for its support another needs for "
                "its queries; lower one of the two, or name groups that lie in one class."
            )
        self._sides = chosen

    def support(self, start: int, classes: Ids, words: Words) -> Ids:
        """Return places ``[B, N, S]`` of support images of ``classes`` ``[B, N]``, one for each of the words.

        Row i is episode ``start + i``, and depends on nothing but its words, its number and the key.
        """
        places = distinct(words, self.sizes[classes]) + self.starts[classes][..., None]
        stuck = (self.room(classes, places) < self.n_query).any(axis=1)
        for row in np.flatnonzero(stuck):
            places[row] = self._careful(start + int(row), classes[row].tolist(), places[row])
        return places

    def room(self, classes: Ids, support: Ids) -> Ids:
        """Return how many images of each class, ``[B, N]``, are in none of the support's groups."""
        room: Ids = self.sizes[classes] - self._taken(classes, support)[1].sum(axis=-1)
        return room

    def query(self, classes: Ids, support: Ids, words: Words) -> Ids:
        """Return places ``[B, N, k]``, one for each of the words, in none of the support's groups."""
        runs, taken = self._taken(classes, support)
        ranks = distinct(words, self.sizes[classes] - taken.sum(axis=-1))
        # as in `distinct`: so many free places lie before run i, which moves up all ranks from there on
        free_before = self._run_starts[runs] - self.starts[classes][..., None] - (taken.cumsum(-1) - taken)
        places = ranks + self.starts[classes][..., None]
        for i in range(runs.shape[-1]):
            places += np.where(free_before[..., i, None] <= ranks, taken[..., i, None], 0)
        return places

    def _taken(self, classes: Ids, support: Ids) -> tuple[Ids, Ids]:
        """Return the runs ``[B, N, k]`` in each class that the support takes, ascending, and their sizes.

        A repetition of a run has size 0.
        """
        if self._spanning:  # what one class takes is taken from all
            codes = self.groups[support].reshape(len(support), 1, support.shape[1] * support.shape[2])
            keys = classes[..., None] * self._n_codes + codes
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            there, runs = self._keys[at] == keys, self._by_key[at]
            last = runs.max(axis=-1, keepdims=True, initial=0, where=there)
            runs = np.where(there, runs, last)  # in place of a group that is not in the class a repetition
        else:
            runs = self._run_of[support]
        runs = np.sort(runs, axis=-1)
        first = np.diff(runs, axis=-1, prepend=-1) != 0
        return runs, np.where(first, self._run_sizes[runs], 0)

    def _careful(self, index: int, classes: list[int], first: Ids) -> Ids:
        """Return the support ``[N, S]`` of one episode; the random order begins with ``first``."""
        rng = np.random.Generator(np.random.Philox(key=stream_key(self.key, "apart", index)))
        present, n_shot = [self._classes[place] for place in classes], first.shape[1]
        spans = [np.arange(self.starts[place], self.starts[place] + self.sizes[place]) for place in classes]
        for attempt in range(_ORDERS):
            chosen: set[int] = set()
            found: list[Ids] = []
            for row, span in zip(first, spans, strict=True):
                order = rng.permutation(span)
                if attempt == 0:
                    order = np.concatenate([row, order[~np.isin(order, row)]])
                picked = _pick(self.groups[order].tolist(), present, chosen, n_shot, self.n_query)
                found.append(order[picked])
            if all(len(row) == n_shot for row in found):
                return np.stack(found)
        in_sides = np.isin(self.groups, list(self._sides))
        return np.stack([rng.permutation(span[in_sides[span]])[:n_shot] for span in spans])


def _pick(
    order: Sequence[int], classes: Sequence[_Members], chosen: set[int], n: int, n_query: int
) -> list[int]:
    """Return the first ``n`` places in ``order`` whose groups leave enough, adding those to ``chosen``.

    Args:
        order: group of each image of a class.
        classes: of the episode, which all have to be served.
        chosen: groups of the support so far.
        n: images to pick.
        n_query: queries of each class.

    Returns:
        The places; empty if there are fewer than ``n``, which happens only with groups in several classes.
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
    """Return whether a class can still give support and queries if ``chosen`` go to the support."""
    used = sum(size for group, size in groups.items() if group in chosen)
    most = sum(groups.values()) - n_query - used
    return most >= 0 and (
        used >= n_shot
        or _reaches((size for group, size in groups.items() if group not in chosen), n_shot - used, most)
    )


def _reaches(sizes: Iterable[int], least: int, most: int) -> bool:
    """Return whether some of ``sizes`` add up to at least ``least`` and at most ``most``."""
    if most < least:
        return False
    sums, wanted, below = 1, ((1 << (most - least + 1)) - 1) << least, (1 << (most + 1)) - 1
    for size in sizes:
        sums |= (sums << size) & below  # bit k: some of the sizes so far add up to k
        if sums & wanted:
            return True
    return bool(sums & wanted)


def _by_group(ids: Ids, image_groups: Ids) -> Ids:
    """Return the images of a class group after group, in order of first appearance."""
    _, first, group = np.unique(_coded(image_groups, ids), return_index=True, return_inverse=True)
    ordered: Ids = ids[np.argsort(first[group.reshape(-1)], kind="stable")]
    return ordered


def _coded(image_groups: Ids, ids: Ids) -> Ids:
    groups = image_groups[ids]
    return np.where(groups < 0, -1 - ids, groups)
