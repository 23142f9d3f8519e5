"""Archives that no data set would be: each function writes one to a path."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile

GOOD = {"images/a.png": b"a" * 700, "images/b.png": b"b" * 9}


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    """Write pairs of a name or ZipInfo and bytes; names may come twice."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, data in members:
            if isinstance(member, str) and member in archive.namelist():
                archive.NameToInfo.pop(member)  # no warning
            archive.writestr(member, data)
    return path


def make_tar(path, members, mode="w", **options):
    """Write pairs of a name or TarInfo and bytes."""
    with tarfile.open(path, mode, **options) as archive:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def tar_link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def zip_encrypted(path):
    """Set the flag of encryption on the second of three members, in both of its headers."""
    make_zip(path, [("a.png", b"1"), ("secret.png", b"2"), ("c.png", b"3")])
    data = bytearray(path.read_bytes())
    for magic, name_at, flags_at in ((b"PK\3\4", 30, 6), (b"PK\1\2", 46, 8)):
        start = data.find(magic)
        while data[start + name_at : start + name_at + 10] != b"secret.png":
            start = data.find(magic, start + 4)
        data[start + flags_at] |= 1
    path.write_bytes(bytes(data))
    return path


def zip_overlapping(path, size=1 << 24, times=100):
    """Many names for one compressed block: only the directory grows (after D. Fifield, 2019)."""
    make_zip(path, [("0000.bin", bytes(size))])
    data = path.read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    record = data[start:end]
    records = b"".join(record.replace(b"0000.bin", b"%04d.bin" % i) for i in range(times))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, times, times, len(records), start, 0)
    path.write_bytes(data[:start] + records + tail)
    return path


def tar_with_size(path, size):
    """One header that claims ``size`` bytes, in the binary form that allows negative numbers."""
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = (
        size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    )
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(2048))
    return path


def tar_sparse(path):
    """A sparse file in GNU's old format: 0 bytes held for 1 TiB."""
    info = tarfile.TarInfo("holes.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))
    return path


def gzip_bomb(path, size):
    """Zeros in a tar: about 1000 to 1."""
    with gzip.open(path, "wb", compresslevel=9) as packed:
        info = tarfile.TarInfo("zeros.png")
        info.size = size
        packed.write(info.tobuf())
        for _ in range(size >> 20):
            packed.write(bytes(1 << 20))
        packed.write(bytes(1024))
    return path
