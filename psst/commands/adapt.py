"""``psst adapt``: from a folder of labeled images to a classifier."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psst.commands.arguments import command

_TEXT = """\
FOLDER holds a folder a class, each with at least 3 images; twenty or thirty are a good start.

examples:
  psst adapt photos --encoder efficientnet-lite0
  psst adapt photos --encoder encoder --pattern '(.*)_' --output classifier"""


@command(_TEXT)
def main(
    folder: Path,
    *,
    encoder: str,
    output: Path = Path("classifier"),
    pattern: str | None = None,
    level: int | None = None,
    cache: Path = Path(".psst"),
) -> str:
    """Choose and train a classifier of the classes in a folder, on the features of a frozen encoder.

    Args:
        folder: With a folder a class.
        encoder: efficientnet-lite0, timm:NAME, NAME@FILE, or a folder that `psst export` wrote.
        output: Folder to make, for `psst classify`.
        pattern: Regular expression on the path whose first group names images that show the same thing.
        level: Folder that names them, 1 for the one that the image lies in.
        cache: Folder of decoded images and features.
    """
    from rich.console import Console

    from psst.commands.adapt_page import adapt_page
    from psst.deploy.adapt import adapt
    from psst.deploy.classifier import require_new
    from psst.files import atomic_folder
    from psst.images.sources.groups import ImageGroups

    if not folder.is_dir():
        raise FileNotFoundError(f"`{folder}` is no folder; give one that holds a folder of images a class.")
    require_new(output, "--output ")
    begun = time.monotonic()
    with atomic_folder(output) as place, _as_typed():  # one that cannot be made is said before the work
        groups = None if pattern is None and level is None else ImageGroups(pattern=pattern, level=level)
        classifier, choice = adapt(folder, encoder, groups, cache)
        classifier.save(place)
        alike = "images" if groups is None else f"{choice.n} groups"
        page = adapt_page(output, classifier, choice, alike, time.monotonic() - begun)
        page.write(place / "report.html")
    console = Console(file=(text := io.StringIO()), width=100, highlight=False, markup=False)
    told = f"{page.remark}\nConfused classes and the rest: {output / 'report.html'}\nNext: {page.commands[0]}"
    console.print("\n".join(page.sentences), page.tables[0], told, soft_wrap=True)
    return text.getvalue().rstrip()


@contextmanager
def _as_typed() -> Iterator[None]:
    """Name arguments as they are typed here, not as those of a data module."""
    try:
        yield
    except (OSError, ValueError) as error:
        text = str(error).replace("data.init_args.groups.", "--").replace("`data.init_args.root=", "`")
        text = text.replace("data.init_args.cache_dir", "--cache").replace("`encoder=", "`--encoder=")
        raise type(error)(text) from error
