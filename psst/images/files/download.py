"""Files of data sets from the network: several mirrors, resumed, checked, whole or absent."""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from psst.files import explained
from psst.images.files.paths import kind_of
from psst.waiting import alone, bar

_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)
_Show = Callable[[int, int | None], None]
_CHUNK = 1 << 16  # bytes
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of the body
_PAUSE = 0.5  # seconds before the second try; doubled for the third
_TRIES = 3  # in a row without a new byte


class _RefusedError(Exception):
    """A mirror does not give the file; the message is the reason, without the address."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that a data set needs.

    Example:
        ``fetch([RemoteFile("a.zip", ("https://example.org/a.zip",), "md5:" + 32 * "0")], Path("data"))``
    """

    name: str  # in the user's folder, without folders of its own
    urls: tuple[str, ...]  # http or https; tried in order. Empty if nobody may offer it
    hash: str  # "sha256:..." or "md5:..."
    size: int | None = None  # in bytes

    def __str__(self) -> str:
        size = f"{self.size} bytes, " if self.size is not None else ""
        return f"`{self.name}` ({size}{self.hash})"


def fetch(
    files: Sequence[RemoteFile], folder: Path, mirror: str | None = None, manual: str = ""
) -> list[Path]:
    """Have ``files`` in ``folder``, whole and with the known hashes; download those that are missing.

    A download goes to a hidden file beside its final name and is renamed when its hash is right; what a cut
    connection or a killed process left there is continued. Two processes may start at once. ``mirror``, the
    base URL of a copy, is tried first; ``manual`` says how to get the files by hand when all fail, which is a
    ConnectionError. ValueError if a file is there with another hash: it is left alone.
    """
    folder = Path(folder).expanduser()
    base = urlsplit(mirror or "http://none")
    if mirror is not None and (base.scheme not in ("http", "https") or not base.hostname):
        raise ValueError(
            f"`data.init_args.mirror={_without_password(mirror)}` must begin with http:// or https:// and a "
            "host; files of your own go straight into `data.init_args.root`."
        )
    missing = [file for file in files if not _is_there(folder / file.name, file)]
    failed: dict[RemoteFile, list[str]] = {}
    for file in missing:
        first = [f"{mirror.rstrip('/')}/{quote(file.name)}"] if mirror else []
        with explained(
            f"{file} cannot be saved in `data.init_args.root={folder}`",
            "free some space, or set `data.init_args.root` to a folder that you may write. What was "
            "downloaded is kept and continued next time.",
        ):
            reasons = _get(file, [*first, *file.urls], folder)
        if not (folder / file.name).is_file():
            failed[file] = reasons
    if failed:
        raise ConnectionError(_advice(failed, folder, manual))
    return [folder / file.name for file in files]


def _is_there(path: Path, file: RemoteFile) -> bool:
    if not path.exists():
        return False
    found = _hash(path, file.hash) if path.is_file() else "a folder"
    if found == file.hash.lower():
        return True
    size = f" of {path.stat().st_size} bytes" if path.is_file() else ""
    raise ValueError(
        f"`{path}`{size} is not the file that is needed: its hash must be {file.hash} and is {found}. "
        "It was left alone; move it away, or delete it, and it is downloaded again."
    )


def _hash(path: Path, like: str) -> str:
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _get(file: RemoteFile, urls: Sequence[str], folder: Path) -> list[str]:
    """Download ``file`` unless another process did meanwhile; return why ``urls`` failed."""
    path, part, lock = (folder / name for name in (file.name, f".{file.name}.part", f".{file.name}.lock"))
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    with alone(lock, f"`{path}` is being downloaded"), bar(file.name, in_bytes=True) as show:
        for url in () if _is_there(path, file) else urls:
            try:
                _retrieve(url, file, part, show)
                part.replace(path)
                break
            except _RefusedError as error:
                reasons.append(f"{_without_password(url)}: {error}")
        if not part.exists():
            with suppress(OSError):  # held or not; who waits for it makes a new one
                lock.unlink()
    return reasons


def _retrieve(url: str, file: RemoteFile, part: Path, show: _Show) -> None:
    """Let ``part`` grow until it is whole, over cut connections; begin anew if what was there is wrong."""
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    fresh, failures = not _have(part), 0
    if not fresh and _hash(part, file.hash) == file.hash.lower():  # killed before it was renamed
        return
    while True:
        before = _have(part)
        try:
            _continue(url, part, file.size, show)
        except (RequestException, HTTPError) as error:
            have = _have(part)
            fresh = fresh or not have
            failures = 1 if have > before else failures + 1
            if failures == _TRIES:
                raise _RefusedError(f"{_reason(error)}, {_TRIES} times in a row at byte {have}") from error
            time.sleep(_PAUSE * 2 ** (failures - 1))
            continue
        if (found := _hash(part, file.hash)) == file.hash.lower():
            return
        part.unlink()
        if fresh:
            raise _RefusedError(f"sends another file, {found}")
        fresh = True  # the bytes at hand may have been of another mirror


def _have(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continue(url: str, part: Path, size: int | None, show: _Show) -> None:
    """Ask for what is missing and append it, or take all if the server sends all."""
    import requests

    have = _have(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "psst"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        status, span = response.status_code, response.headers.get("Content-Range", "").strip()
        rest = re.fullmatch(rf"bytes {have}-\d+/(\d+|\*)", span) if status == 206 else None
        if have and status in (206, 416) and rest is None:
            part.unlink()
            raise requests.ConnectionError("it has another file than the one begun")
        if status != 200 and rest is None:
            raise _RefusedError(f"answers with status {status}")
        start, length = (have, rest[1]) if rest else (0, response.headers.get("Content-Length", ""))
        total = int(length) if length.isdigit() else None
        whole = size if total is None else total
        # as it lies on the server: a .gz stays one, whatever the headers call it
        body = response.raw.stream(_CHUNK, decode_content=False)
        first = next(body, b"")
        if start == 0 and "web page" in (kind_of(first) or ""):
            title = _TITLE.search(first)
            text = " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""
            raise _RefusedError(f"sends a web page titled '{text}' instead of the file")
        if total is not None and size is not None and total != size:
            raise _RefusedError(f"offers {total} bytes, the file has {size}")
        free = shutil.disk_usage(part.parent).free
        if free < (whole or 0) - start:
            raise OSError(errno.ENOSPC, f"{(whole or 0) - start} bytes are needed, {free} are free")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.write(first)
            for piece in body:
                file.write(piece)
                show(file.tell(), whole)
                if whole is not None and file.tell() > whole:
                    raise _RefusedError(f"sends more than the {whole} bytes of the file")
            os.fsync(file.fileno())
            if whole is not None and file.tell() < whole:
                raise requests.ConnectionError("the connection ended")


def _reason(error: BaseException) -> str:
    """Return the innermost wording of a failed connection, without addresses of objects."""
    while inner := [x for x in (getattr(error, "reason", None), *error.args) if isinstance(x, Exception)]:
        error = inner[-1]
    text = str(error).rpartition("): ")[2]
    return "the connection broke" if "IncompleteRead" in text else text or type(error).__name__


def _advice(failed: dict[RemoteFile, list[str]], folder: Path, manual: str) -> str:
    lines = [f"files are missing in `data.init_args.root={folder}`, and no address gave them:"]
    for file, reasons in failed.items():
        lines.append(f"- {file}")
        lines += [f"    {reason}" for reason in reasons or ["it has no public address"]]
    by_hand = f"Get them by hand and put them into `{folder}` under these names. {manual}".rstrip()
    mirror = "Or set `data.init_args.mirror` to the base URL of a copy that you trust; hashes are checked."
    return "\n".join([*lines, by_hand, mirror])


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)
