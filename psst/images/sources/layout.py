"""What data sets are published with: layouts on disk, of which one lies below a path, and class splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from psst.images.files.paths import require_folder
from psst.images.source import Source


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    Attributes:
        expects: what lies below the root, in words, for messages: "train.csv, val.csv, test.csv and images".
        sees: returns what it found below a folder, in words, or None if this layout is not there; looks at
            names, and at the first bytes of files where names do not tell.
        source: makes the source of a root in this layout.
    """

    expects: str
    sees: Callable[[Path], str | None]
    source: Callable[[Path], Source]

    @staticmethod
    def choose(root: str | Path, layouts: "Sequence[Layout]", data_set: str) -> "Layout":
        """Return the first layout that sees something below ``root``.

        Raises:
            FileNotFoundError: ``root`` does not exist, is empty, or is in none of the layouts.
            NotADirectoryError: ``root`` is a file.
        """
        folder = require_folder(root)
        for layout in layouts:
            if layout.sees(folder) is not None:
                return layout
        found = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        wanted = "; or ".join(layout.expects for layout in layouts)
        raise FileNotFoundError(
            f"`data.init_args.root={root}` holds {shown}; {data_set} needs one of: {wanted}. "
            "`psst data info PATH` says what a path looks like."
        )


def published_rows(name: str) -> list[list[str]]:
    """Return the words of each line of ``splits/<name>``; lines that begin with # say where it is from."""
    text = (files("psst.images.sources") / "splits" / name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]
