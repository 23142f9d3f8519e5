"""all_runs.zip in the format of Lake et al., with drawings made here."""

import zipfile

from tests.datamodules.drawings import drawing


def answer(run, item):
    """Return the class, 1 to 20, that a test drawing, 1 to 20, belongs to."""
    return (7 * item + run) % 20 + 1


def write_runs(path, wrong=()):
    """Write the archive; the test drawings ``(run, item)`` in ``wrong`` look like the next class."""
    with zipfile.ZipFile(path, "w") as file:
        for run in range(1, 21):
            top = f"run{run:02}"
            lines = []
            for k in range(1, 21):
                label = answer(run, k)
                looks = label % 20 + 1 if (run, k) in wrong else label
                file.writestr(f"{top}/training/class{k:02}.png", drawing(k, 1))
                file.writestr(f"{top}/test/item{k:02}.png", drawing(looks, 1))
                lines.append(f"{top}/test/item{k:02}.png {top}/training/class{label:02}.png")
            file.writestr(f"{top}/class_labels.txt", "\n".join(lines) + "\n")
    return path
