"""Keys of random streams: who draws what is decided by names and counters, never by the order of calls."""

import hashlib
import operator

import torch


def stream_key(*parts: int | str) -> int:
    """Return a 64-bit key of ``parts``, the same on every machine, in every process and in every release.

    Keys of ``(0, "val", "test")`` and ``(0, "valtest")`` differ, and so do those of ``1`` and ``"1"``.
    TypeError if a part is neither an integer nor text.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = _tagged(part)
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest(), "little")


def torch_generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a generator on ``device`` that starts at the key of ``parts``."""
    return torch.Generator(device=device).manual_seed(stream_key(*parts))


def _tagged(part: int | str) -> bytes:
    if isinstance(part, str):
        return b"s" + part.encode()
    try:
        return b"i" + str(operator.index(part)).encode()
    except TypeError:
        raise TypeError(
            f"a part of a stream key is an integer or text, found {type(part).__name__} {part!r}; "
            "turn it into one of the two, so that its key is the same everywhere."
        ) from None
