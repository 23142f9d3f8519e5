"""Can a store serve the episodes asked for? Said before training, in the words of the configuration."""

import numpy as np
import numpy.typing as npt

from psst.images.store import ImageStore

Classes = npt.NDArray[np.int64]


def class_groups(store: ImageStore, split: str) -> dict[str, Classes]:
    """Return the groups of ``split`` that episodes are drawn within; one called "all" if there are none."""
    return store.groups.get(split) or {"all": store.splits[split]}


def check_way(store: ImageStore, name: str, split: str, way: tuple[str, int]) -> None:
    """Raise ValueError if ``split`` has fewer classes than ``way``, (name, value), or a group under 2."""
    argument, value = way
    groups = class_groups(store, split)
    n_classes = len(store.splits[split])
    if "all" in groups and n_classes < value:
        advice = f"lower `data.init_args.{argument}`" if n_classes >= 2 else "add classes to it"
        raise ValueError(
            f"`data.init_args.{argument}={value}` needs {value} classes, split '{split}' of {name} has "
            f"{n_classes}; {advice}."
        )
    for group, classes in groups.items():
        if len(classes) < 2:
            raise ValueError(
                f"group '{group}' of split '{split}' of {name} has {len(classes)} class, an episode needs 2; "
                "add classes to it or merge it with another group."
            )


def check_images(
    store: ImageStore, name: str, split: str, shot: tuple[str, int], query: tuple[str, int]
) -> None:
    """Raise ValueError if a class of ``split`` has too few images; ``shot``, ``query`` are (name, value)."""
    needed = shot[1] + query[1]
    short = {
        store.class_names[class_id]: count
        for class_id in store.splits[split].tolist()
        if (count := len(store.image_ids(class_id))) < needed
    }
    if short:
        shown = ", ".join(f"`{class_name}` has {count}" for class_name, count in list(short.items())[:3])
        more = f" (and {len(short) - 3} more)" if len(short) > 3 else ""
        raise ValueError(
            f"`data.init_args.{shot[0]}={shot[1]}` and `data.init_args.{query[0]}={query[1]}` need {needed} "
            f"images a class; in split '{split}' of {name} {shown}{more}; "
            "lower one of the two, or add images."
        )
