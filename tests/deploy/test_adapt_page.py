"""The report of `psst adapt`: the figure first, every head with its interval, which classes are confused."""

import json
import re
from html import unescape

import numpy as np
import pytest
import vl_convert

from psst.cli import main
from psst.commands.adapt_page import adapt_page
from psst.deploy import FewShotClassifier, load_encoder
from psst.deploy.adapt import choose_head
from tests.deploy.pictures import exported, save_pictures

NAMES = ["<cup>", "jug", "mug", "vase"]  # cup and mug cannot be told apart
COUNTS = [4, 3, 4, 3]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), COUNTS)
    features = 5 * np.eye(4, 6)[[0, 1, 0, 3]][labels] + rng.normal(size=(len(labels), 6))
    encoder = load_encoder(exported(tmp_path_factory.mktemp("page")))
    choice = choose_head(features, labels)
    classifier = FewShotClassifier(encoder, choice.head, choice.temperature)
    classifier.fit_features(features.astype(np.float32), np.array(NAMES)[labels])
    return choice, adapt_page("classifier", classifier, choice, "images", 2.0)


def cells(text):
    """Rows of each table, unescaped."""
    tables = re.findall(r"<table>(.*?)</table>", text.partition("<script")[0], re.DOTALL)
    rows = [re.findall(r"<tr.*?</tr>", table) for table in tables]
    return [
        [[unescape(one) for one in re.findall(r">([^<]*)</t[dh]>", row)] for row in each] for each in rows
    ]


def test_the_counts_are_those_of_the_first_line(found):
    choice, _ = found
    assert choice.confusion.sum(axis=1).tolist() == COUNTS
    assert choice.nested[0] == pytest.approx(choice.confusion.trace() / sum(COUNTS))
    assert choice.confusion[0, 2] + choice.confusion[2, 0] > 1


def test_the_page_names_heads_and_confused_classes(found, tmp_path):
    choice, page = found
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(rf"<h1>Expect {100 * choice.nested[0]:.1f} % \(\d+\.\d to \d+\.\d\) of new images", text)
    heads, pairs = cells(text)
    assert [row[0] for row in heads[1:]] == list(choice.candidates)
    assert [row[0] for row in heads if row[2] == "chosen"] == [choice.name]
    assert {tuple(row[:2]) for row in pairs[1:3]} == {("<cup>", "mug"), ("mug", "<cup>")}
    assert [int(row[2]) for row in pairs[1:]] == sorted((int(row[2]) for row in pairs[1:]), reverse=True)
    assert int(pairs[1][3]) == 4
    assert "psst classify classifier NEW_IMAGES" in text


def test_the_charts_draw_every_head_and_every_class(found):
    choice, page = found
    bars, matrix = (json.loads(json.dumps(chart)) for chart in page.charts.values())
    drawn = [vl_convert.vegalite_to_svg(json.dumps({**chart, "width": 500})) for chart in (bars, matrix)]
    assert all(f">{name}</text>" in drawn[0] for name in choice.candidates)
    assert all(unescape(drawn[1]).count(f">{name}</text>") == 2 for name in NAMES)
    (rows,) = matrix["datasets"].values()
    assert sum(row["images"] for row in rows) == sum(COUNTS)
    for row in rows:
        assert row["images"] == choice.confusion[NAMES.index(row["class"]), NAMES.index(row["told"])]


@pytest.mark.filterwarnings("ignore:The number of unique classes is greater")
def test_of_many_classes_the_most_confused_are_drawn(found):
    choice, _ = found
    many = np.diag(np.full(60, 3))
    many[50, 51] = 1
    classifier = FewShotClassifier("nowhere").fit_features(np.eye(60), [f"c{i:02}" for i in range(60)])
    page = adapt_page("classifier", classifier, choice._replace(confusion=many), "images", 2.0)
    _, matrix = page.charts.values()
    (rows,) = matrix["datasets"].values()
    assert {"class": "c50", "told": "c51", "images": 1, "share": 0.25} in rows
    assert len({row["class"] for row in rows}) == 40


def test_the_command_writes_it_beside_the_classifier(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exported(tmp_path)
    save_pictures(tmp_path / "photos", {"amber": 4, "blue": 4})
    assert main(["adapt", "photos", "--encoder", "encoder"]) == 0
    shown = capsys.readouterr().out
    assert "classifier/report.html" in shown
    text = (tmp_path / "classifier" / "report.html").read_text(encoding="utf-8")
    assert shown.splitlines()[0] == unescape(re.search(r"<h1>(.*?)</h1>", text)[1])
    assert len(cells(text)[0]) == 7
