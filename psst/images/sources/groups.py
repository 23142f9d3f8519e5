"""Images that show the same thing: frames of a track, shots of a burst, pictures of a patient."""

import re
from dataclasses import dataclass

from psst.images.sources.image_tree import Parts


@dataclass(frozen=True)
class ImageGroups:
    r"""Where the groups of images are named; exactly one of the three is set.

    Images with one group's name belong together, also across classes: they never stand on both sides of a
    split, nor as support and query in one episode. An image without a name stands for itself.

    Args:
        column: of the csv lists of images, see `read_rows`; an empty cell is no name.
        pattern: regular expression, searched in the path of an image below the root; what its first group
            matches is the name. ``(.*)_`` makes ``stop/track3`` of ``stop/track3_17.png``, so that equal
            names in two classes are two groups; ``([^/]*)_`` makes ``track3``, in whatever class.
        level: folder that names the group: 1 is the one that an image lies in, 2 the one above it. The class
            is named by the other folders: ``stop`` for ``stop/track3/17.png`` with level 1.

    Raises:
        ValueError: none or several are set, or one has a value that names no groups.

    Example:
        >>> ImageGroups(pattern="(.*)_").of_path("stop/track3_17.png")
        'stop/track3'
        >>> ImageGroups(level=2).of_folder(("patient7", "melanoma"))
        (('melanoma',), 'patient7')
    """

    column: str | None = None
    pattern: str | None = None
    level: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                f"`data.init_args.groups={given}` must set one of `column` (of csv lists), `pattern` (a "
                "regular expression with a group) and `level` (1 for the folder an image lies in)."
            )
        if self.level is not None and self.level < 1:
            raise ValueError(f"{self} must be at least 1, the folder an image lies in.")
        try:
            named = self.pattern is None or re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"{self} is no regular expression: {error}.") from error
        if not named:
            way_out = "put the part that images of one group share into parentheses: `(.*)_`"
            raise ValueError(f"{self} has no group; {way_out}.")

    def __str__(self) -> str:
        """Return it as the user has set it."""
        way, value = next((name, value) for name, value in vars(self).items() if value is not None)
        return f"`data.init_args.groups.{way}={value}`"

    def of_path(self, path: str) -> str | None:
        """Return the group that the `pattern` finds in the path of an image; None without one."""
        match = None if self.pattern is None else re.search(self.pattern, path)
        return match[1] or None if match else None

    def of_folder(self, place: Parts) -> tuple[Parts, str | None]:
        """Divide the folder of images into that of the class and the group that `level` names, or None."""
        if self.level is None or not 1 < len(place) >= self.level:
            return place, None
        at = len(place) - self.level
        return (*place[:at], *place[at + 1 :]), "/".join(place[: at + 1])
