"""One file over HTTP: continued where it was cut off, refused where it is not what was asked for."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from psst.images.files.content import is_web_page

_CHUNK = 1 << 16  # bytes
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of the body
_PAUSE = 0.5  # seconds before the second try; doubled for the third
_TRIES = 3  # in a row without a new byte
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)


class RefusedError(Exception):
    """A mirror does not give the file; the message is the reason, without the address."""


class CutError(Exception):
    """The connection ended before the file did."""


class Downloader:
    """A downloader for pooch that keeps what it has in ``part``, over cut connections and killed processes.

    Args:
        part: grows until the file is whole, then takes the name that pooch asks for.
        size: of the whole file in bytes, None if unknown.
        show: called with the bytes at hand and the bytes of the whole, None if the server does not say.

    Attributes:
        resumed: the result begins with bytes of an earlier call, from another mirror perhaps.
    """

    def __init__(self, part: Path, size: int | None, show: Callable[[int, int | None], None]) -> None:
        self.part, self.size, self.show = part, size, show
        self.resumed = False

    def __call__(self, url: str, output_file: Any, _pooch: Any = None) -> None:
        """Download ``url`` to ``output_file``.

        Raises:
            RefusedError: the server is not reached, or does not send the file.
            OSError: the disk is full or cannot be written.
        """
        from requests import RequestException

        self.resumed, failures = self._have() > 0, 0
        while True:
            before = self._have()
            try:
                self._continue(url)
                break
            except (CutError, RequestException) as error:
                have = self._have()
                failures = 1 if have > before else failures + 1
                if failures == _TRIES:
                    raise RefusedError(f"{_reason(error)}, {_TRIES} times in a row at byte {have}") from error
                time.sleep(_PAUSE * 2 ** (failures - 1))
        self.part.replace(Path(output_file))

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        """Ask for what is missing and append it; start anew if the server sends the whole."""
        import requests

        have = self._have()
        if have and have == self.size:
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "psst"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            start, total = _span(response.status_code, response.headers, have)
            if start is None:
                self.part.unlink()
                raise CutError("it has another file than the one begun")
            if have and start == total == have:  # whole, and not yet renamed when the process was killed
                return
            body = _pieces(response.raw)
            first = next(body, b"")
            _check(first if start == 0 else b"", total, self.size)
            self._require_room((total or self.size or 0) - start)
            self._append(chain([first], body), start, total)

    def _append(self, body: Iterable[bytes], start: int, total: int | None) -> None:
        self.resumed = self.resumed and start > 0
        whole = self.size if total is None else total
        with self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for piece in body:
                file.write(piece)
                self.show(file.tell(), whole)
                if whole is not None and file.tell() > whole:
                    raise RefusedError(f"sends more than the {whole} bytes of the file")
            os.fsync(file.fileno())
            if whole is not None and file.tell() < whole:
                raise CutError("the connection ended")

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free")


def _pieces(raw: Any) -> Iterator[bytes]:
    """Yield the body as it lies on the server: a .gz stays one, whatever the headers call it."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        yield from raw.stream(_CHUNK, decode_content=False)
    except ReadTimeoutError as error:
        raise CutError(f"no answer for {_TIMEOUT[1]:.0f} seconds") from error
    except HTTPError as error:
        raise CutError("the connection broke") from error


def _span(status: int, headers: Any, have: int) -> tuple[int | None, int | None]:
    """Return the first byte that the answer holds, None if it fits nowhere, and the size of the whole."""
    length = headers.get("Content-Length", "")
    if status == 200:
        return 0, int(length) if length.isdigit() else None
    if status == 206 and have:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != have:
            return None, None
        return have, int(match[2]) if match[2] != "*" else None
    if status == 416 and have:
        whole = headers.get("Content-Range", "").strip() == f"bytes */{have}"
        return (have, have) if whole else (None, None)
    raise RefusedError(f"answers with status {status}")


def _check(head: bytes, total: int | None, size: int | None) -> None:
    """Refuse a web page, and a file of another size.

    Args:
        head: how the file begins, empty if it was looked at before.
        total: bytes that the server announces, None if it does not.
        size: bytes that are expected, None if unknown.
    """
    if is_web_page(head):
        title = _TITLE.search(head)
        text = " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""
        called = f" titled '{text}'" if text else ""
        quota = any(word in head.lower() for word in (b"quota", b"too many users"))
        why = "; its download quota is used up, later it may work" if quota else ""
        raise RefusedError(f"sends a web page{called} instead of the file{why}")
    if total is not None and size is not None and total != size:
        raise RefusedError(f"offers {total} bytes, the file has {size}")


def _reason(error: Exception) -> str:
    """Return the innermost wording of a failed connection, without addresses of objects."""
    while True:
        inner = [
            cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, Exception)
        ]
        if not inner:
            break
        error = inner[-1]
    text = str(error)
    return text.rpartition("): ")[2] or type(error).__name__
