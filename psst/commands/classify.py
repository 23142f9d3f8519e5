"""``psst classify``: the class of each image, from a few examples of every class."""

from contextlib import nullcontext
from pathlib import Path

from psst.commands.arguments import command

_TEXT = """\
EXAMPLES is a folder with a folder a class, or what `psst adapt` or FewShotClassifier.save wrote.

example: psst classify examples new_photos --encoder encoder --output classes.csv"""


@command(_TEXT)
def main(
    examples: Path,
    images: Path,
    *,
    encoder: str | None = None,
    output: Path | None = None,
    sheet: Path | None = None,
    unknown: float = 0.0,
) -> str:
    """Classify images by a few examples of each class.

    Args:
        examples: Of every class, or a saved classifier.
        images: A file, or a folder and all folders in it.
        encoder: Folder that `psst export` wrote, or another as for `psst adapt`; a saved classifier has one.
        output: A .csv or .json file to write; the table is printed in any case.
        sheet: A .png or .jpg file to draw the least certain images on, with the examples most like each.
        unknown: An image whose largest probability is below it is called unknown.
    """
    from psst.deploy import FeatureClassifier, FewShotClassifier, image_files
    from psst.deploy.adapt import frozen_encoder
    from psst.files import atomic_path, write_rows
    from psst.images.files.paths import printable

    if output is not None and output.suffix not in (".csv", ".json"):
        raise ValueError(f"`--output {output}` must end in .csv or .json.")
    if sheet is not None and sheet.suffix not in (".png", ".jpg"):
        raise ValueError(f"`--sheet {sheet}` must end in .png or .jpg.")
    if not 0 <= unknown < 1:
        raise ValueError(f"`--unknown {unknown}` must be a probability in [0, 1).")
    if not examples.is_dir():
        raise FileNotFoundError(f"`{examples}` is no folder; give a saved classifier, or a folder a class.")
    files = image_files(images)
    if (examples / "classifier.json").is_file():
        if encoder is not None:
            raise ValueError(f"`--encoder {encoder}`: the classifier `{examples}` has its own; leave it out.")
        classifier = FewShotClassifier.from_pretrained(examples)
        classifier.unknown = unknown or classifier.unknown
    elif encoder is None:
        raise ValueError(
            f"`{examples}` is no saved classifier: name the encoder of these examples with `--encoder`, a "
            "folder that `psst export` wrote, or efficientnet-lite0."
        )
    elif Path(encoder).is_dir():
        classifier = FewShotClassifier(encoder, unknown=unknown).fit(examples)
    else:
        pretrained = frozen_encoder(encoder)
        classifier = FewShotClassifier(pretrained, FeatureClassifier(), unknown=unknown).fit(examples)
    with atomic_path(output) if output else nullcontext(Path()) as place:  # said before the work
        probabilities = classifier.predict_proba(files)
        rows = [
            {"image": printable(str(path)), "class": str(name), "probability": round(float(row.max()), 4)}
            for path, name, row in zip(files, classifier.named(probabilities), probabilities, strict=True)
        ]
        if output:
            write_rows(place, rows)
    width = max(len(row["image"]) for row in rows)  # type: ignore[arg-type]  # a text
    lines = [f"{row['image']:<{width}}  {row['class']}  {row['probability']:.2f}" for row in rows]
    calibrated = "" if classifier.temperature_ else ", uncalibrated"
    counts = f"{len(rows)} images, {len(classifier.classes_)} classes of {classifier.n_examples_} examples"
    lines.append(f"{counts}; the last column is the probability{calibrated}")
    if sheet is not None:
        from psst.deploy.sheet import draw_sheet

        lines.append(draw_sheet(sheet, classifier, files, probabilities))
    return "\n".join(lines)
