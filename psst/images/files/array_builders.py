"""What a pickle of arrays may call: builders of arrays, and of containers that pickle has no code for."""

import codecs
import math
import mmap
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK = 2**22
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")


class RefusedError(Exception):
    """A pickle asks for what is not data; the message says for what."""


class Unfinished:
    """Stands for an array from the call that begins it to the state that completes it."""

    def __init__(self, finish: Callable[[Any], object]) -> None:
        self.finish = finish
        self.result: object = None


def _begin_array(cls: object, shape: object, kind: object) -> Unfinished:
    if cls is not _NDARRAY:
        raise RefusedError("a subclass of numpy.ndarray")

    def finish(state: tuple[int, tuple[int, ...], Any, bool, Any]) -> npt.NDArray[Any]:
        _, shape, dtype, fortran, data = state
        return _array(data, dtype, shape, "F" if fortran else "C")

    return Unfinished(finish)


def _begin_dtype(code: str, align: object = False, copy: object = True) -> Unfinished:
    def finish(state: tuple[Any, ...]) -> np.dtype[Any]:
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(state[2:5]):
            raise RefusedError(f"the array type {code!a} with a structure")
        return _dtype(code).newbyteorder(order)

    return Unfinished(finish)


def _dtype(code: str) -> np.dtype[Any]:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise RefusedError(f"an array of the type {ascii(code)[:40]}, which may hold objects")
    return np.dtype(code)


def _array(
    data: Any, dtype: np.dtype[Any], shape: Sequence[int], order: str = "C", axes: Sequence[int] | None = None
) -> npt.NDArray[Any]:
    """Return a view of ``data``; ValueError if its length is not that of the shape."""
    if not isinstance(dtype, np.dtype):
        raise ValueError(f"an array has the type {type(dtype).__name__}")
    raw = data.encode("latin1") if isinstance(data, str) else memoryview(data)
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(raw) != size:
        raise ValueError(f"an array of shape {shape} and type {dtype} has {len(raw):,} bytes, not {size:,}")
    array = np.ndarray(shape, dtype, raw if size else None, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


def _scalar(dtype: np.dtype[Any], data: Any) -> Any:
    return _array(data, dtype, ())[()]


def _encode(text: str | memoryview, encoding: str = "utf-8") -> bytes | memoryview:
    """Undo how Python 3 writes bytes in protocols that Python 2 reads."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"the codec {ascii(encoding)[:40]}")
    return text.encode("latin1") if isinstance(text, str) else _encode_large(text)


def _encode_large(text: memoryview) -> memoryview:
    """Turn UTF-8 into Latin-1 in an unnamed temporary file, mapped into memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with tempfile.TemporaryFile() as file:
            for start in range(0, len(text), _CHUNK):
                end = start + _CHUNK
                file.write(decoder.decode(text[start:end], end >= len(text)).encode("latin1"))
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise OSError(
            error.errno,
            f"an array of a pickle has to be decoded into `{tempfile.gettempdir()}`, which takes up to "
            f"{len(text) / 2**20:.0f} MiB there ({error.strerror}); free some space, or set the environment "
            "variable TMPDIR to a folder on a larger disk.",
        ) from error


def _bytes(data: str | bytes | memoryview = b"", encoding: str | None = None) -> bytes | memoryview:
    if encoding is not None and isinstance(data, str | memoryview):
        return _encode(data, encoding)
    if not isinstance(data, bytes | memoryview):
        raise RefusedError(f"bytes made of {type(data).__name__}")
    return data


def _set(items: list[Any] | tuple[Any, ...] = ()) -> set[Any]:
    return set(_listed(items))


def _frozenset(items: list[Any] | tuple[Any, ...] = ()) -> frozenset[Any]:
    return frozenset(_listed(items))


def _ordered(items: list[Any] | tuple[Any, ...] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(_listed(items))


def _listed(items: Any) -> Any:
    if not isinstance(items, list | tuple):
        raise RefusedError(f"a container made of {type(items).__name__}")
    return items


_NDARRAY = object()  # names the type; cannot be called
BUILDERS: Mapping[tuple[str, str], object] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _begin_dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered,
    **{
        (f"{core}.{module}", name): builder
        for core in ("numpy.core", "numpy._core")
        for module, name, builder in (
            ("multiarray", "_reconstruct", _begin_array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array),
        )
    },
    **{
        (module, name): builder
        for module in ("builtins", "__builtin__")
        for name, builder in (
            ("set", _set),
            ("frozenset", _frozenset),
            ("bytes", _bytes),
            ("bytearray", _bytes),
            ("complex", complex),
        )
    },
}
