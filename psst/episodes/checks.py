"""What a data module is asked for, held against what there is, in the words of the configuration."""

from collections.abc import Mapping

Range = int | tuple[int, int]  # a number, or the lowest and the highest


def bounds(value: Range) -> tuple[int, int]:
    """Return the lowest and the highest of a range."""
    low, high = value if isinstance(value, (list, tuple)) else (value, value)
    return low, high


def typed(value: object) -> str:
    """Return a value as it stands in a YAML file: a range in brackets."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


def check_numbers(values: Mapping[str, Range], least: Mapping[str, int]) -> None:
    """Raise ValueError if a value, or the lowest of a range, is below its entry in ``least``, or below 1."""
    for name, value in values.items():
        bound = least.get(name, 1)
        if bounds(value)[0] < bound:
            raise ValueError(f"`data.init_args.{name}={typed(value)}` must be at least {bound}.")


def check_download(name: str, download: bool, mirror: str | None, offered: bool, manual: str) -> None:
    """Raise ValueError if a download is asked for that nobody offers, or a mirror without a download."""
    if download and not offered:
        advice = manual or "put its files below `data.init_args.root` by hand."
        raise ValueError(f"`data.init_args.download=true`: {name} has nothing to download; {advice}")
    if mirror is not None and not download:
        raise ValueError(f"`data.init_args.mirror={mirror}` needs `data.init_args.download=true`.")


def check_channels(channels: int) -> int:
    """Return ``channels``, 1 or 3; raise ValueError for anything else."""
    if channels not in (1, 3):
        raise ValueError(f"`data.init_args.channels={channels}` must be 1 (grayscale) or 3 (color).")
    return channels
