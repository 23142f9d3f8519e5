"""Groups of images named by a csv column, a pattern or a folder; classes with too few images."""

import json
import tarfile
import warnings

import pytest
from folders import put_classes, put_image, splits_of

from psst.commands.data import main
from psst.images.sources.folder import FolderSource
from psst.images.sources.groups import ImageGroups

NAMES = [f"c{i}" for i in range(6)]


def groups_of(source):
    """Return path below the root -> group; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {record.reference.name: record.image_group for record in source.scan()}


@pytest.fixture
def tracks(tmp_path):
    """Six classes of two tracks of two frames, tracks named alike in every class."""
    root = tmp_path / "signs"
    for name in NAMES:
        for track in ("t0", "t1"):
            for frame in range(2):
                put_image(root / name / f"{track}_{frame}.png")
    return root


@pytest.fixture
def lists(tracks, tmp_path):
    """A csv list with the patient of each image; the second frame of each track has none."""
    rows = []
    for place, name in enumerate(NAMES):
        split = ("train", "train", "val", "val", "test", "test")[place]
        for track in ("t0", "t1"):
            rows.append(f"{name}/{track}_0.png,{name},{split},p{track}")
            rows.append(f"{name}/{track}_1.png,{name},{split},")
    (tmp_path / "lists.csv").write_text("\n".join(["filename,label,split,Patient", *rows]))
    return tmp_path / "lists.csv"


def test_without_groups_no_image_has_one(tracks):
    assert set(groups_of(FolderSource(tracks)).values()) == {None}


def test_a_pattern_on_the_path_tells_tracks_of_two_classes_apart(tracks):
    found = groups_of(FolderSource(tracks, groups=ImageGroups(pattern="(.*)_")))
    assert found == {path: path.rpartition("_")[0] for path in found}
    assert len(set(found.values())) == 12


def test_a_pattern_on_the_name_joins_equal_names_of_all_classes(tracks):
    found = groups_of(FolderSource(tracks, groups=ImageGroups(pattern="([^/]*)_[^/]*$")))
    assert set(found.values()) == {"t0", "t1"}


def test_a_column_of_the_lists_names_groups_across_classes(tracks, lists):
    source = FolderSource(tracks, splits=str(lists), groups=ImageGroups(column="patient"))
    with pytest.warns(UserWarning, match=r"12 images have no group and stand for themselves, first: c0/t0_1"):
        found = {record.reference.name: record.image_group for record in source.scan()}
    assert found["c0/t0_0.png"] == found["c5/t0_0.png"] == "pt0"
    assert found["c0/t0_1.png"] is None


@pytest.mark.parametrize("top", [".", "train"])
def test_a_folder_below_that_of_the_class(tmp_path, top):
    for split in ("train", "val", "test") if top == "train" else (".",):
        for name in NAMES:
            put_classes(tmp_path / split / f"{split[:2]}{name}".strip("."), ["t0", "t1"], images=2)
    source = FolderSource(tmp_path, groups=ImageGroups(level=1))
    found = {(record.class_name, record.image_group) for record in source.scan()}
    assert {group for _, group in found} == {f"{name}/{track}" for name, _ in found for track in ("t0", "t1")}
    assert len({name for name, _ in found}) == (18 if top == "train" else 6)


def test_a_folder_above_that_of_the_class_is_one_group_in_all_of_them(tmp_path):
    for patient in ("p0", "p1"):
        put_classes(tmp_path / patient, NAMES, images=1)
    records = FolderSource(tmp_path, groups=ImageGroups(level=2)).scan()
    assert {record.class_name for record in records} == set(NAMES)
    assert {record.image_group for record in records} == {"p0", "p1"}


def test_images_without_a_folder_of_their_own_keep_their_class(tmp_path):
    put_classes(tmp_path, [*NAMES, "c0/t0"], images=1)
    with pytest.warns(UserWarning, match=r"6 images have no group and stand for themselves"):
        records = FolderSource(tmp_path, groups=ImageGroups(level=1)).scan()
    assert {record.class_name for record in records} == set(NAMES)
    assert {record.image_group for record in records} == {None, "c0/t0"}


def test_groups_are_part_of_the_key(tracks):
    keys = [
        json.dumps(FolderSource(tracks, groups=groups).key(8))
        for groups in (None, ImageGroups(pattern="(.*)_"), ImageGroups(pattern="(.*)_0"))
    ]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, r"groups=\{\}` must set one of `column` .*, `pattern` .* and `level`"),
        ({"column": "a", "level": 1}, r"groups=\{'column': 'a', 'level': 1\}` must set one of"),
        ({"level": 0}, r"groups.level=0` must be at least 1"),
        ({"pattern": "_.*"}, r"groups.pattern=_\.\*` has no group; .*parentheses"),
        ({"pattern": "(_"}, r"groups.pattern=\(_` is no regular expression: .*unterminated"),
    ],
)
def test_groups_that_name_nothing_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        ImageGroups(**groups)


@pytest.mark.parametrize("groups", [ImageGroups(pattern="^(t[0-9])_"), ImageGroups(level=3)])
def test_groups_of_no_image_are_refused_with_a_path(tracks, groups):
    with pytest.raises(ValueError, match=r"names the group of none of 24 images, such as `c./t0_0.png`"):
        FolderSource(tracks, groups=groups).scan()


def test_a_column_needs_lists_of_images_that_have_it(tracks, lists, tmp_path):
    groups = ImageGroups(column="patient")
    with pytest.raises(ValueError, match=r"groups.column=patient` needs lists that name images"):
        FolderSource(tracks, groups=groups).scan()
    with pytest.raises(ValueError, match=r"groups.column=track` is no column of `.*lists.csv`, which has"):
        FolderSource(tracks, splits=str(lists), groups=ImageGroups(column="track")).scan()
    (tmp_path / "c.json").write_text(json.dumps({"train": ["c0"], "val": ["c1"], "test": ["c2"]}))
    with pytest.raises(ValueError, match=r"groups.column=patient` needs csv lists, not `.*c.json`"):
        FolderSource(tracks, splits=str(tmp_path / "c.json"), groups=groups).scan()


@pytest.mark.parametrize("packed", [False, True])
def test_info_counts_the_groups_of_a_folder(tracks, packed, tmp_path, capsys):
    if packed:
        (tmp_path / "packed").mkdir()
        with tarfile.open(tmp_path / "packed" / "images-00.tar", "w") as archive:
            archive.add(tracks, ".")
    path = str(tmp_path / "packed" if packed else tracks)
    assert main(["data", "info", path, "--pattern", "(.*)_"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  ImageFolder     6 class folders with 24 images, no split",
        "groups   12 of 24 images, 2 to 2 a class",
    ]


def test_info_counts_the_groups_of_a_column(tracks, lists, capsys):
    words = ["data", "info", str(tracks), "--splits", str(lists), "--column", "patient"]
    with pytest.warns(UserWarning, match="stand for themselves"):
        assert main(words) == 0
    text = capsys.readouterr().out.splitlines()[-1]
    assert text == "groups   2 of 12 images, 4 to 4 a class; 12 images stand for themselves"


@pytest.mark.parametrize("splits", [None, "seeded", "lists"])
def test_classes_with_few_images_are_left_out_with_a_warning(tmp_path, splits):
    root = put_classes(tmp_path / "pictures", [f"c{i}" for i in range(10)])
    put_classes(root, ["few", "fewer"], images=1)
    put_image(root / "few" / "second.png")
    if splits == "lists":
        splits = str(tmp_path / "c.json")
        classes = {"train": ["c0", "c1", "few"], "val": ["c2", "c3"], "test": [f"c{i}" for i in range(4, 10)]}
        (tmp_path / "c.json").write_text(json.dumps({**classes, "test": [*classes["test"], "fewer"]}))
    source = FolderSource(root, splits=splits, min_images=3)
    with pytest.warns(
        UserWarning,
        match=r"2 of 12 classes have fewer than `data.init_args.min_images=3` .*few \(2\), fewer \(1\)",
    ):
        found = splits_of(source.scan())
    assert sorted(name for names in found.values() for name in names) == sorted(f"c{i}" for i in range(10))
    assert source.key(8) != FolderSource(root, splits=splits).key(8)


def test_a_division_does_not_count_classes_that_are_too_small(tmp_path):
    root = put_classes(tmp_path, [f"c{i}" for i in range(10)])
    expected = splits_of(FolderSource(root).scan())
    put_classes(root, [f"small{i}" for i in range(9)], images=1)
    with pytest.warns(UserWarning, match="9 of 19 classes"):
        assert splits_of(FolderSource(root, min_images=2).scan()) == expected


def test_listed_images_of_small_classes_are_left_out(tracks, lists):
    (tracks / "c0" / "t0_1.png").unlink()
    rows = [row for row in lists.read_text().splitlines() if not row.startswith("c0/t0_1")]
    lists.write_text("\n".join(rows))
    with pytest.warns(UserWarning, match=r"1 of 6 classes have fewer .*: c0 \(3\)"):
        records = FolderSource(tracks, splits=str(lists), min_images=4).scan()
    assert {record.class_name for record in records} == set(NAMES[1:])


def test_groups_are_given_as_a_mapping_on_the_command_line_and_kept_in_the_store(tracks, tmp_path, capsys):
    put_image(tracks / "unlabeled" / "u.png")
    words = ["data", "prepare", "--data", "psst.datamodules.ImageFolder", "--data.init_args.size", "4"]
    words += ["--data.init_args.root", str(tracks), "--data.init_args.cache_dir", str(tmp_path / "cache")]
    assert main([*words, "--data.init_args.groups", '{pattern: "(.*)_"}']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "unlabeled 1 images, for the auxiliary tasks",
        "groups   12 of 24 images, 2 to 2 a class; 1 images stand for themselves",
    ]
    with pytest.raises(ValueError, match="must set one of"):
        main([*words, "--data.init_args.groups", "{}"])
