"""The README.md of an export: what the model is, how well it does, what it is not for, how to load it."""

from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with jsonargparse

from psst import __version__
from psst.training import FewShotModule

CARD = "README.md"
# folders above a checkpoint: SEARCH/best.ckpt, RUN/checkpoints/NAME.ckpt, SEARCH/units/NAME/NAME.ckpt
_NEAR = 3
_OF_MACHINES = ("cache_dir", "num_workers", "download", "mirror", "device")
_PARTS = ("backbone", "main", "auxiliary", "optimizer", "scheduler")
_FILES = {
    "encoder": "`{file}` (`images`, uint8 `[n, C, H, W]`, to `features` `[n, D]`)",
    "classifier": "`{file}` (`support`, `one_hot`, float32 `[s, N]`, and `query` to `logits` `[q, N]`)",
}


def origin_of(checkpoint: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return ``config.yaml`` of a checkpoint's run, and ``metrics.json`` beside ``best.ckpt``, or nothing."""
    configs = [folder / "config.yaml" for folder in checkpoint.resolve().parents[:_NEAR]]
    config = next((path for path in configs if path.is_file()), None)
    metrics = checkpoint.with_name("metrics.json") if checkpoint.name == "best.ckpt" else None
    return _read(config), _read(metrics)


def model_card(
    module: FewShotModule, config: Mapping[str, Any], metrics: Mapping[str, Any], folder: Path, name: str
) -> str:
    """Return the text, in Markdown.

    `config` is that of the module's run and `metrics` that of the search whose best model it is, each empty
    where it is not known; `folder` holds the other files of the export, whose name is `name`.
    """
    channels, height, side = module.hparams["image_shape"]
    files = sorted([*folder.glob("*.onnx"), *folder.glob("*.pt2")])
    data = dict(config.get("data") or {})
    arguments = data.pop("init_args", None) or {}
    known = {key: value for key, value in arguments.items() if value is not None and key not in _OF_MACHINES}
    model = {part: module.hparams[part] for part in _PARTS if module.hparams.get(part)}
    steps = (config.get("trainer") or {}).get("max_steps")
    template = (resources("psst.deploy") / "card.md").read_text(encoding="utf-8")
    return template.format(
        name=name,
        version=__version__,
        width=module.encoder.num_features,
        files="; ".join(_FILES[file.stem].format(file=file.name) for file in files) or "no graphs",
        accuracy=_accuracy(metrics, known.get("evaluation") or {}),
        data=_yaml({**data, "init_args": known}) if data else "Not known: no config.yaml lay around it.\n",
        recipe=_yaml({"model": model, **({"trainer": {"max_steps": steps}} if steps else {})}),
        height=height,
        side=side,
        color="gray" if channels == 1 else "color",
        classes=len(module.classes) or "the",
        license=_license(module.hparams["backbone"]),
    )


def _accuracy(metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """What the search that chose the model says of it."""
    if not metrics:
        return "Not known: only `best.ckpt` of a search has its figures beside it. `psst test` measures them."
    name = metrics["handed_over"]
    found, gap = metrics["candidates"][name], metrics["differences"].get("handed_over - plain")
    rows = [
        (split, found[split], found.get(f"{split}_interval"))
        for split in ("validation", "test")
        if split in found
    ]
    rows += [("test, minus plain training", gap["test"], gap["interval"])] if gap else []
    episodes = ", ".join(f"{evaluation[key]}-{key}" for key in ("way", "shot") if key in evaluation)
    lines = [f"The model is `{metrics['model']}` of its search ({name}).", ""]
    lines += [f"| {episodes} | % | 95% interval |", "|---|---|---|"]
    for label, value, bounds in rows:
        around = f"{bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else ""
        lines.append(f"| {label} | {value:.2f} | {around} |")
    return "\n".join([*lines, "", metrics["interval"]])


def _license(backbone: Mapping[str, Any]) -> str:
    """Licenses of pretrained weights as far as their names tell; what was trained here is the owner's."""
    arguments = backbone.get("init_args", {})
    source = arguments.get("encoder") or arguments.get("checkpoint_path")
    name = str(arguments.get("encoder") or "").removeprefix("timm:")
    if arguments.get("pretrained"):  # a backbone of the user's own may call its networks by no name
        name = str(arguments.get("name") or backbone["class_path"])
    if not source and not name:
        return "trained from scratch on the data above, whose license counts"
    from timm.models import get_pretrained_cfg

    pretrained = get_pretrained_cfg("tf_efficientnet_lite0" if name == "efficientnet-lite0" else name)
    known = getattr(pretrained, "license", None) or "not known; ask where they come from"
    return f"those of `{Path(name or source).name}`, which it began with: {known}"


def _yaml(content: Any) -> str:
    return f"```yaml\n{yaml.safe_dump(content, sort_keys=False)}```\n"


def _read(path: Path | None) -> Mapping[str, Any]:
    """A YAML or JSON file; nothing where there is none, or it is damaged: a checkpoint is of use without."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path and path.is_file() else None
    except (ValueError, yaml.YAMLError):
        content = None
    return content if isinstance(content, Mapping) else {}
