"""How many queries each class of an episode gets when they are not spread evenly."""

import numpy as np
import numpy.typing as npt

from psst.episodes.counters import Ids, Words


def query_counts(words: Words, concentration: float, total: int, room: Ids) -> Ids:
    """Spread ``total`` queries over the classes of each episode by a symmetric Dirichlet distribution.

    Args:
        words: ``[B, N]`` random words.
        concentration: of the distribution; 1 is uniform over all proportions, large values are balanced.
        total: queries an episode; at most the sum of ``room`` of each episode.
        room: ``[B, N]`` images that each class can give.

    Returns:
        ``[B, N]`` integers that sum to ``total``, each at most its ``room``: the proportions' shares, rounded
        by largest remainders, what does not fit into a class going to the others in the same proportions.

    References:
        Veilleux et al., Realistic evaluation of transductive few-shot learning, NeurIPS 2021.
    """
    return np.stack(
        [
            _rounded(row, total, limits)
            for row, limits in zip(_dirichlet(words, concentration), room, strict=True)
        ]
    )


def _dirichlet(words: Words, concentration: float) -> npt.NDArray[np.float64]:
    """Return proportions ``[B, N]``: gamma variates by inversion, so that each costs exactly one word."""
    from scipy.special import gammaincinv

    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    gammas = np.asarray(gammaincinv(concentration, uniform), dtype=np.float64)
    underflown = gammas.sum(axis=1) == 0  # a tiny concentration: one class gets everything
    gammas[underflown, uniform[underflown].argmax(axis=1)] = 1.0
    proportions: npt.NDArray[np.float64] = gammas / gammas.sum(axis=1, keepdims=True)
    return proportions


def _rounded(proportions: npt.NDArray[np.float64], total: int, room: Ids) -> Ids:
    counts = np.zeros(len(room), dtype=np.int64)
    while (left := total - int(counts.sum())) > 0:
        free = counts < room
        weights = np.where(free, proportions, 0.0)
        weights = weights / weights.sum() if weights.sum() > 0 else free / free.sum()
        shares = weights * left
        added = np.floor(shares).astype(np.int64)
        order = np.argsort(-(shares - added)[free], kind="stable")
        places = np.flatnonzero(free)[order[: left - int(added.sum())]]
        added[places] += 1
        counts = np.minimum(counts + added, room)
    return counts
