"""report.html: one file, small, that asks no network; a click picks a model in the table and all charts."""

import json
import re

import numpy as np
import pytest

import psst.plot
from psst.page import Page
from psst.search.examples import Told
from psst.search.mixture import MAIN_ONLY, alone, together
from psst.search.report import write_report
from tests.search.chromium import chromium
from tests.search.test_mixtures import TASKS, candidate
from tests.search.test_report import result_of

MOST = 2.5e6  # bytes, for twenty models
PHONE = 390


def twenty():
    """A search of eighteen branches, and two rivals."""
    found = [candidate(MAIN_ONLY, 0.70, training=losses(0))]
    for j, task in enumerate(TASKS):
        for i, weight in enumerate((0.1, 0.3, 1, 3, 9, 27)[: 5 + (j > 0)]):
            found.append(candidate(alone(task, weight), 0.6 + 0.01 * (i + 3 * j), training=losses(i + j)))
    rivals = {
        "plain": candidate(MAIN_ONLY, 0.69, unit="plain", line="plain"),
        "fixed": candidate(together(TASKS), 0.69, unit="fixed", line="fixed"),
    }
    result = result_of(found, rivals, tests={"search": 0.75, "plain": 0.70, "fixed": 0.66})
    told = {"class": "b", "told": "c", "how": "wrong", "column": "1"}
    picture = {
        **told,
        "url": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    }
    result.told = Told(["b", "c"], np.array([[8, 2], [0, 10]]), {"The worst": [picture]}, 200)
    result.units = {name: {"passes": 9.0 + i} for i, name in enumerate(("search", "plain", "fixed"))}
    for name, found in result.found.items():
        found.units = {name}
    return result


def losses(step):
    return {"main": 1.2 - 0.03 * step, **dict.fromkeys(TASKS, 0.5 + 0.02 * step)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "config.yaml").write_text("")
    for version, steps in ((0, range(0, 200, 2)), (1, range(180, 240, 2))):  # stopped once, and gone on
        log = folder / "units" / "search" / f"version_{version}" / "metrics.csv"
        log.parent.mkdir(parents=True)
        rows = [f"{step},{5 - step / 100},{[1.5, 0][step == 8]}\n{step},,\n" for step in steps]
        log.write_text("step,train/main_loss,psst/loss/rotation\n" + "".join(rows))
    write_report(twenty(), folder)
    return folder / "report.html"


def test_it_holds_the_first_line_the_tables_and_what_to_do_next(report):
    text = report.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST
    assert re.search(
        r"<h1>Handed over: contrast=27 .*test accuracy .*against plain training of the same cost", text
    )
    assert text.count("<tr data-pick") == 10
    assert "minus plain</th>" in text
    assert re.search(r"psst export \S+/best.ckpt --output encoder", text)
    assert "rotation: harms" in text
    assert "Most confused, 2 mistakes in all" in text


def test_three_losses_and_more_are_axes_that_each_model_crosses(report):
    text = report.read_text(encoding="utf-8")
    chart = json.loads(re.search(r'id="charts">(.*?)</script>', text)[1])[1]
    cells = chart["datasets"][chart["layer"][0]["data"]["name"]]
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    assert tasks == ["main", *TASKS]
    table = np.array([[cell["loss"], cell["share"]] for cell in cells]).reshape(-1, len(tasks), 2)
    assert [{cell["pick"] for cell in cells[i : i + 4]} for i in range(0, len(cells), 4)] == [
        {cell["pick"]} for cell in cells[::4]
    ]
    for losses, shares in table.transpose(1, 2, 0):
        assert (shares.min(), shares.max()) == (0, 1)
        assert (np.argsort(losses, kind="stable") == np.argsort(shares, kind="stable")).all()
    below = (table[:, None, :, 0] < table[None, :, :, 0]).all(axis=2).any(axis=0)
    assert [cell["front"] for cell in cells[::4]] == (~below).tolist()


def test_losses_are_curves_over_the_steps_as_they_were_logged(report):
    text = report.read_text(encoding="utf-8")
    (chart,) = [
        one
        for one in json.loads(re.search(r'id="charts">(.*?)</script>', text)[1])
        if one.get("encoding", {}).get("x", {}).get("title") == "optimizer steps"
    ]
    cells = chart["datasets"][chart["data"]["name"]]
    main, rotation = ([cell for cell in cells if cell["task"] == task] for task in ("main", "rotation"))
    assert [cell["step"] for cell in main] == list(range(0, 240, 4))
    assert all(cell["loss"] == 5 - cell["step"] / 100 for cell in main)
    assert {cell["loss"] for cell in rotation} == {1.5}  # no logarithm, no point
    assert 8 not in {cell["step"] for cell in rotation}


def test_names_are_shown_and_never_run(tmp_path):
    evil = "</script><script>alert(1)</script>"
    page = Page(evil, [evil, evil], charts={evil: {"title": evil}}, commands=[evil], remark=evil)
    page.write(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count("</script>") == 3


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (PHONE, True)], ids=["desk", "phone in the dark"])
def test_a_browser_shows_it_without_a_word_or_a_request_and_clicks_reach_everything(
    report, tmp_path, width, dark
):
    with chromium(tmp_path) as page:
        page.open(report, width, dark)
        assert page.run("document.body.dataset.drawn") == "6"
        assert page.run(
            "document.documentElement.scrollWidth <= innerWidth"
        )  # wide tables scroll by themselves
        ground = page.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is not dark
        page.click("tr[data-pick]:nth-of-type(3)")
        picked = page.run("document.querySelector('tr.picked').dataset.pick")
        assert page.run("views.map(view => view.signal('picked'))") == [picked] * 6
        faded = "document.querySelectorAll('#chart1 .mark-symbol path[opacity=\"0.25\"]').length"
        assert page.run(f"Promise.all(views.map(view => view.runAsync())).then(() => {faded})") > 10
        page.click("tr.picked")
        assert page.run("document.querySelectorAll('tr.picked').length") == 0
        assert page.run("document.querySelectorAll('#chart4 image').length") == 1
        page.click("#chart0 .mark-symbol path")
        assert page.run("views[2].signal('picked')") == page.run("document.body.dataset.picked") != ""
        slid = "slider.value = 5; slider.dispatchEvent(new Event('input')); document.body.dataset.picked"
        models = page.run("[...models]")
        assert page.run(slid) == page.run("shown.value") == models[5]
        assert page.run("views[0].signal('picked')") == models[5]
        singles = [model.split(",")[0] for model in models if model.startswith("rotation=")]
        assert singles == [f"rotation={weight}" for weight in (0.1, 0.3, 1, 3, 9)]
        assert page.trouble == []
        asked = [one for one in page.requests if not one.startswith("data:")]  # what it holds itself
        assert asked == [report.resolve().as_uri()]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_figures_are_given_to_notebooks(tmp_path, kind):
    for draw in (psst.plot.front, psst.plot.tradeoffs, psst.plot.losses):
        draw(twenty()).save(tmp_path / f"figure.{kind}")
        assert (tmp_path / f"figure.{kind}").stat().st_size > 5000
