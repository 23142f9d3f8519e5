"""What a file is, told by its first bytes."""

import re

_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|\?xml)", re.I | re.S)
_KINDS = {
    b"PK\x03\x04": "a zip archive (or NumPy's npz)",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
    b"7z\xbc\xaf'\x1c": "an archive in 7z format",
    b"Rar!": "an archive in rar format",
    b"\x93NUMPY": "an array in NumPy's npy format",
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickle",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file",
    b"{": "JSON",
}


def kind_of(head: bytes) -> str | None:
    """Return in words what a file is that begins with ``head``, None if its first bytes do not tell."""
    if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):  # as failed downloads leave it
        return "a web page (a download that went wrong leaves one)"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
