r"""Where subproblems end on problems whose fronts are known: problem x condition x method.

    OMP_NUM_THREADS=1 python -m benchmarks.fronts --seeds 20
    OMP_NUM_THREADS=1 python -m benchmarks.fronts --odd --methods Preference Ray
    OMP_NUM_THREADS=1 python -m benchmarks.fronts --problems VLMOP2 --conditions exact "gradient noise" \
        --methods Preference Ray MinNorm

Run in the checkout's root: the problems are those of the tests. A row is ``rays x seeds`` runs: the share
that ends in its own sector, the distance to the front in units of the loss (median, largest), the angle of
the loss vector to its ray in degrees (median, largest), and the share whose ray was given up.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import psst.pareto
from tests.pareto.descent import Conditions, descend
from tests.pareto.odd_problems import a_million_apart, disconnected, flat_third, odd_ending, two_alike
from tests.pareto.problems import (
    Problem,
    angles,
    dtlz2,
    in_own_sector,
    isotropic,
    near_corner,
    vlmop2,
    weighted,
    zdt2_variant,
)

PROBLEMS = [
    vlmop2(),
    zdt2_variant(),
    dtlz2(),
    dtlz2(angles=True),
    isotropic(2),
    isotropic(3),
    weighted(2),
    weighted(3),
    near_corner(),
]
ODD = [flat_third(), two_alike(), a_million_apart(), disconnected()]
LOSS_NOISE, DECAY, LONGER = 0.07, 0.99, 10.0

PLAIN = Conditions()


@dataclass(frozen=True)
class Case:
    """One condition: what is done to the problem, to the descent, and the noise that rays are told of."""

    conditions: Conditions = PLAIN
    change: Callable[[Problem], Problem] = lambda problem: problem
    noise: float = 0.0


CASES = {
    "exact": Case(),
    "exact, small steps": Case(Conditions(longer=4.0)),  # four times as many, a quarter as long
    "gradient noise": Case(Conditions(gradient_noise=0.3)),
    "gradient noise, constant steps": Case(Conditions(gradient_noise=0.3, fading=False)),
    "floor": Case(change=lambda problem: problem.with_floor(0.5)),
    "x 10": Case(change=lambda problem: problem.with_scale(10.0)),
    "loss noise, EMA": Case(
        Conditions(loss_noise=LOSS_NOISE, ema=DECAY, longer=LONGER),
        noise=LOSS_NOISE * np.sqrt((1.0 - DECAY) / (1.0 + DECAY)),
    ),
}


def row(problem: Problem, case: Case, kind: type[psst.pareto.Method], seeds: int) -> str:
    problem = case.change(problem)
    rays = problem.rays(noise=case.noise, longer=case.conditions.longer)
    indices = np.tile(np.arange(len(rays)), seeds)
    starts = np.stack([problem.starts(seed) for seed in range(seeds)]).repeat(len(rays), axis=0)
    begin = time.process_time()
    methods = [kind(rays, int(index)) for index in indices]
    ending = descend(problem, methods, starts, case.conditions)
    seconds = time.process_time() - begin
    inside = in_own_sector(rays, ending.losses, indices)
    distance = problem.front_distance(ending.losses)
    angle = angles(ending.losses, np.tile(problem.ray_losses(), (seeds, 1)))
    missed = sorted({int(index) for index in indices[~inside]})
    return (
        f"{100 * inside.mean():.1f} | {np.median(distance):.0e} | {distance.max():.0e} | "
        f"{np.median(angle):.2f} | {angle.max():.2f} | {100 * ending.unreachable.mean():.1f} | "
        f"{ending.gap:.0e} | {missed or ''} | {seconds:.0f} |"
    )


def odd_row(problem: Problem, kind: type[psst.pareto.Method], seeds: int) -> str:
    """In percent: in sector where it holds a point of the front; where it holds none, given up."""
    found = odd_ending(problem, kind, seeds)
    elsewhere = f"{100 * found.given_up[~found.held].mean():.1f}" if (~found.held).any() else ""
    unsaid = int((~found.inside & ~found.given_up).sum())
    return (
        f"{int(found.held.sum())} | {100 * found.inside[found.held].mean():.1f} | "
        f"{np.median(found.distance[found.held]):.0e} | {int((~found.held).sum())} | {elsewhere} | {unsaid} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [problem.name for problem in PROBLEMS]
    parser.add_argument("--problems", nargs="+", choices=names, default=names)
    parser.add_argument("--conditions", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--methods", nargs="+", default=["Preference"], help="classes of psst.pareto with rays"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--odd", action="store_true", help="fronts with gaps, flat losses, twins, far scales")
    options = parser.parse_args()
    if options.odd:
        print("| problem | method | runs with front | % in sector | front, median | runs without |", end="")
        print(" % given up | neither said nor there |\n|" + "---|" * 8)
        for problem in ODD:
            for method in options.methods:
                found = odd_row(problem, getattr(psst.pareto, method), options.seeds)
                print(f"| {problem.name} | {method} | {found}", flush=True)
        return
    print(
        "| problem | condition | method | % in sector | front, median | front, largest | angle, median |",
        end="",
    )
    print(" angle, largest | % given up | KKT gap | rays missed | s |")
    print("|" + "---|" * 12)
    for problem in (problem for problem in PROBLEMS if problem.name in options.problems):
        for name in options.conditions:
            for method in options.methods:
                kind = getattr(psst.pareto, method)
                found = row(problem, CASES[name], kind, options.seeds)
                print(f"| {problem.name} | {name} | {method} | {found}", flush=True)


if __name__ == "__main__":
    main()
