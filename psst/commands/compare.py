"""``psst compare A B``: paired difference of two tests."""

from pathlib import Path

from psst.commands.arguments import command

_NAME = "test_scores.npz"
_TEXT = """\
Both must have been tested on the same episodes: same data, same evaluation settings, same seed.

example: psst compare runs/quickstart/units/plain-soup-of-3 runs/quickstart/units/soup-of-3"""


@command(_TEXT)
def main(a: Path, b: Path) -> str:
    """Paired difference A - B of per-episode test accuracies.

    Args:
        a: A test_scores.npz, or a folder that holds one.
        b: As A.
    """
    from psst.evaluation import class_difference, load_scores

    first, second = (load_scores(_scores_file(path)) for path in (a, b))
    if set(first) != set(second):
        raise ValueError(
            f"`{a}` was tested on {sorted(first)} and `{b}` on {sorted(second)}; "
            "only tests of the same groups can be compared."
        )
    lines = [f"A = {a}", f"B = {b}"]
    for group in first:
        difference = class_difference({group: first[group]}, {group: second[group]})
        alone = f"+- {100 * difference.episode_half_width:.2f} over the draw of episodes alone"
        lines += [f"{group}:", f"  A      {first[group]}", f"  B      {second[group]}"]
        lines += [f"  A - B  {difference}, 95 % interval; {alone}"]
    lines.append(
        "The intervals do not cover the draw of training runs: a claim between methods needs several seeds."
    )
    return "\n".join(lines)


def _scores_file(path: Path) -> Path:
    if path.is_file():
        return path
    if (path / _NAME).is_file():
        return path / _NAME
    if not path.exists():
        raise FileNotFoundError(f"`{path}` does not exist; name a {_NAME} or a folder that holds one.")
    found = sorted(str(file.parent) for file in path.rglob(_NAME))
    hint = f"there is one in: {', '.join(found[:8])}" if found else "write one with `psst test`"
    raise FileNotFoundError(f"`{path}` holds no {_NAME}; {hint}.")
