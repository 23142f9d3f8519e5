"""Pickles of arrays: read without running what is in them, and without copying what is large."""

import codecs
import io
import math
import mmap
import pickle
import pickletools
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.files.content import is_web_page, kind_of
from psst.images.files.temporary import unpacked

_LARGE = 1024  # bytes from which on strings and arrays are left where they lie
_LONG_TEXT = _CHUNK = 2**20  # bytes
_DAMAGES = (pickle.UnpicklingError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")
# opcode -> length of its argument, or below zero how the length is told; bytes that tell it
_ARGUMENTS = {ord(op.code): op.arg.n if op.arg else 0 for op in pickletools.opcodes}
_PREFIXES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TEXT = pickle.BINUNICODE + pickle.BINUNICODE8
_GETS = pickle.GET + pickle.BINGET + pickle.LONG_BINGET
_CLOSED = {
    **dict.fromkeys(pickle.PERSID + pickle.BINPERSID, "objects outside the file"),
    **dict.fromkeys(pickle.EXT1 + pickle.EXT2 + pickle.EXT4, "a class from the registry of copyreg"),
}
# a run of opcodes that need no look: without an argument, or with one of a fixed length
_PLAIN = re.compile(
    rb"(?:[()\]}N012aelstuR\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94]"
    rb"|[Kq].|M..|J....|[UC\x8c]\x01.)++",
    re.DOTALL,
)


class _RefusedError(Exception):
    """A pickle asks for what is not data; the message says for what."""


def load(source: Path | bytes, what: str = "") -> Any:
    """Build what a pickle holds, if that is NumPy arrays and scalars, plain values and plain containers.

    Nothing in the file is called or imported: a pickle that asks for anything else is refused. A file is
    mapped into memory and its arrays are read-only views of it: pages are read when they are looked at, and
    the system may drop them again. Only arrays that Python 3 wrote in protocol 2 or below need a copy: they
    are stored as text, and from 1 MiB on they are decoded into an unnamed temporary file.

    Text of Python 2 is taken for Latin-1. Its strings, and bytes, of 1 KiB or more come as a memoryview; so
    does text of 1 MiB or more, in Latin-1.

    Args:
        source: the file, or its bytes.
        what: how messages name it; by default, the path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no pickle, damaged, truncated, or asks for what is not data.
        OSError: there is no room for the temporary file.
    """
    name = what or (str(source) if isinstance(source, Path) else "a pickle")
    data = _map(source) if isinstance(source, Path) else source
    _require_pickle(data[:512], name)
    try:
        return _Unpickler(*_without_large(data, name)).load()
    except _RefusedError as error:
        raise ValueError(
            f"`{name}` asks for {error}: psst takes NumPy arrays and plain containers from a pickle and runs "
            "nothing that is in it. Get the file from the authors of the data set, or save its arrays with "
            "numpy.savez."
        ) from None
    except EOFError as error:
        law = f"truncated: {error}"
    except (*_DAMAGES, struct.error, MemoryError) as error:
        law = f"damaged or not a pickle, in {len(data):,} bytes ({type(error).__name__}: {error})"
    text = data[:60].decode("ascii", errors="replace").split("\n")[0]
    begins = f"; it is text that begins with {text!r}" if text.isprintable() and " " in text else ""
    raise ValueError(f"`{name}` is {law}{begins}; download it again.")


def _map(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _require_pickle(head: bytes, name: str) -> None:
    """Recognize by its first bytes what is often found under the name of a pickle."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise ValueError(f"`{name}` is empty; download it again.")
    if is_web_page(head):
        raise ValueError(
            f"`{name}` is a web page, not a pickle: it begins with {start[:40]!r}. Servers send a page in "
            "place of a file when it is gone, over its quota or needs a confirmation; download it in a "
            "browser or from another mirror."
        )
    if (kind := kind_of(start)) not in (None, "a pickle"):
        raise ValueError(
            f"`{name}` is {kind}, not a pickle; unpack it, give it the name it had, or download it again."
        )


def _without_large(data: bytes | mmap.mmap, name: str) -> tuple[bytes, list[memoryview]]:
    """Return a pickle without its large strings, and these.

    In their place, and behind whatever may touch an unfinished array, stands the opcode for objects outside
    the file: `_Unpickler.persistent_load` then gives the string, or finishes the array. Where the file itself
    has that opcode, it is refused. No size in the file is believed before its bytes are seen.

    Raises:
        _RefusedError: an opcode is not for data.
        EOFError: the file ends before its data do.
        ValueError: an opcode is unknown, or an entry of the memo has a number that only costs memory.
    """
    view, views = memoryview(data), list[memoryview]()
    rest, kept, place, opcode = bytearray(), 0, 0, 0
    while opcode != pickle.STOP[0]:
        run = _PLAIN.match(data, place)
        start = place if run is None else run.end()
        if start >= len(data):
            raise EOFError(f"it ends after {len(data):,} bytes, before its data do")
        opcode = data[start]
        place, begin = _argument(data, start)
        if opcode in _CLOSED:
            raise _RefusedError(_CLOSED[opcode])
        if opcode == pickle.FRAME[0]:  # its length would be wrong; its content comes next in any case
            rest += view[kept:start]
        elif opcode == pickle.BUILD[0]:  # of the object and its state: a pair, handed over
            rest += bytes(view[kept:start]) + pickle.TUPLE2 + pickle.BINPERSID
        elif opcode in _GETS:
            rest += bytes(view[kept:place]) + pickle.BINPERSID
        elif begin and place - begin >= (_LONG_TEXT if opcode in _TEXT else _LARGE):
            number = len(views).to_bytes(4, "little")
            rest += bytes(view[kept:start]) + pickle.BININT + number + pickle.BINPERSID
            views.append(_decoded(view[begin:place], name) if opcode in _TEXT else view[begin:place])
        else:
            continue
        kept = place
    return bytes(rest + view[kept:place]), views


def _argument(data: bytes | mmap.mmap, start: int) -> tuple[int, int]:
    """Return where the opcode at ``start`` ends with its argument, and where the latter's bytes begin.

    The second is 0 for arguments without a length of their own.
    """
    opcode, begin, end = data[start], 0, start + 1
    length = _ARGUMENTS.get(opcode)
    if length is None:
        raise ValueError(f"unknown opcode {opcode} at byte {start:,}")
    if length >= 0:
        end += length
    elif length == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if opcode in pickle.GLOBAL + pickle.INST else 1):
            end = data.find(b"\n", end) + 1 or len(data) + 1
    else:
        begin = end + _PREFIXES[length]
        end = begin + int.from_bytes(data[end:begin], "little")
    if end > len(data):
        raise EOFError(f"it ends after {len(data):,} bytes, before its data do")
    if opcode in pickle.PUT + pickle.LONG_BINPUT:  # the memo has as many entries as its largest number
        number = data[start + 1 : end]
        entry = int(number) if opcode == pickle.PUT[0] else int.from_bytes(number, "little")
        if entry > end:
            raise ValueError(f"entry {entry:,} of a memo after {end:,} bytes")
    return end, begin


def _decoded(text: memoryview, name: str) -> memoryview:
    """Turn UTF-8 into Latin-1, in which an array's bytes are themselves."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    places = range(0, len(text), _CHUNK)
    pieces = (decoder.decode(text[i : i + _CHUNK], i == places[-1]).encode("latin1") for i in places)
    with unpacked(pieces, f"an array of `{name}`") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _Unfinished:
    """Stands for an array from the call that begins it to the state that completes it."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: object = self

    def finish(self, state: tuple[int, tuple[int, ...], Any, bool, Any]) -> object:
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
            raise _RefusedError(f"the array type {self.code!a} with a structure")
        if not isinstance(self.code, str) or not _DTYPE.fullmatch(self.code):
            raise _RefusedError(f"an array of the type {ascii(self.code)[:40]}, which may hold objects")
        return np.dtype(self.code).newbyteorder(state[1])


class _Unpickler(pickle.Unpickler):
    """Builds NumPy arrays and scalars, plain values and plain containers, and nothing else."""

    def __init__(self, rest: bytes, large: Sequence[memoryview]) -> None:
        super().__init__(io.BytesIO(rest), encoding="latin1")
        self._large = large

    def find_class(self, module: str, name: str) -> Any:
        try:
            # a partial of its own: a pickle cannot change what the next one is given
            return partial(_BUILDERS[module.replace("numpy.core", "numpy._core"), name])
        except KeyError:
            raise _RefusedError(f"`{ascii(f'{module}.{name}')[1:-1][:100]}`") from None

    def persistent_load(self, pid: Any) -> Any:
        """Return a large string by its number, an object completed by its state, or a finished object."""
        if type(pid) is int:
            return self._large[pid]
        if type(pid) is tuple and len(pid) == 2:
            target, state = pid
            if not isinstance(target, _Unfinished):
                raise _RefusedError("attributes of a plain object")
            target.result = target.finish(state)
            return target.result
        return pid.result if isinstance(pid, _Unfinished) else pid


def _ndarray() -> None:
    """Name the type; nothing calls it."""
    raise _RefusedError("a call of numpy.ndarray")


def _begin_array(cls: object, shape: object, kind: object) -> _Unfinished:
    if getattr(cls, "func", None) is not _ndarray:
        raise _RefusedError("a subclass of numpy.ndarray")
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


def _bytes(data: str | bytes | memoryview = b"", encoding: str = "latin1") -> bytes | memoryview:
    """Undo how Python 3 writes bytes in protocols that Python 2 reads; long ones were encoded before."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"the codec {ascii(encoding)[:40]}")
    if not isinstance(data, str | bytes | memoryview):
        raise _RefusedError(f"bytes made of {type(data).__name__}")
    return data.encode("latin1") if isinstance(data, str) else data


def _container(make: Callable[[Any], Any], items: Any = ()) -> Any:
    if not isinstance(items, list | tuple):
        raise _RefusedError(f"a container made of {type(items).__name__}")
    return make(items)


_CONTAINERS = {kind.__name__: partial(_container, kind) for kind in (set, frozenset)}
_PLAINS: dict[str, Callable[..., Any]] = {"bytes": _bytes, "bytearray": _bytes, "complex": complex}
_BUILDERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _UnfinishedType,
    ("numpy._core.multiarray", "_reconstruct"): _begin_array,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): _bytes,
    ("collections", "OrderedDict"): partial(_container, OrderedDict),
    **{
        (home, name): make
        for home in ("builtins", "__builtin__")
        for name, make in (_CONTAINERS | _PLAINS).items()
    },
}
