"""Random words by counter, and distinct integers made of them: row i depends on the key and on i alone."""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_WORDS_PER_COUNT = 4  # 64-bit words that Philox makes of one counter value


def random_words(key: int, start: int, count: int, needed: int, owned: int | None = None) -> _Words:
    """Return rows ``start`` to ``start + count - 1``, ``[count, needed]``, of an endless table of words.

    Every row has ``owned`` words (None: ``needed``), a whole number of counter values, of which the first are
    returned; another number is another table, as is another ``key``, see ``psst.randomness.stream_key``.

    References:
        Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (Philox 4x64).
    """
    block = -(-(needed if owned is None else owned) // _WORDS_PER_COUNT)
    generator = np.random.Philox(key=key, counter=start * block)
    words: _Words = generator.random_raw(count * block * _WORDS_PER_COUNT)
    return words.reshape(count, block * _WORDS_PER_COUNT)[:, :needed]


def below(words: _Words, sizes: npt.NDArray[np.int64] | np.int64) -> Ids:
    """Turn each word into an integer in ``[0, size)``; its upper 32 bits decide: bias below size / 2**32."""
    drawn: Ids = ((words >> np.uint64(32)).astype(np.int64) * sizes) >> 32
    return drawn


def distinct(words: _Words, sizes: npt.NDArray[np.int64] | np.int64) -> Ids:
    """Turn words ``[..., k]`` into k distinct integers below ``sizes``, ``[...]``, in random order.

    The j-th draw is a rank r among the integers not yet taken. With the taken ones sorted as ``t_0 < t_1 <
    ...``, ``u_i = t_i - i`` integers below ``t_i`` are free, so the free integer of rank r is r plus the
    number p of i with ``u_i <= r``. It becomes the sorted list's p-th entry with ``u_p = r``, and those above
    move up by one place: ``u'_i = max(min(u_i, r), u_{i-1} - 1)``.

    A row with more words than its size gets k integers of which the first ``size`` are right.
    """
    k = words.shape[-1]
    rows = np.ascontiguousarray(words.reshape(-1, k).T)  # [k, n]: each step works on whole rows of memory
    limits = np.broadcast_to(sizes, words.shape[:-1]).reshape(-1)
    drawn = np.empty(rows.shape, dtype=np.int64)
    taken = np.empty((k, rows.shape[1]), dtype=np.int32)  # u, shifted in place
    for j in range(k):
        rank = below(rows[j], limits - j)
        rank32, used = rank.astype(np.int32), taken[:j]
        smaller = (used <= rank32).view(np.int8)
        np.add(rank, smaller.sum(axis=0, dtype=np.int16 if j > 127 else np.int8), out=drawn[j])
        shifted = used - np.int32(1)
        np.minimum(used, rank32, out=used)
        taken[j] = rank32
        np.maximum(taken[1 : j + 1], shifted, out=taken[1 : j + 1])
    return np.ascontiguousarray(drawn.T).reshape(words.shape)
