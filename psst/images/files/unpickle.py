"""Pickles of arrays: read without running what is in them, and without copying what is large."""

import math
import mmap
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from psst.images.files.paths import kind_of

_LARGE = 1024  # bytes from which on strings and arrays are left where they lie
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")
_NDARRAY = "numpy.ndarray"  # stands for the type, which nothing calls


class _RefusedError(Exception):
    """A pickle asks for what is not data; the message says for what."""


def load(source: Path | bytes, what: str = "") -> Any:
    """Build what a pickle holds, if that is NumPy arrays and scalars, plain values and plain containers.

    Nothing in the file is called or imported: a pickle that asks for anything else is refused. A file is
    mapped into memory and its arrays are read-only views of it. Only arrays that Python 3 wrote in protocol 2
    or below, as text, take memory, twice their size while they are read. Text of Python 2 is taken for
    Latin-1; its strings, and bytes, of 1 KiB or more come as a memoryview. Messages call it ``what``.
    """
    name = what or (str(source) if isinstance(source, Path) else "a pickle")
    data: bytes | mmap.mmap = b""
    if not isinstance(source, Path):
        data = source
    elif source.stat().st_size:  # what is empty cannot be mapped
        with source.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise ValueError(f"`{name}` is empty; download it again.")
    if (kind := kind_of(start)) not in (None, "a pickle"):  # often found under the name of a pickle
        raise ValueError(
            f"`{name}` is {kind}, not a pickle; unpack it, give it the name it had, or download it again, "
            "in a browser or from another mirror."
        )
    try:
        return _Unpickler(_Reader(data)).load()
    except _RefusedError as error:
        raise ValueError(
            f"`{name}` asks for {error}: psst takes NumPy arrays and plain containers from a pickle and runs "
            "nothing that is in it. Get the file from the authors of the data set, or save its arrays with "
            "numpy.savez."
        ) from None
    except EOFError as error:
        law = f"truncated: {error}"
    except Exception as error:  # whatever damaged bytes lead to
        law = f"damaged or not a pickle, in {len(data):,} bytes ({type(error).__name__}: {error})"
    text = data[:60].decode("ascii", errors="replace").split("\n")[0]
    begins = f"; it is text that begins with {text!r}" if text.isprintable() and " " in text else ""
    raise ValueError(f"`{name}` is {law}{begins}; download it again.")


class _Reader:
    """Bytes in order; large pieces are views. No size in a file is believed before its bytes are seen."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data, self._view, self._place = data, memoryview(data), 0

    def read(self, count: int) -> bytes | memoryview:
        if (end := self._place + count) > len(self._data):
            raise EOFError(f"it ends after {len(self._data):,} bytes, before its data do")
        piece, self._place = self._view[self._place : end], end
        return piece if len(piece) >= _LARGE else bytes(piece)

    def readline(self) -> bytes:
        end = self._data.find(b"\n", self._place) + 1 or len(self._data) + 1
        return bytes(self.read(end - self._place))


class _Unfinished:
    """Stands for an array or its type from the call that begins it to the state that completes it."""

    def __init__(self, finish: Callable[[tuple[Any, ...]], object]) -> None:
        self.result: object = self
        self.finish = finish


class _Memo(dict[int, Any]):
    """What a pickle comes back to; an array that was completed since then is the complete one."""

    def __getitem__(self, entry: int) -> Any:
        found = super().__getitem__(entry)
        return found.result if isinstance(found, _Unfinished) else found


_PythonUnpickler: Any = pickle._Unpickler


class _Unpickler(_PythonUnpickler):  # type: ignore[misc]  # untyped in typeshed
    """The unpickler in Python leaves views of a mapped file as they are; a memo's large numbers are free."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)
    for _code in pickle.EXT1 + pickle.EXT2 + pickle.EXT4:  # classes of copyreg, which may be cached there
        del dispatch[_code]
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]

    def __init__(self, file: _Reader) -> None:
        super().__init__(file, encoding="latin1")
        self.memo = _Memo()

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        known = asked.replace("numpy.core.", "numpy._core.").replace("__builtin__.", "builtins.")
        if known == _NDARRAY:
            return _NDARRAY
        if known not in _BUILDERS:
            raise _RefusedError(f"`{ascii(asked)[1:-1][:100]}`")
        return partial(_BUILDERS[known])  # one of its own: a pickle cannot change what the next one is given

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _Unfinished):
            raise _RefusedError("attributes of a plain object")
        self.stack[-1] = target.result = target.finish(state)

    def load_frame(self) -> None:
        self.read(8)  # what a frame holds comes next in any case

    dispatch |= {pickle.BUILD[0]: load_build, pickle.FRAME[0]: load_frame}

    def _decode_string(self, value: bytes | memoryview) -> str | memoryview:
        return value if isinstance(value, memoryview) else value.decode("latin1")


def _begin_array(cls: object, shape: object, kind: object) -> _Unfinished:
    if cls is not _NDARRAY:
        raise _RefusedError("a subclass of numpy.ndarray")

    def finish(state: tuple[Any, ...]) -> object:
        _, shape, dtype, fortran, data = state
        return _array(data, dtype, shape, "F" if fortran else "C")

    return _Unfinished(finish)


def _begin_type(code: object, align: object = False, copy: object = True) -> _Unfinished:
    def finish(state: tuple[Any, ...]) -> object:
        if state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise _RefusedError(f"the array type {code!a} with a structure")
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _RefusedError(f"an array of the type {ascii(code)[:40]}, which may hold objects")
        return np.dtype(code).newbyteorder(state[1])

    return _Unfinished(finish)


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


def _bytes(data: str | bytes | memoryview = b"", encoding: str = "latin1") -> bytes | memoryview:
    """Undo how Python 3 writes bytes in protocols that Python 2 reads."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"the codec {ascii(encoding)[:40]}")
    if not isinstance(data, str | bytes | memoryview):
        raise _RefusedError(f"bytes made of {type(data).__name__}")
    return data.encode("latin1") if isinstance(data, str) else data


def _container(make: Callable[[Any], Any], items: Any = ()) -> Any:
    if not isinstance(items, list | tuple):
        raise _RefusedError(f"a container made of {type(items).__name__}")
    return make(items)


_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": _begin_type,
    "numpy._core.multiarray._reconstruct": _begin_array,
    "numpy._core.multiarray.scalar": lambda dtype, data: _array(data, dtype, ())[()],
    "numpy._core.numeric._frombuffer": _array,
    "_codecs.encode": _bytes,
    "collections.OrderedDict": partial(_container, OrderedDict),
    "builtins.set": partial(_container, set),
    "builtins.frozenset": partial(_container, frozenset),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": complex,
}
