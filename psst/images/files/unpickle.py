"""Pickles of arrays: read without running what is in them, and without copying what is large."""

import codecs
import mmap
import pickle
import pickletools
import re
import struct
from pathlib import Path
from typing import Any

from psst.images.files.content import is_web_page, kind_of
from psst.images.files.pickled_arrays import ArrayUnpickler, RefusedError
from psst.images.files.temporary import unpacked

LARGE = 1024
"""Bytes from which on strings and arrays are left where they lie."""
_LONG_TEXT = _CHUNK = 2**20  # bytes
_DAMAGES = (
    *(pickle.UnpicklingError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(struct.error, MemoryError),
)
# opcode -> length of its argument, or below zero how the length is told
_ARGUMENTS = {ord(op.code): op.arg.n if op.arg else 0 for op in pickletools.opcodes}
_PREFIXES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TEXT = pickle.BINUNICODE + pickle.BINUNICODE8
_PUTS = {pickle.PUT[0]: None, pickle.BINPUT[0]: 1, pickle.LONG_BINPUT[0]: 4}
_GETS = pickle.GET + pickle.BINGET + pickle.LONG_BINGET
# a run of opcodes that need no look: without an argument, or with one of a fixed length
_PLAIN = re.compile(
    rb"(?:[()\]}N012aelstuR\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94]"
    rb"|[Kq].|M..|J....|[UC\x8c]\x01.)++",
    re.DOTALL,
)
_CLOSED = {
    **dict.fromkeys(pickle.PERSID + pickle.BINPERSID, "objects outside the file"),
    **dict.fromkeys(pickle.EXT1 + pickle.EXT2 + pickle.EXT4, "a class from the registry of copyreg"),
}


def load(source: Path | bytes, what: str = "") -> Any:
    """Build what a pickle holds, if that is NumPy arrays and scalars, plain values and plain containers.

    Nothing in the file is called or imported: a pickle that asks for anything else is refused. A file is
    mapped into memory and its arrays are read-only views of it: pages are read when they are looked at, and
    the system may drop them again. Only arrays that Python 3 wrote in protocol 2 or below need a copy: they
    are stored as text, and from 1 MiB on they are decoded into an unnamed temporary file.

    Text of Python 2 is taken for Latin-1. Its strings, and bytes, of `LARGE` bytes or more come as a
    memoryview; so does text of 1 MiB or more, in Latin-1.

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
    head = data[:512]
    _require_pickle(head, name)
    try:
        skeleton, views = _without_large(data, name)
        return ArrayUnpickler(skeleton, views).load()
    except RefusedError as error:
        raise ValueError(
            f"`{name}` asks for {error}: psst takes NumPy arrays and plain containers from a pickle and runs "
            "nothing that is in it. Get the file from the authors of the data set, or save its arrays with "
            "numpy.savez."
        ) from None
    except EOFError as error:
        raise ValueError(f"`{name}` is truncated: {error}{_quoted(head)}; download it again.") from None
    except _DAMAGES as error:
        raise ValueError(
            f"`{name}` of {len(data):,} bytes is damaged or not a pickle ({type(error).__name__}: {error})"
            f"{_quoted(head)}; download it again."
        ) from error


def _map(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _without_large(data: bytes | mmap.mmap, name: str) -> tuple[bytes, list[memoryview]]:
    """Take the large strings out of a pickle.

    In their place, and behind whatever may touch an unfinished array, stands the opcode for objects outside
    the file: `ArrayUnpickler.persistent_load` then gives the string, or finishes the array. That opcode and
    the others that find objects by number are refused where the file itself has them.

    Returns:
        The pickle that is left, and what was taken out.

    Raises:
        RefusedError: an opcode is not for data.
        EOFError: the file ends before its data do.
        ValueError: an opcode is unknown, or an entry of the memo has a number that only costs memory.
    """
    view, views = memoryview(data), list[memoryview]()
    rest, kept, place, opcode = bytearray(), 0, 0, 0
    while opcode != pickle.STOP[0]:
        run = _PLAIN.match(data, place)
        start = place if run is None else run.end()
        opcode = _byte(data, start)
        place, begin = _argument(data, start)
        if opcode in _CLOSED:
            raise RefusedError(_CLOSED[opcode])
        if opcode in _PUTS:
            _require_small(data[start + 1 : place], _PUTS[opcode], place)
        if opcode == pickle.FRAME[0]:  # its length would be wrong; its content comes next in any case
            rest += view[kept:start]
        elif opcode == pickle.BUILD[0]:  # of the object and its state: a pair, handed over
            rest += view[kept:start]
            rest += pickle.TUPLE2 + pickle.BINPERSID
        elif opcode in _GETS:
            rest += view[kept:place]
            rest += pickle.BINPERSID
        elif begin and place - begin >= (_LONG_TEXT if opcode in _TEXT else LARGE):
            rest += view[kept:start]
            rest += pickle.BININT + len(views).to_bytes(4, "little") + pickle.BINPERSID
            large = view[begin:place]
            views.append(_decoded(large, name) if opcode in _TEXT else large)
        else:
            continue
        kept = place
    return bytes(rest + view[kept:place]), views


def _decoded(text: memoryview, name: str) -> memoryview:
    """Turn UTF-8 into Latin-1, in which an array's bytes are themselves."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    places = range(0, len(text), _CHUNK)
    pieces = (decoder.decode(text[i : i + _CHUNK], i == places[-1]).encode("latin1") for i in places)
    with unpacked(pieces, f"an array of `{name}`") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _byte(data: bytes | mmap.mmap, place: int) -> int:
    if place >= len(data):
        raise EOFError(f"it ends after {len(data):,} bytes, before its data do")
    return data[place]


def _argument(data: bytes | mmap.mmap, start: int) -> tuple[int, int]:
    """Return where the opcode at ``start`` ends with its argument, and where the latter's bytes begin.

    The second is 0 for arguments without a length of their own.
    """
    length = _ARGUMENTS.get(data[start])
    if length is None:
        raise ValueError(f"unknown opcode {data[start]} at byte {start:,}")
    begin, end = 0, start + 1
    if length >= 0:
        end += length
    elif length == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if data[start] in pickle.GLOBAL + pickle.INST else 1):
            end = data.find(b"\n", end) + 1 or len(data) + 1
    else:
        begin = end + _PREFIXES[length]
        end = begin + int.from_bytes(data[end:begin], "little")
    _byte(data, end - 1)
    return end, begin


def _require_small(number: bytes, width: int | None, place: int) -> None:
    """Check that the memo, which has as many entries as its largest number, is no larger than the pickle."""
    index = int.from_bytes(number, "little") if width else int(number)
    if index > place:
        raise ValueError(f"entry {index:,} of a memo after {place:,} bytes")


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
    kind = kind_of(start)
    if kind not in (None, "a pickle"):
        raise ValueError(
            f"`{name}` is {kind}, not a pickle; unpack it, give it the name it had, or download it again."
        )


def _quoted(head: bytes) -> str:
    """Quote the beginning of a file that turned out to be text."""
    text = head[:60].decode("ascii", errors="replace").split("\n")[0]
    return f"; it is text that begins with {text!r}" if text.isprintable() and " " in text else ""
