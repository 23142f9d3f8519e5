"""Make an environment in which learn2learn works beside psst, on top of the one that runs this.

python tests/learn2learn/environment.py DIR

DIR becomes a virtual environment that sees everything installed here (torch is not installed again), with
learn2learn 0.2.0 and what it needs installed over it. Its source distribution holds C files for Pythons up to
3.10; they are made anew with Cython here. A second call with nothing changed does nothing. Needs the network.
"""

import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

# learn2learn's setup.py builds with the setuptools that is installed; from 82 on it lacks pkg_resources
BUILD = ["cython>=3.0,<4", "setuptools>=70,<81", "wheel>=0.43"]
NEEDED = ["gym==0.26.2", "gym-notices>=0.0.4", "cloudpickle>=1.2", "requests>=2.28", "tqdm>=4.60"]
LEARN2LEARN = "learn2learn==0.2.0"


def main() -> int:
    """Make the environment that the first argument names."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: {sys.argv[0]} DIR\n")
        return 2
    folder, started = Path(sys.argv[1]).resolve(), time.monotonic()
    recipe = "\n".join([sys.version, sys.prefix, *BUILD, *NEEDED, LEARN2LEARN])
    stamp = folder / "recipe.txt"
    if stamp.is_file() and stamp.read_text() == recipe:
        return 0
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _see_through(python)
    _pip(python, *BUILD)
    _pip(python, *NEEDED, "--no-build-isolation", "--no-deps")
    # `build_ext` is what makes its setup.py run Cython; a word of setuptools', given through pip's new road
    options = ["--use-pep517", "--no-deps", "--no-build-isolation"]
    _pip(python, *options, "--config-settings=--global-option=build_ext", LEARN2LEARN)
    subprocess.run([python, "-W", "ignore", "-c", "import learn2learn, psst"], check=True)
    stamp.write_text(recipe)
    sys.stderr.write(f"{folder}: learn2learn is ready after {time.monotonic() - started:.0f} s\n")
    return 0


def _see_through(python: Path) -> None:
    """Let the environment find what is installed in this one, editable packages included."""
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", query], check=True, capture_output=True, text=True)
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    lines = [f"import site; site.addsitedir({place!r})" for place in places]
    Path(found.stdout.strip(), "underneath.pth").write_text("\n".join(lines) + "\n")


def _pip(python: Path, *arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *quiet, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
