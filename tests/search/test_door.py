"""The Python door: whole searches with modules that have nothing to do with few-shot learning."""

import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import psst.search
from psst.episodes import Episodes, Evaluation
from psst.search import SearchSettings, door
from tests.search.tasks import Columns, Heads

SETTINGS = SearchSettings(auxiliary_weights=(0.0, 0.3, 1.0), recalibration_batches=3, check_batches=3)


def search(output, module=Heads, data=None, **changes):
    arguments = {"max_steps": 20, "monitor": "val/error", "mode": "min", "settings": SETTINGS, **changes}
    trainer = {"accelerator": "cpu", **arguments.pop("trainer", {})}
    return psst.search.search(module, data or Columns(), output=output, trainer=trainer, **arguments)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two tasks, losses logged in validation."""
    folder = tmp_path_factory.mktemp("two") / "out"
    return search(folder, lambda: Heads(norm=False)), folder


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three tasks, none called main, no loss logged in validation."""
    folder = tmp_path_factory.mktemp("three") / "out"
    names = ("first", "second", "third")

    class Named(Heads):
        def validation_step(self, batch, batch_idx):
            self.log("score", -self.losses(batch)["first"])

    few = SearchSettings(auxiliary_weights=(0.0, 0.3), check_batches=3, mixes=(0.5,), baselines=False)
    return search(folder, lambda: Named(names, norm=False), monitor="score", mode="max", settings=few), folder


def test_the_choice_is_the_best_candidate_by_the_monitor_and_its_mode(two, three):
    for (result, _), better in ((two, min), (three, max)):
        assert result.best.metric == better(candidate.metric for candidate in result.candidates)
        assert result.chosen in [candidate.name for candidate in result.candidates]


def test_the_chosen_checkpoint_gives_the_metric_it_was_chosen_by(two):
    result, folder = two
    assert result.best_checkpoint == (folder / "best.ckpt").resolve()
    content = torch.load(result.best_checkpoint, weights_only=True)
    module = Heads(norm=False)
    module.load_state_dict(content["state_dict"])
    module.eval()
    data = Columns()
    data.setup("fit")
    with torch.no_grad():
        error = float(module.losses(tuple(data.val.tensors))["main"])
    assert error == pytest.approx(result.best.metric, rel=1e-5)  # float32 sums in another order


def test_every_unit_ends_after_the_same_number_of_steps(two):
    result, folder = two
    steps = {
        torch.load(folder / "units" / model.name / "model.ckpt", weights_only=True)["global_step"]
        for model in result.models
    }
    assert steps == {20}


def test_the_front_holds_what_no_other_model_dominates(two, three):
    for result, _ in (two, three):
        losses = {model.name: np.array(list(model.losses.values())) for model in result.models}
        for name, mine in losses.items():
            beaten = any((other <= mine).all() and (other < mine).any() for other in losses.values())
            assert (name in result.front) is not beaten


def test_the_region_is_the_best_trained_candidate_and_its_neighbors(two):
    result, _ = two
    trained = [candidate for candidate in result.candidates if candidate.kind != "explored"]
    best = min(trained, key=lambda candidate: candidate.metric).name
    assert best in result.region
    assert 2 <= len(result.region) <= 3  # on a line a point has one or two neighbors


def test_three_tasks_are_searched_along_each_and_together(three):
    result, folder = three
    names = {candidate.name for candidate in result.candidates}
    assert {"anchor-0", "anchor-second-0.3", "anchor-third-0.3", "anchor-all-0.3"} <= names
    assert "subproblem-0" in names
    assert list(result.best.losses) == ["first", "second", "third"]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_losses_that_validation_does_not_log_are_those_at_the_end_of_training(two, three):
    (with_losses, _), (without, folder) = two, three
    assert with_losses.losses_from == "validation"
    assert without.losses_from == "training"
    for candidate in without.candidates:
        if candidate.kind != "explored":
            with np.load(folder / "units" / candidate.name / "trajectory.npz") as file:
                last = np.exp(file["log_losses"][-1])
            assert list(candidate.losses.values()) == pytest.approx(last.tolist())


def test_an_accepted_average_has_losses_near_those_of_its_parents(three):
    """On the parents' scale: an average of neighbors lies at the chord or slightly below."""
    result, _ = three
    mixes = [candidate for candidate in result.candidates if candidate.kind == "explored"]
    assert mixes
    known = {candidate.name: candidate.losses for candidate in result.candidates}
    for mix in mixes:
        for task, loss in mix.losses.items():
            chord = sum(share * known[parent][task] for parent, share in mix.result["parents"].items())
            assert loss == pytest.approx(
                chord, rel=0.1
            )  # after 8 steps from one start all lie close together


def test_result_files_say_what_the_result_says(two):
    result, folder = two
    rows = json.loads((folder / "front.json").read_text())
    assert [row["name"] for row in rows if row["chosen"]] == [result.chosen]
    assert {row["name"]: row["val/error"] for row in rows} == {m.name: m.metric for m in result.models}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"] == result.tests
    assert set(result.tests) == {result.chosen, "plain", result.best_fixed}
    assert metrics["interval"].startswith("none")


def test_finished_units_are_kept_and_a_lost_one_comes_out_the_same(two):
    result, folder = two
    path = folder / "manifest.json"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("model.ckpt")}
    manifest = json.loads(path.read_text())
    lost = manifest["units"].pop("anchor-0.3")
    path.write_text(json.dumps(manifest))
    shutil.rmtree(folder / "units" / "anchor-0.3")
    again = search(folder, lambda: Heads(norm=False))
    kept = {file for file in before if file.stat().st_mtime_ns == before[file]}
    assert {file.parent.name for file in set(before) - kept} == {"anchor-0.3"}
    assert json.loads(path.read_text())["units"]["anchor-0.3"]["losses"] == lost["losses"]
    assert (again.chosen, again.front, again.region) == (result.chosen, result.front, result.region)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_steps": 30}, '"max_steps": 30'),
        ({"seed": 1}, '"seed": 1'),
        ({"monitor": "val/main_loss"}, '"monitor": "val/main_loss"'),
        ({"mode": "max"}, '"mode": "max"'),
        ({"trainer": {"gradient_clip_val": 1.0}}, '"gradient_clip_val": 1.0'),
        ({"settings": SearchSettings()}, '"recalibration_batches": 15'),
        ({"module": lambda: Heads(norm=False, hidden=9)}, '"hidden": 9'),
    ],
)
def test_changed_arguments_are_refused_with_the_difference(two, change, named):
    _, folder = two
    module = change.pop("module", lambda: Heads(norm=False))
    with pytest.raises(ValueError, match="holds a search with another configuration") as error:
        search(folder, module, **change)
    assert f"+ {named}" in str(error.value).replace("+  ", "+ ")
    assert "`output " in str(error.value)


def test_the_process_and_the_datamodule_are_left_as_they_were(tmp_path):
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    drawn = np.random.get_state()[1].copy(), random.getstate()
    threads, data = torch.get_num_threads(), Columns()
    attributes = dict(vars(data))
    few = SearchSettings(auxiliary_weights=(0.0, 1.0), max_explored=0, baselines=False)
    search(tmp_path, data=data, max_steps=5, settings=few)
    assert torch.equal(torch.randn(3), expected)
    assert (np.random.get_state()[1] == drawn[0]).all()
    assert random.getstate() == drawn[1]
    assert torch.get_num_threads() == threads
    assert vars(data) == attributes


def test_the_package_itself_is_the_function_and_imports_no_torch():
    assert psst.search.search is door.search
    code = "import sys, psst.search; assert callable(psst.search) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_calling_the_package_searches(tmp_path):
    with pytest.raises(ValueError, match="`mode='best'`"):
        psst.search(Heads, Columns(), max_steps=20, monitor="val/error", mode="best", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_few_shot_module_goes_through_the_same_door(tmp_path):
    """It builds its layers in `setup`, and its datamodule keeps its own place in the stream."""
    from psst.backbones import Conv4
    from psst.datamodules import Glyphs
    from psst.fewshot import PrototypicalHead
    from psst.tasks import Episodic, Rotation
    from psst.training import FewShotModule

    result = search(
        tmp_path / "out",
        lambda: FewShotModule(Conv4(hidden=4), Episodic(PrototypicalHead()), [Rotation()]),
        lambda: Glyphs(
            episodes=Episodes(query=2),
            evaluation=Evaluation(val_episodes=20, test_episodes=20),
            cache_dir=str(tmp_path / "cache"),
        ),
        monitor="val/accuracy",
        mode="max",
        settings=SearchSettings(auxiliary_weights=(0.0, 1.0), check_batches=3),
    )
    assert list(result.best.losses) == ["main", "rotation"]
    assert "test/accuracy" in result.tests[result.chosen]
