"""Files of data sets from the network: several mirrors, resumed, checked, whole or absent."""

import errno
import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from psst.images.files.alone import alone, forget
from psst.images.files.transfer import Downloader, RefusedError

_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_Show = Callable[[int, int | None], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file that a data set needs.

    Attributes:
        name: its name in the user's folder, without folders of its own.
        urls: where it lies, http or https; tried in order. Empty if nobody may offer it.
        hash: known hash, ``"sha256:..."`` or ``"md5:..."``.
        size: in bytes; None if unknown.

    Raises:
        ValueError: one of them does not follow its law.
    """

    name: str
    urls: tuple[str, ...]
    hash: str
    size: int | None = None

    def __post_init__(self) -> None:
        if self.name in ("", "..") or self.name != Path(self.name).name or "\\" in self.name:
            raise ValueError(f"`name={self.name}` must be a plain file name.")
        if not _HASH.fullmatch(self.hash):
            raise ValueError(f"`hash={self.hash}` of `{self.name}` must be sha256: or md5: and hex digits.")
        for url in self.urls:
            _require_http("urls", url)

    def __str__(self) -> str:
        size = f"{self.size} bytes, " if self.size is not None else ""
        return f"`{self.name}` ({size}{self.hash})"


def fetch(
    files: Sequence[RemoteFile], folder: Path, mirror: str | None = None, manual: str = ""
) -> list[Path]:
    """Have ``files`` in ``folder``, whole and with the known hashes; download those that are missing.

    A download goes to a hidden folder beside its final name and is renamed when its hash is right; what a cut
    connection or a killed process left there is continued. Two processes may start at once.

    Args:
        files: what is needed.
        folder: the user's ``data.init_args.root``; made if missing.
        mirror: base URL of a copy, tried first as ``{mirror}/{name}``.
        manual: how to get the files by hand, sentences for the message when every mirror fails.

    Returns:
        Their paths, in the order of ``files``.

    Raises:
        ValueError: a file is there with another hash (it is left alone), or ``mirror`` is no base URL.
        ConnectionError: no mirror gave a file; the message lists each with its reason, and the way by hand.
        OSError: the folder cannot be written, or the disk is full; a part is kept and continued next time.
    """
    folder = Path(folder).expanduser()
    if mirror is not None:
        _require_http("data.init_args.mirror", mirror)
    missing = [file for file in files if not _is_there(folder / file.name, file)]
    failed: dict[RemoteFile, list[str]] = {}
    for file in missing:
        first = [f"{mirror.rstrip('/')}/{quote(file.name)}"] if mirror else []
        with _explained(file, folder):
            reasons = _get(file, [*first, *file.urls], folder)
        if reasons is not None:
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


def _get(file: RemoteFile, urls: Sequence[str], folder: Path) -> list[str] | None:
    """Download ``file`` unless another process did meanwhile; return why each of ``urls`` failed."""
    path, work = folder / file.name, folder / f".{file.name}.download"
    lock = folder / f".{file.name}.lock"
    work.mkdir(parents=True, exist_ok=True)
    with alone(lock, f"`{path}` is being downloaded"):
        reasons = []
        if not _is_there(path, file):
            work.mkdir(exist_ok=True)  # who held the lock before may have removed it
            with _progress(file.name) as show:
                for url in urls:
                    try:
                        _retrieve(url, file, work, show).replace(path)
                        break
                    except RefusedError as error:
                        reasons.append(f"{_without_password(url)}: {error}")
        done = path.is_file()
        if done or not (work / f"{file.name}.part").exists():
            shutil.rmtree(work, ignore_errors=True)
            forget(lock)
    return None if done else reasons


def _retrieve(url: str, file: RemoteFile, work: Path, show: _Show) -> Path:
    """Have pooch download ``url`` into ``work`` and check the hash; once more if a part was mixed in."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # it announces each file with the name of the hidden folder
    for last in (False, True):
        downloader = Downloader(work / f"{file.name}.part", file.size, show)
        try:
            return Path(pooch.retrieve(url, file.hash, file.name, work, downloader=downloader))
        except ValueError as error:
            if last or not downloader.resumed:
                got = re.search(r"but got (\w+)", str(error))
                found = f"{file.hash.partition(':')[0]}:{got[1]}" if got else "another hash"
                raise RefusedError(f"sends another file, {found}") from error
    raise AssertionError("the second try returns or raises")


@contextmanager
def _progress(name: str) -> Iterator[_Show]:
    """Give a function that moves a bar on stderr, with the time left, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _explained(file: RemoteFile, folder: Path) -> Iterator[None]:
    """Say what a full disk or a folder that cannot be written means for the caller."""
    try:
        yield
    except OSError as error:
        kept = "Nothing was changed."
        if error.errno in _NO_ROOM:
            law = "there is no room for it; free some space, or set `data.init_args.root` to a larger disk"
            kept = "What was downloaded is kept and continued next time."
        elif error.errno in _NOT_WRITABLE:
            law = "the folder cannot be written; set `data.init_args.root` to one that can"
        elif error.errno in _NO_FOLDER:
            law = "it must be a folder; set `data.init_args.root` to one"
        else:
            raise
        text = f"{file} cannot be saved in `data.init_args.root={folder}` ({error.strerror}): {law}. {kept}"
        raise OSError(error.errno, text) from error


def _advice(failed: dict[RemoteFile, list[str]], folder: Path, manual: str) -> str:
    lines = [f"files are missing in `data.init_args.root={folder}`, and no address gave them:"]
    for file, reasons in failed.items():
        lines.append(f"- {file}")
        lines += [f"    {reason}" for reason in reasons or ["it has no public address"]]
    lines.append(f"Get them by hand and put them into `{folder}` under these names. {manual}".rstrip())
    lines.append(
        "Or set `data.init_args.mirror` to the base URL of a copy that you trust; hashes are checked."
    )
    return "\n".join(lines)


def _require_http(argument: str, url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(
            f"`{argument}={_without_password(url)}` must begin with http:// or https:// and a host; files of "
            "your own go straight into `data.init_args.root`."
        )


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)
