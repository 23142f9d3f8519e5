"""The standard library's unpickler with its ways to code closed, and large data left in place."""

import mmap
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

from psst.images.files.array_builders import BUILDERS, RefusedError, Unfinished

LARGE = 1024  # bytes
_LONG_TEXT = 2**20
_ENDS = "it ends after {:,} bytes, before its data do"


class ByteStream:
    """Bytes in memory, as the file that an unpickler reads and as views of themselves."""

    def __init__(self, source: bytes | mmap.mmap) -> None:
        self.source = source
        self.view = memoryview(source)
        self.position = 0

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes; EOFError if they are not there."""
        left = len(self.view) - self.position
        if not 0 <= size <= left:
            raise EOFError(_ENDS.format(len(self.view)))
        self.position += size
        return self.view[self.position - size : self.position]

    def read(self, size: int) -> bytes:
        """Return a copy of the next ``size`` bytes."""
        start = self.position
        data = self.source[start : start + size]  # quicker than by way of the view
        if len(data) != size:
            raise EOFError(_ENDS.format(len(self.source)))
        self.position += size
        return data

    def readline(self) -> bytes:
        """Return a copy of the next line with its newline."""
        end = self.source.find(b"\n", self.position)
        if end < 0:
            raise EOFError(_ENDS.format(len(self.source)))
        return self.read(end + 1 - self.position)


class _Memo(dict[int, Any]):
    """Gives the finished object where the unfinished one was stored."""

    def __getitem__(self, key: int) -> Any:
        value = super().__getitem__(key)
        return value.result if type(value) is Unfinished and value.result is not None else value


class DataUnpickler(pickle._Unpickler):
    """Builds NumPy arrays and scalars, plain values and plain containers, and nothing else.

    The readable unpickler of the standard library is the base, since the compiled one copies what it reads.

    Args:
        stream: the pickle; arrays are views of it.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: ByteStream) -> None:
        super().__init__(stream, encoding="latin1")
        self.stream = stream
        self.memo = _Memo()

    def find_class(self, module: str, name: str) -> Any:
        """Return a builder of data; RefusedError for any other name."""
        try:
            return BUILDERS[module, name]
        except KeyError:
            raise RefusedError(f"`{ascii(f'{module}.{name}')[1:-1][:100]}`") from None

    def load_build(self) -> None:
        """Complete an array or its type; nothing else has a state."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Unfinished):
            raise RefusedError("attributes of a plain object")
        target.result = self.stack[-1] = target.finish(state)

    def load_frame(self) -> None:
        """Skip the length of a frame: its content comes next in any case."""
        self.stream.take(8)

    def load_extension(self) -> None:
        """Refuse the process-wide registry of classes."""
        raise RefusedError("a class from the registry of copyreg")

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch.update(dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), load_extension))


def _in_place(opcode: bytes, layout: str, least: int) -> Callable[[DataUnpickler], None]:
    """Return a handler of ``opcode`` that gives a view of its argument from ``least`` bytes on."""
    small, prefix = pickle._Unpickler.dispatch[opcode[0]], struct.Struct(layout)

    def load_argument(unpickler: Any) -> None:
        stream: ByteStream = unpickler.stream
        (size,) = prefix.unpack(stream.take(prefix.size))
        if size >= least:
            unpickler.append(stream.take(size))
        else:
            stream.position -= prefix.size
            small(unpickler)

    return load_argument


DataUnpickler.dispatch.update(
    {
        opcode[0]: _in_place(opcode, layout, least)
        for opcode, layout, least in (
            (pickle.BINSTRING, "<i", LARGE),
            (pickle.BINBYTES, "<I", LARGE),
            (pickle.BINBYTES8, "<Q", LARGE),
            (pickle.BYTEARRAY8, "<Q", LARGE),
            (pickle.BINUNICODE, "<I", _LONG_TEXT),
            (pickle.BINUNICODE8, "<Q", _LONG_TEXT),
        )
    }
)
