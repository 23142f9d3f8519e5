"""Splits of classes: drawn with a seed, or read from lists in the formats that people have."""

import json
from collections import Counter

import pytest

from psst.images.sources.lists import assign_splits, read_rows

NAMES = [f"class{i:03}" for i in range(100)]
LISTS = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}
SPLIT_OF = {name: split for split, names in LISTS.items() for name in names}
FROZEN = "arrrrarere"  # train, val, test by their second letters


def split_classes(names, seed):
    return assign_splits(names, "seeded", seed, "birds")


def read_lists(path):
    return assign_splits(SPLIT_OF, str(path), 0, "birds")


def test_sizes_are_64_16_20():
    assert Counter(split_classes(NAMES, 0).values()) == {"train": 64, "val": 16, "test": 20}


def test_order_and_repeats_of_names_do_not_matter():
    assert split_classes(NAMES, 3) == split_classes([*reversed(NAMES), "class007"], 3)


def test_seeds_differ_and_repeat():
    assert split_classes(NAMES, 0) == split_classes(NAMES, 0)
    same = sum(split_classes(NAMES, 0)[name] == split_classes(NAMES, 1)[name] for name in NAMES)
    assert 30 < same < 70  # 0.64^2 + 0.16^2 + 0.2^2 = 0.475 by chance


def test_the_division_is_frozen():
    """Stores, papers and colleagues rely on it: it must not change between versions."""
    found = split_classes(["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"], 0)
    assert "".join(split[1] for split in found.values()) == FROZEN


def test_one_more_class_moves_few_others():
    before, after = split_classes(NAMES, 0), split_classes([*NAMES, "another"], 0)
    assert sum(before[name] != after[name] for name in NAMES) <= 3


def test_spelling_of_an_accent_does_not_matter():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    others = NAMES[:9]
    assert (
        split_classes([*others, composed], 0)[composed] == split_classes([*others, decomposed], 0)[decomposed]
    )


@pytest.mark.parametrize("count", [6, 7, 8, 10, 13, 50, 351])
def test_every_class_is_in_one_split_and_every_split_has_two(count):
    sizes = Counter(split_classes([f"c{i}" for i in range(count)], 1).values())
    assert sum(sizes.values()) == count
    assert min(sizes.values()) >= 2


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_classes_are_refused_with_advice(count):
    with pytest.raises(
        ValueError, match=rf"{count} classes cannot be divided .* 6 in all.*psst adapt FOLDER --encoder"
    ):
        split_classes(NAMES[:count], 0)


def as_csv(folder):
    path = folder / "classes.csv"
    path.write_text("class,split\n" + "".join(f"{name},{split}\n" for name, split in SPLIT_OF.items()))
    return path


def as_csv_of_other_words(folder):
    path = folder / "classes.csv"
    words = {"train": "base", "val": "Validation", "test": "NOVEL"}
    rows = "".join(f"{words[split]},7,{name}\n" for name, split in SPLIT_OF.items())
    path.write_bytes(b"\xef\xbb\xbf" + f"Split,images,label\n{rows}".replace("\n", "\r\n").encode())
    return path


def as_json(folder):
    path = folder / "classes.json"
    path.write_text(json.dumps(LISTS))
    return path


def as_text_files(folder):
    for split, names in LISTS.items():
        (folder / f"{split}.txt").write_text("\n".join(names) + "\n\n")
    return folder


def as_r2d2_files(folder):
    lists = as_text_files(folder)
    return (lists / "val.txt").rename(lists / "validation.txt").parent


def as_csv_of_images(folder):
    for split, names in LISTS.items():
        rows = [f"{name},{name}_{i}.jpg" for name in names for i in range(2)]
        (folder / f"{split}.csv").write_text("\n".join(["class_name,image_name", *rows]))
    return folder


FORMATS = (as_csv, as_csv_of_other_words, as_json, as_text_files, as_r2d2_files, as_csv_of_images)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_splits(form, tmp_path):
    assert read_lists(form(tmp_path)) == SPLIT_OF


def test_missing_lists_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`data.init_args.splits=.*nowhere` does not exist; give a csv"
    ):
        read_lists(tmp_path / "nowhere")
    as_text_files(tmp_path)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no list for val; it needs train.txt"):
        read_lists(tmp_path)


def test_two_files_for_one_split_are_refused(tmp_path):
    as_text_files(tmp_path)
    (tmp_path / "valid.txt").write_text("d\n")
    with pytest.raises(ValueError, match=r"holds val.txt and valid.txt for split 'val'"):
        read_lists(tmp_path)


def test_class_in_two_splits_is_refused(tmp_path):
    as_text_files(tmp_path)
    (tmp_path / "test.txt").write_text("f\nb\n")
    with pytest.raises(
        ValueError, match=r"class `b` is in split 'train' and in split 'test' of .*take it out"
    ):
        read_lists(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"name,part\na,train\n", r"columns \['name', 'part'\]; line 1 must be class,split"),
        ("c.csv", b"", r"columns \[\]; line 1 must be class,split"),
        (
            "c.csv",
            b"class,split\na,train\nb,dev\n",
            r"line 3 of `.*c.csv` is b,dev; .* one of train, val, test",
        ),
        ("c.csv", b"class,split\na,train\nb\n", r"line 3 of `.*c.csv` is b;"),
        ("c.csv", b"class,split\na,train\n", r"has no classes for val and test"),
        ("c.csv", b"class,split\n\xff\xfe,train\n", r"cannot be read as csv in UTF-8"),
        ("c.json", b"{", r"cannot be read as json in UTF-8"),
        ("c.json", b'["a"]', r"must be \{\"train\""),
        ("c.json", b'{"train": [1], "val": ["b"], "test": ["c"]}', r"must hold a list of class names"),
        ("c.yaml", b"", r"must end in .csv or .json, or be a folder"),
    ],
)
def test_unreadable_lists_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lists(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.txt", b"", r"test.txt` names no classes"),
        ("test.txt", b"\xff", r"test.txt` cannot be read as txt in UTF-8"),
        (
            "test.csv",
            b"id,part\n1,2\n",
            r"has the columns \['id', 'part'\]; line 1 must be filename,label",
        ),
    ],
)
def test_unreadable_list_of_one_split_is_named(tmp_path, name, content, message):
    as_text_files(tmp_path)
    (tmp_path / "test.txt").unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lists(tmp_path)


def test_lists_may_spell_accents_otherwise_and_leave_classes_out(tmp_path):
    names = ["caf\u00e9", *"bcdefgh"]
    (tmp_path / "c.json").write_text(
        json.dumps({"train": ["cafe\u0301", "b"], "val": ["c", "d"], "test": ["e", "f"]})
    )
    found = assign_splits(names, str(tmp_path / "c.json"), 0, "x")
    assert found == {"caf\u00e9": "train", "b": "train", "c": "val", "d": "val", "e": "test", "f": "test"}


def test_listed_class_that_is_not_there_is_named_with_its_neighbor(tmp_path):
    with pytest.raises(ValueError, match=r"2 of 7 classes .* are not in birds, first: `f`, similar: `ff`"):
        assign_splits([*"abcde", "ff"], str(as_json(tmp_path)), 0, "birds")


def test_a_column_of_row_numbers_names_no_images(tmp_path):
    """As pandas writes it, without a name."""
    rows = [f"{i},{name},{split}" for i, (name, split) in enumerate(SPLIT_OF.items())]
    (tmp_path / "lists.csv").write_text("\n".join([",class,split", *rows]))
    assert set(read_rows(tmp_path / "lists.csv")) == {(*item, "", None) for item in SPLIT_OF.items()}
