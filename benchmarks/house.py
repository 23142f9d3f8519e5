"""The size of the house: lines by room, public names, cycles, medians. Exits 1 above a limit.

python benchmarks/house.py [FOLDER]
"""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path
from statistics import median

LIMITS = {  # what no change may pass: it is lowered as the house gets smaller
    "images + datamodules": 4945,
    "episodes": 1147,
    "training + evaluation": 1408,
    "search": 4253,
    "pareto + callbacks + balancers": 3539,
    "all lines": 22966,
    "public names": 435,
    "cycles between rooms": 0,
    "lines of a function, median": 8,
    "lines of a module, median": 94,
}
GOALS = {
    "images + datamodules": 5500,
    "episodes": 1200,
    "training + evaluation": 1500,
    "all lines": 19500,
    "search": 3500,
}
GOALS |= {"public names": 449, "lines of a module, median": 95}
ROOMS = {
    "images + datamodules": ("images", "datamodules"),
    "episodes": ("episodes",),
    "training + evaluation": ("training", "evaluation"),
    "search": ("search",),
    "pareto + callbacks + balancers": ("pareto", "callbacks", "balancers"),
}


def tracked(root: Path) -> list[Path]:
    """Python files of the product that git knows; links inside psst are no files of their own."""
    words = ["git", "-C", str(root), "ls-files", "psst", "callbacks", "datamodules"]
    names = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [root / name for name in names if name.endswith(".py")]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def room(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return parts[1] if parts[0] == "psst" else parts[0]


def public_names(tree: ast.Module) -> list[str]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [name.id for target in targets for name in ast.walk(target) if _is_bound(name)]
    return [name for name in found if not name.startswith("_")]


def _is_bound(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def imported_rooms(tree: ast.Module) -> set[str]:
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    return {module.split(".")[1] for module in modules if module.startswith("psst.")}


def table(root: Path) -> dict[str, float]:
    """Every figure by its name, in the order of print."""
    paths = tracked(root)
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = {path: text.count("\n") for path, text in texts.items()}
    rooms = {path: room(root, path) for path in paths}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, kinds)]
    functions = [node.end_lineno - node.lineno + 1 for node in nodes]
    tokens = (
        token for text in texts.values() for token in tokenize.generate_tokens(io.StringIO(text).readline)
    )
    comments = sum(token.type == tokenize.COMMENT for token in tokens)
    edges = {(rooms[path], other) for path in paths for other in imported_rooms(trees[path])}
    cycles = sum((b, a) in edges for a, b in edges if a < b)
    by_room = {name: sum(lines[path] for path in paths if rooms[path] in of) for name, of in ROOMS.items()}
    total = sum(lines.values())
    return {
        **by_room,
        "all lines": total,
        "public names": sum(len(public_names(tree)) for tree in trees.values()),
        "cycles between rooms": cycles,
        "lines of a function, median": median(functions or [0]),
        "lines of a module, median": median(lines.values()),
        "comments a hundred lines": round(100 * comments / max(total, 1), 1),
    }


def main(root: Path = Path(__file__).parents[1]) -> int:
    figures = table(root)
    over = [name for name, limit in LIMITS.items() if figures[name] > limit]
    print(f"{'':<32}{'found':>8}{'limit':>8}{'goal':>8}")
    for name, value in figures.items():
        bounds = f"{LIMITS.get(name, ''):>8}{GOALS.get(name, LIMITS.get(name, '')):>8}"
        print(f"{name:<32}{value:>8g}{bounds}{'  too much' if name in over else ''}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
