"""Can a store serve the episodes asked for? Said before training, in the words of the configuration."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psst.episodes.apart import Apart
from psst.images.store import ImageStore

if TYPE_CHECKING:
    from psst.episodes.settings import Episodes, Evaluation

Range = int | tuple[int, int]  # a number, or the lowest and the highest


def bounds(value: Range) -> tuple[int, int]:
    """Return the lowest and the highest of a range."""
    return (value, value) if isinstance(value, int) else value


def _typed(value: object) -> str:
    """Return a value as it stands in a YAML file: a range in brackets."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


def check_numbers(values: Mapping[str, float | Range | None], least: Mapping[str, int]) -> None:
    """Raise ValueError if a value, or the lowest of a range, is below its entry in ``least``, or below 1."""
    for name, value in values.items():
        bound = least.get(name, 1)
        if value is not None and (value[0] if isinstance(value, tuple) else value) < bound:
            raise ValueError(f"`data.init_args.{name}={_typed(value)}` must be at least {bound}.")


def check_split(store: ImageStore, name: str, split: str, key: str, asked: "Episodes | Evaluation") -> None:
    """Hold the classes and the images of a split, and the groups they come in, against episodes.

    ``name`` is that of the data set, ``key`` what the user calls the settings, below ``data.init_args``.

    Raises:
        ValueError: the split has fewer classes than asked for, or a group of classes under 2; a class has too
            few images, or too few outside the support's groups.
    """
    _check_way(store, name, split, key, asked.way)
    n_shot, n_query = bounds(asked.shot)[1], asked.query
    settings = f"`data.init_args.{key}.shot={_typed(asked.shot)}` and `data.init_args.{key}.query={n_query}`"
    short: dict[str, str] = {}
    classes: list[dict[int, int]] = []
    for class_id in store.splits[split].tolist():
        ids = store.image_ids(class_id)
        classes.append(Apart.members(store.image_groups, ids) if store.n_image_groups else {})
        if len(ids) < n_shot + n_query:
            short[store.class_names[class_id]] = str(len(ids))
        elif classes[-1] and not Apart.can_part(classes[-1], n_shot, n_query):
            short[store.class_names[class_id]] = f"{len(ids)} in {len(classes[-1])} groups"
    if short:
        shown = ", ".join(f"`{class_name}` has {found}" for class_name, found in list(short.items())[:3])
        more = f" (and {len(short) - 3} more)" if len(short) > 3 else ""
        apart = ", support and queries of different groups" if "groups" in shown else ""
        raise ValueError(
            f"{settings} need {n_shot + n_query} images a class{apart}; in split '{split}' of {name} "
            f"{shown}{more}; lower one of the two, or add images."
        )
    if store.n_image_groups and Apart.sides(classes, n_shot, n_query) is None:
        raise ValueError(
            f"{settings} cannot be served by the classes of split '{split}' of {name}, whose groups of "
            "images lie in several classes: no way was found to give the support of every class out of some "
            "groups and its queries out of others; lower one of them, or leave `data.init_args.groups` out."
        )


def _check_way(store: ImageStore, name: str, split: str, key: str, way: Range) -> None:
    needed, groups, n_classes = bounds(way)[1], store.class_groups(split), len(store.splits[split])
    if "all" in groups and n_classes < needed:
        advice = f"lower `data.init_args.{key}.way`" if n_classes >= 2 else "add classes to it"
        raise ValueError(
            f"`data.init_args.{key}.way={_typed(way)}` needs {needed} classes, split '{split}' of {name} "
            f"has {n_classes}; {advice}."
        )
    for group, classes in groups.items():
        if len(classes) < 2:
            raise ValueError(
                f"group '{group}' of split '{split}' of {name} has {len(classes)} class, an episode needs 2; "
                "add classes to it or merge it with another group."
            )


def check_choices(batches: str, query_balance: float | None) -> None:
    """Raise ValueError if a choice of training batches is none, or two of them contradict each other."""
    if batches not in ("episodes", "classes", "mixed"):
        raise ValueError(f"`data.init_args.batches={batches}` must be `episodes`, `classes` or `mixed`.")
    if batches == "classes" and query_balance is not None:
        raise ValueError(
            f"`data.init_args.episodes.balance={query_balance}` is of episodes; leave it out, or set "
            "`data.init_args.batches` to `episodes` or `mixed`."
        )


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
