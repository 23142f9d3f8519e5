"""``psst doctor``: what this machine and this environment have, and what does not go together."""

import os
import platform
import shutil
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from psst.commands.arguments import command
from psst.process import has_fast_bf16

_TEXT = """\
Nothing is changed. The last line says whether anything is wrong.

example: psst doctor"""
_ROOM = 2 * 2**30  # bytes below which a store or a cache is likely to find no room


@command(_TEXT)
def main(*, cache: Path = Path(".psst")) -> str:
    """Tell versions, devices, memory and room, and name what is wrong.

    Args:
        cache: Folder of image stores and features.
    """
    if cache.exists() and not cache.is_dir():
        raise ValueError(f"`--cache {cache}` is a file; name a folder.")
    wrong: list[str] = []
    lines = [f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"]
    lines += [_packages(wrong), *_torch(wrong), _room(cache, wrong)]
    lines += [f"wrong: {text}" for text in wrong] or ["nothing is wrong"]
    return "\n".join(lines)


def _packages(wrong: list[str]) -> str:
    """Versions of what psst needs, held against the bounds that it states."""
    from packaging.requirements import Requirement

    told = []
    for requirement in map(Requirement, requires("psst-fewshot") or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing: pip install '{requirement}'")
            continue
        told.append(f"{requirement.name} {found}")
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}: pip install '{requirement}'")
    return ", ".join(told)


def _torch(wrong: list[str]) -> list[str]:
    """Whether torch and torchvision are a pair, and what torch computes on."""
    try:
        torch = import_module("torch")
        import_module("torchvision.ops")  # registers operators that a torch of another build does not know
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        wrong.append(
            f"torch and torchvision are no pair ({reason}); install both in one call from one registry: "
            "pip install --force-reinstall torch torchvision"
        )
        return []
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    low = "has" if has_fast_bf16("cpu") else "has no"
    return [
        f"torch computes on {', '.join(devices) or 'the CPU'} with {torch.get_num_threads()} threads; the "
        f"processor {low} fast bfloat16 (`--trainer.precision auto`)"
    ]


def _room(cache: Path, wrong: list[str]) -> str:
    """What the caches hold, and what is free there."""
    held = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    place = next(path for path in (cache.resolve(), *cache.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < _ROOM:
        wrong.append(f"{free / 2**30:.1f} GiB are free at `{place}`; give `cache_dir` on a larger disk")
    if not os.access(place, os.W_OK):
        wrong.append(f"`{place}` cannot be written to; give another `cache_dir`")
    return f"`{cache}` holds {held / 2**20:.0f} MiB, {free / 2**30:.0f} GiB are free"
