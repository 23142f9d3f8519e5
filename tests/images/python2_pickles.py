"""Pickles as Python 2 and its NumPy write them, in protocol 2."""

import struct

import numpy as np


def python2(value):
    """Pickle in protocol 2 as Python 2 does: text and arrays' data are its byte strings."""
    return b"\x80\x02" + _old(value) + b"."


def _old(value):
    match value:
        case str() | bytes():
            data = value.encode("latin1") if isinstance(value, str) else value
            short = len(data) < 256
            return (b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data
        case bool() | None:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"J" + struct.pack("<i", value)
        case tuple():
            return b"(" + b"".join(map(_old, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_old, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_old(key) + _old(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            call = _old_global("numpy.core.multiarray", "_reconstruct")
            begin = call + _old_global("numpy", "ndarray") + b"K\x00\x85U\x01b\x87R"
            order = "|" if value.dtype.itemsize == 1 else value.dtype.str[0]
            kind = _old_global("numpy", "dtype") + _old((value.dtype.str[1:], 0, 1)) + b"R"
            kind += _old((3, order, None, None, None, -1, -1, 0)) + b"b"
            fortran = not value.flags.c_contiguous
            state = b"(" + _old(1) + _old(value.shape) + kind + _old(fortran)
            return begin + state + _old(value.tobytes("F" if fortran else "C")) + b"tb"
    raise TypeError(value)


def _old_global(module, name):
    return f"c{module}\n{name}\n".encode()
