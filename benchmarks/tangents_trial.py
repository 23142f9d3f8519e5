# ruff: noqa
"""Tangents of the front against an average of weights and a fine-tuning, on adapters trained to the end.

    python benchmarks/tangents_trial.py features.pt --auxiliary supcon --output runs/tangents.json

`features.pt` holds `f` ``[n, V, D]``, views of images by a frozen encoder (0 upright, 1 to 3 random crops), `y` ``[n]``
and `group` ``[n]``: images of one group never stand in support and query, nor on both sides of a split.
Finished tries are kept; the table is printed at the end.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from psst.pareto import min_norm
from psst.pareto.coordinates import centered_log
from psst.tangents.curvature import WeightedHessian, split
from psst.tangents.front_gradients import front_gradients
from psst.tangents.gates import confirmed, critical, curved, fall_weights, reliable, solved
from psst.tangents.tangent import tangent

WEIGHTS, BATCH, WARM = (0.0, 0.3, 1.0), 96, 0.6
PLACES = (1.0, 0.5, 0.25, 0.125)
HALF, CURVATURE, CHECKS, ITERATIONS = 32, 16, 30, 25
PRODUCT = 1.6  # cost of a product over one batch, in steps; measured, graphs kept
EPISODES = 1000


class Adapter(nn.Module):
    def __init__(self, dim, classes, width=256):
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), nn.Linear(width, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.classes = nn.Parameter(F.normalize(torch.randn(classes, dim), dim=1))

    def forward(self, x):
        return x + self.up(F.relu(self.down(x)))


class Data:
    """One split of the classes: images to train on, images held out of the same classes, novel classes."""

    def __init__(self, path, seed):
        stored = torch.load(path)
        self.y, self.group = stored["y"], stored["group"]
        count = int(self.y.max()) + 1
        order = torch.randperm(count, generator=generator(1000 + seed))
        self.classes, self.novel = order[: int(0.8 * count)], order[int(0.8 * count) :]
        self.column = torch.full((count,), -1)
        self.column[self.classes] = torch.arange(len(self.classes))
        known, draw = torch.isin(self.y, self.classes), generator(2000 + seed)
        held = torch.zeros(len(self.y), dtype=torch.bool)
        for label in self.classes:
            groups = self.group[self.y == label].unique()
            chosen = groups[torch.randperm(len(groups), generator=draw)[: max(2, len(groups) // 4)]]
            held |= torch.isin(self.group, chosen)
        self.train, self.held = (known & ~held).nonzero()[:, 0], (known & held).nonzero()[:, 0]
        features = stored["f"].float()
        self.x = 10 * F.normalize(features - features[self.train, 0].mean(0), dim=2)
        self.episodes = [self._episode(generator(3000 + index)) for index in range(EPISODES)]

    def batch(self, ids, *key):
        draw = generator(hash(key) % 2**40)
        rows = ids[torch.randint(len(ids), (BATCH,), generator=draw)]
        views = torch.randint(4, (BATCH,), generator=draw)
        crops = 1 + torch.randperm(3, generator=draw)[:2]
        return self.x[rows, views], self.x[rows, crops[0]], self.x[rows, crops[1]], self.column[self.y[rows]]

    def _episode(self, draw):
        support, query, label = [], [], []
        for way, name in enumerate(self.novel[torch.randperm(len(self.novel), generator=draw)[:5]]):
            members = (self.y == name).nonzero()[:, 0]
            members = members[torch.randperm(len(members), generator=draw)]
            rest = members[self.group[members] != self.group[members[0]]][:15]
            support.append(members[:1])
            query.append(rest)
            label += [way] * len(rest)
        return torch.cat(support), torch.cat(query), torch.tensor(label)

    def accuracy(self, module):
        """Per episode, in %; of the untouched features for None."""
        with torch.no_grad():
            z = F.normalize(self.x[:, 0] if module is None else module(self.x[:, 0]), dim=1)
        hits = [((z[q] @ z[s].T).argmax(1) == label).float().mean() for s, q, label in self.episodes]
        return 100 * torch.stack(hits).double().numpy()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def supcon(module, x, first, second, labels):
    u = F.normalize(module(torch.cat([first, second])), dim=1)
    scores = (u @ u.T / 0.1).masked_fill(torch.eye(len(u), dtype=torch.bool), -1e9)
    twice = torch.cat([labels, labels])
    same = (twice[:, None] == twice[None]).float().fill_diagonal_(0)
    return -((F.log_softmax(scores, 1) * same).sum(1) / same.sum(1)).mean()


def preserve(module, x, first, second, labels):
    return 1 - F.cosine_similarity(module(x), x, dim=1).mean()


AUXILIARY = {"supcon": supcon, "preserve": preserve}


def losses_of(module, auxiliary, batch):
    x, labels = batch[0], batch[3]
    logits = 10 * F.normalize(module(x), dim=1) @ F.normalize(module.classes, dim=1).T
    return [F.cross_entropy(logits, labels), AUXILIARY[auxiliary](module, *batch)]


def train(module, data, auxiliary, weight, rates, key, optimizer=None):
    optimizer = optimizer or torch.optim.Adam(module.parameters())
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        main, other = losses_of(module, auxiliary, data.batch(data.train, *key, step))
        optimizer.zero_grad()
        (main + weight * other).backward()
        optimizer.step()
    return module, optimizer


def cosine(rate, steps):
    return [rate * 0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]


def branches(data, auxiliary, seed, steps):
    torch.manual_seed(seed)
    rates, leave = cosine(1e-3, steps), round(WARM * steps)
    trunk = Adapter(data.x.shape[2], len(data.classes))
    trunk, state = train(trunk, data, auxiliary, 0.3, rates[:leave], (seed, 0))
    found = []
    for place, weight in enumerate(WEIGHTS):
        module = copy.deepcopy(trunk)
        optimizer = torch.optim.Adam(module.parameters())
        optimizer.load_state_dict(copy.deepcopy(state.state_dict()))
        found.append(train(module, data, auxiliary, weight, rates[leave:], (seed, 1 + place), optimizer)[0])
    return found


def average(modules):
    mean = copy.deepcopy(modules[0])
    states = [module.state_dict() for module in modules]
    mean.load_state_dict({key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]})
    return mean


def measured(module, data, auxiliary, ids, key, count):
    with torch.no_grad():
        rows = [losses_of(module, auxiliary, data.batch(ids, *key, index)) for index in range(count)]
    return np.array([[float(loss) for loss in row] for row in rows])


def moved(module, direction, length):
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, part in zip(
            other.parameters(), split(direction, list(module.parameters())), strict=True
        ):
            parameter.add_(part, alpha=length)
    return other


def attempt(data, auxiliary, seed, found, neighbor, damping):
    """One try: gates, every length of the step, and what else the same cost buys."""
    module, parameters, began = found[1], list(found[1].parameters()), time.monotonic()
    drawn = [[data.batch(data.train, seed, 10 + half, i) for i in range(HALF)] for half in range(2)]
    halves = [[lambda b=b: losses_of(module, auxiliary, b) for b in half] for half in drawn]
    there = np.mean(
        [[float(v.detach()) for v in losses_of(neighbor, auxiliary, b)] for half in drawn for b in half], 0
    )
    gradients = front_gradients(halves, parameters)
    losses, weights = gradients.mean_losses, min_norm(gradients.gramian).weights
    batches = [batch for pair in zip(*halves, strict=True) for batch in pair]
    hessian = WeightedHessian(batches[:CURVATURE], parameters, weights.tolist(), keep_graphs=True)
    towards = centered_log(np.log(there)) - centered_log(np.log(losses))
    step = tangent(gradients.jacobian, hessian, losses, towards, damping, 1e-2, ITERATIONS)
    verdicts = [critical(gradients, weights), reliable(gradients, step.beta), curved(step), solved(step)]
    seconds = time.monotonic() - began
    falls = fall_weights(losses, step.change)
    promised = float((step.change / losses) @ falls)
    before = {
        ids: measured(module, data, auxiliary, getattr(data, ids), (seed, 20), CHECKS)
        for ids in ("train", "held")
    }
    rows, taken = [], None
    for place in PLACES:
        other = moved(module, step.direction, place)
        own = np.mean(
            [[float(v.detach()) for v in losses_of(other, auxiliary, b)] for half in drawn for b in half], 0
        )
        row = {"place": place, "kept": float((own / losses - 1) @ falls) / (place * promised)}
        row["predicted"] = (place * step.change / losses).tolist()
        for ids, old in before.items():
            new = measured(other, data, auxiliary, getattr(data, ids), (seed, 20), CHECKS)
            verdict = confirmed(new - old, old.mean(0), place * step.change)
            row[ids] = {
                "change": (new.mean(0) / old.mean(0) - 1).tolist(),
                "passed": bool(verdict.passed),
                "value": verdict.value,
            }
        row["accuracy"] = data.accuracy(other).tolist()
        rows.append(row)
        if taken is None and row["kept"] >= 0.5:
            taken = len(rows) - 1
    cost = (
        2 * HALF
        + 1.3 * CURVATURE
        + PRODUCT * CURVATURE * step.products
        + 0.4 * 2 * HALF * (1 if taken is None else taken + 1)
    )
    plain = tangent(gradients.jacobian, lambda vector: vector, losses, towards)  # along the gradients alone
    first = {"place": 0.0, "accuracy": data.accuracy(module).tolist()}
    for place in (*PLACES, 1 / 16, 1 / 32, 1 / 64):
        other = moved(module, plain.direction, place)
        own = np.mean(
            [[float(v.detach()) for v in losses_of(other, auxiliary, b)] for half in drawn for b in half], 0
        )
        if float((own / losses - 1) @ falls) <= 0.5 * place * float((plain.change / losses) @ falls):
            first = {
                "place": place,
                "accuracy": data.accuracy(other).tolist(),
                "change": (own / losses - 1).tolist(),
            }
            break
    return {
        "first": first,
        "gates": {v.gate: {"passed": bool(v.passed), "value": v.value} for v in verdicts},
        "weights": weights.tolist(),
        "losses": losses.tolist(),
        "there": there.tolist(),
        "towards": towards.tolist(),
        "products": step.products,
        "cost": round(cost),
        "seconds": seconds,
        "rows": rows,
        "taken": taken,
        "length": float(step.direction.norm()),
        "cosine": float(F.cosine_similarity(*gradients.jacobian, dim=0)),
    }


def unit(data, auxiliary, seed, steps, damping, fine):
    began = time.monotonic()
    found = branches(data, auxiliary, seed, steps)
    result = {"seconds": time.monotonic() - began, "steps": steps}
    models = {
        "frozen": None,
        **{f"w={w:g}": m for w, m in zip(WEIGHTS, found, strict=True)},
        "soup": average(found),
    }
    result["accuracy"] = {name: data.accuracy(module).tolist() for name, module in models.items()}
    result["held"] = {
        n: measured(m, data, auxiliary, data.held, (seed, 20), CHECKS).mean(0).tolist()
        for n, m in models.items()
        if m is not None
    }
    for name, neighbor, goals in (("main", found[0], (0.15, 0.0)), ("auxiliary", found[2], (0.65, 1.0))):
        tried = attempt(data, auxiliary, seed, found, neighbor, damping)
        tried["mix"] = {
            share: data.accuracy(average([found[1]] * (4 - share) + [neighbor] * share)).tolist()
            for share in (1, 2)
        }
        if fine:
            for label, weight in zip(
                ("fine", "further"), goals if auxiliary == "preserve" else goals[:1], strict=False
            ):
                tuned = train(
                    copy.deepcopy(found[1]), data, auxiliary, weight, cosine(3e-4, tried["cost"]), (seed, 30)
                )[0]
                tried[label] = data.accuracy(tuned).tolist()
        result[name] = tried
    return result


def describe(name, result):
    means = {key: np.mean(value) for key, value in result["accuracy"].items()}
    print(
        name,
        {k: round(float(v), 2) for k, v in means.items()},
        "held",
        {k: np.round(v, 4).tolist() for k, v in result["held"].items()},
        f"{result['seconds']:.0f} s",
    )
    for side in ("main", "auxiliary"):
        t = result[side]
        gates = ", ".join(
            f"{g} {v['value']:.2g}{'' if v['passed'] else ' FAILED'}" for g, v in t["gates"].items()
        )
        print(
            f"  {side}: {gates}; weights {np.round(t['weights'], 2)}, losses {np.round(t['losses'], 4)} there {np.round(t['there'], 4)}, cosine {t['cosine']:.2f}; {t['products']} products, cost {t['cost']}, {t['seconds']:.0f} s; taken {t['taken']}"
        )
        for row in t["rows"]:
            print(
                f"    {row['place']:5g} kept {row['kept']:.2f} predicted {np.round(row['predicted'], 4)} train {np.round(row['train']['change'], 4)} {row['train']['passed']} held {np.round(row['held']['change'], 4)} {row['held']['passed']} accuracy {np.mean(row['accuracy']):.2f}"
            )
        if "fine" in t:
            print(
                f"    fine {np.mean(t['fine']):.2f} mix {[round(float(np.mean(v)), 2) for v in t.get('mix', {}).values()]} further {np.mean(t.get('further', math.nan)):.2f} first-order {t['first']['place'] if 'first' in t else ''} {np.mean(t['first']['accuracy']) if 'first' in t else math.nan:.2f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("features", type=Path)
    parser.add_argument("--auxiliary", choices=AUXILIARY, default="supcon")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--damping", type=float, default=0.1)
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--no-fine", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(a.output.read_text()) if a.output.is_file() else {}
    for draw in range(a.splits):
        data = None
        for seed in range(a.seeds):
            name = f"{a.features.stem} {a.auxiliary} {a.steps} {a.damping:g} split {draw} seed {seed}"
            if name not in results:
                data = data or Data(a.features, draw)
                results[name] = unit(data, a.auxiliary, seed, a.steps, a.damping, not a.no_fine)
                a.output.write_text(json.dumps(results))
            describe(name, results[name])


if __name__ == "__main__":
    main()
