"""``psst predict``: the features of any folder of images, beside the names of their files."""

from pathlib import Path

from psst.commands.arguments import command

_TEXT = """\
examples:
  psst predict runs/quickstart/best.ckpt photos --output features.csv
  psst predict encoder photos --output features.npz      arrays `images` [n] and `features` [n, D]

With the options of a run it saves the features of that run's test images:
  psst predict --config RUN/config.yaml --ckpt_path RUN/checkpoints/NAME.ckpt"""
_OF_RUNS = ("--config", "-c", "--ckpt_path")


def main(words: list[str]) -> int:
    """Embed a folder of images, or the test images of a run."""
    if any(word.partition("=")[0] in _OF_RUNS for word in words):
        from psst.commands import run

        return run.main(words)
    return _predict(words)


@command(_TEXT)
def _predict(model: Path, images: Path, *, output: Path = Path("features.csv")) -> str:
    """Write the features of every image of a folder, and of those in it, with the path of its file.

    Args:
        model: A checkpoint, a folder that `psst export` wrote, or a saved classifier.
        images: A file, or a folder and all folders in it; labeled or not.
        output: A .csv, .json or .npz file to write.
    """
    import numpy as np
    import torch

    from psst.deploy import embed_images, image_files, load_encoder
    from psst.files import atomic_path, write_rows
    from psst.images.files.paths import printable
    from psst.tasks.finished import read_finished

    if output.suffix not in (".csv", ".json", ".npz"):
        raise ValueError(f"`--output {output}` must end in .csv, .json or .npz.")
    encoder = load_encoder(model) if model.is_dir() else read_finished(model).encoder
    files = image_files(images)
    names = [printable(str(path)) for path in files]
    with atomic_path(output) as place:  # one that cannot be written is said before the work
        features = embed_images(encoder.to("cuda" if torch.cuda.is_available() else "cpu"), files)
        columns = [f"f{i}" for i in range(features.shape[1])]
        each = zip(names, features.tolist(), strict=True)
        if output.suffix == ".npz":
            np.savez(place, images=np.array(names), features=features)
        elif output.suffix == ".json":
            write_rows(place, [{"image": name, "features": row} for name, row in each])
        else:
            write_rows(place, [{"image": name, **dict(zip(columns, row, strict=True))} for name, row in each])
    return f"{output}: {len(columns)} features of each of {len(files)} images, beside their paths"
