"""Published facts about data sets, mostly which class trains, validates or tests; kept in ``splits/``."""

from importlib.resources import files


def published_rows(name: str) -> list[list[str]]:
    """Return the words of each line of ``splits/<name>``; lines that begin with # say where it is from."""
    text = (files("psst.images.sources") / "splits" / name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]
