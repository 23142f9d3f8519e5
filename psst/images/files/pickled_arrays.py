"""What a pickle of arrays may call: builders of arrays, and of containers that pickle has no code for."""

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")


class RefusedError(Exception):
    """A pickle asks for what is not data; the message says for what."""


class _Unfinished:
    """Stands for an array from the call that begins it to the state that completes it."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: object = self

    def finish(self, state: tuple[int, tuple[int, ...], Any, bool, Any]) -> object:
        """Return what it stands for."""
        _, shape, dtype, fortran, data = state
        return _array(data, dtype, shape, "F" if fortran else "C")


class _UnfinishedType(_Unfinished):
    """Stands for the type of an array; the type's order of bytes is its state."""

    __slots__ = ("code",)

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        super().__init__()
        self.code = code

    def finish(self, state: tuple[Any, ...]) -> object:
        if state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise RefusedError(f"the array type {self.code!a} with a structure")
        if not isinstance(self.code, str) or not _DTYPE.fullmatch(self.code):
            raise RefusedError(f"an array of the type {ascii(self.code)[:40]}, which may hold objects")
        return np.dtype(self.code).newbyteorder(state[1])


class ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and scalars, plain values and plain containers, and nothing else.

    Args:
        skeleton: a pickle without its large strings.
        large: those strings.
    """

    def __init__(self, skeleton: bytes, large: Sequence[memoryview]) -> None:
        super().__init__(io.BytesIO(skeleton), encoding="latin1")
        self._large = large

    def find_class(self, module: str, name: str) -> Any:
        """Return a builder of data; RefusedError for any other name."""
        try:
            # a partial of its own: a pickle cannot change what the next one is given
            return partial(_BUILDERS[module.replace("numpy.core", "numpy._core"), name])
        except KeyError:
            raise RefusedError(f"`{ascii(f'{module}.{name}')[1:-1][:100]}`") from None

    def persistent_load(self, pid: Any) -> Any:
        """Return a large string by its number, an object completed by its state, or a finished object."""
        if type(pid) is int:
            return self._large[pid]
        if type(pid) is tuple and len(pid) == 2:
            target, state = pid
            if not isinstance(target, _Unfinished):
                raise RefusedError("attributes of a plain object")
            target.result = target.finish(state)
            return target.result
        return pid.result if isinstance(pid, _Unfinished) else pid


def _ndarray() -> None:
    """Name the type; nothing calls it."""
    raise RefusedError("a call of numpy.ndarray")


def _begin_array(cls: object, shape: object, kind: object) -> _Unfinished:
    if getattr(cls, "func", None) is not _ndarray:
        raise RefusedError("a subclass of numpy.ndarray")
    return _Unfinished()


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
    """Undo how Python 3 writes bytes in protocols that Python 2 reads; long ones were encoded before."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"the codec {ascii(encoding)[:40]}")
    return text.encode("latin1") if isinstance(text, str) else text


def _bytes(data: str | bytes | memoryview = b"", encoding: str | None = None) -> bytes | memoryview:
    if encoding is not None and isinstance(data, str | memoryview):
        return _encode(data, encoding)
    if not isinstance(data, bytes | memoryview):
        raise RefusedError(f"bytes made of {type(data).__name__}")
    return data


def _container(make: Callable[[Any], Any], items: Any = ()) -> Any:
    if not isinstance(items, list | tuple):
        raise RefusedError(f"a container made of {type(items).__name__}")
    return make(items)


_PLAIN: dict[str, Callable[..., Any]] = {
    "set": partial(_container, set),
    "frozenset": partial(_container, frozenset),
    "bytes": _bytes,
    "bytearray": _bytes,
    "complex": complex,
}
_BUILDERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _UnfinishedType,
    ("numpy._core.multiarray", "_reconstruct"): _begin_array,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): partial(_container, OrderedDict),
    **{(home, name): make for home in ("builtins", "__builtin__") for name, make in _PLAIN.items()},
}
