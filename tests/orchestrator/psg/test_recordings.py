"""Which files are recordings, whose, and where their stages are."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, DataError
from orchestrator.psg.dataset import DatasetFile, load_dataset
from orchestrator.psg.recordings import Source, find_recordings, matches_glob
from orchestrator.store.store import Store

LoadDataset = Callable[..., DatasetFile]

BESIDE = 'from: annotations\n      file: "{stem}-stages.edf"'


def place(folder: Path, names: Iterable[str]) -> Store:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return Store.open(str(folder))


def brief(sources: list[Source]) -> list[tuple[str, str, str | None]]:
    return [(s.subject, s.path, s.stage_path) for s in sources]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.edf", "*.edf", True),
        ("x/a.edf", "*.edf", False),
        ("a.edf", "**/*.edf", True),
        ("x/y/a.edf", "**/*.edf", True),
        ("x/y/a.edf", "x/**/a.edf", True),
        ("x/a.edf", "x/**/a.edf", True),
        ("y/a.edf", "x/**/a.edf", False),
        ("x/a.edf", "*/a.edf", True),
        ("ucddb002.rec", "ucddb[0-9][0-9][0-9].rec", True),
        ("ucddb002_lifecard.edf", "ucddb[0-9][0-9][0-9].edf", False),
        ("a.EDF", "*.edf", False),
        ("a.edf.gz", "*.edf", False),
        ("a.edf", "./*.edf", True),
        ("x/a.edf", "x//a.edf", True),
    ],
)
def test_globs(path: str, pattern: str, expected: bool) -> None:
    assert matches_glob(path, pattern) is expected


def test_recordings_come_sorted_by_subject_and_name(tmp_path: Path, dataset: LoadDataset) -> None:
    data = place(tmp_path / "d", ["p2-b.edf", "p10-a.edf", "p2-a.edf", "notes.txt", "sub/p3.edf"])
    sources = find_recordings(dataset(), data)
    assert brief(sources) == [
        ("p10", "p10-a.edf", None),
        ("p2", "p2-a.edf", None),
        ("p2", "p2-b.edf", None),
    ]
    assert [s.recording for s in sources] == ["p10-a", "p2-a", "p2-b"]
    assert all(s.stages.source == "annotations" and s.problem is None for s in sources)


def test_nothing_found_says_what_was_looked_for(tmp_path: Path, dataset: LoadDataset) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no file matches '\*\.edf' \(0 files there\)"):
        find_recordings(dataset(), Store.open(str(tmp_path / "empty")))
    data = place(tmp_path / "d", ["a.bdf", "b.bdf"])
    with pytest.raises(DataError, match=r"2 files there, such as a\.bdf, b\.bdf"):
        find_recordings(dataset(), data)


@pytest.mark.parametrize("subject", ["^q", "^(p.*)$", "^p(x?)"])
def test_a_subject_must_be_found_and_be_a_name(
    tmp_path: Path, dataset: LoadDataset, subject: str
) -> None:
    data = place(tmp_path / "d", ["p1 a.edf"])
    with pytest.raises(ConfigError, match=r"file p1 a\.edf: `subject`"):
        find_recordings(dataset({"^p\\d+": subject}), data)


def test_two_files_of_one_recording_clash(tmp_path: Path, dataset: LoadDataset) -> None:
    data = place(tmp_path / "d", ["x/p1.edf", "y/p1.edf", "p2.edf"])
    with pytest.raises(ConfigError, match=r"x/p1\.edf, y/p1\.edf are all recording 'p1'"):
        find_recordings(dataset({'"*.edf"': '"**/*.edf"'}), data)


def test_a_hypnogram_lies_next_to_its_recording(tmp_path: Path, dataset: LoadDataset) -> None:
    names = ["x/p1.edf", "x/p1-stages.edf", "p2-stages.edf", "x/p2.edf"]
    data = place(tmp_path / "d", names)
    loaded = dataset({"from: annotations": BESIDE, '"*.edf"': '"**/p[0-9].edf"'})
    one, two = find_recordings(loaded, data)
    assert (one.stage_path, one.problem) == ("x/p1-stages.edf", None)
    # That of p2 lies in another folder: set aside, and the rest goes on.
    assert two.stage_path is None
    assert two.problem is not None
    assert two.problem.reason == "missing_hypnogram"
    assert "x/p2.edf: 0 stage files match 'x/p2-stages.edf'" in two.problem.message


def test_where_stages_are_optional_a_missing_file_makes_a_recording_unlabelled(
    tmp_path: Path, dataset: LoadDataset
) -> None:
    data = place(tmp_path / "d", ["p1.edf", "p1-stages.edf", "p2.edf"])
    beside = f"{BESIDE}\n      optional: true"
    loaded = dataset({"from: annotations": beside, '"*.edf"': '"p?.edf"'})
    one, two = find_recordings(loaded, data)
    assert (one.stage_path, one.stages.source, one.why_unlabelled) == (
        "p1-stages.edf", "annotations", None,
    )  # fmt: skip
    assert (two.stage_path, two.stages.source, two.problem) == (None, "none", None)
    assert two.why_unlabelled == "p2.edf: 0 stage files match 'p2-stages.edf', one is needed."


@pytest.mark.parametrize(
    ("names", "file", "reason"),
    [
        (["p1.edf", "p1-a-stages.edf", "p1-b-stages.edf"], "{stem}-?-stages.edf", "ambiguous_hypnogram"),
        (["p1.edf"], "{key}-stages.edf\"\n      key: \"-(.)$", "missing_hypnogram"),
    ],
)  # fmt: skip
def test_an_unclear_stage_file_is_none_that_is_missing(
    tmp_path: Path, dataset: LoadDataset, names: list[str], file: str, reason: str
) -> None:
    beside = f'from: annotations\n      optional: true\n      file: "{file}"'
    loaded = dataset({"from: annotations": beside, '"*.edf"': '"p?.edf"'})
    (source,) = find_recordings(loaded, place(tmp_path / "d", names))
    assert source.problem is not None
    assert source.problem.reason == reason


def test_two_hypnograms_are_one_too_many(tmp_path: Path, dataset: LoadDataset) -> None:
    data = place(tmp_path / "d", ["p1.edf", "p1-a-stages.edf", "p1-b-stages.edf"])
    stages = BESIDE.replace("{stem}", "{stem}-?")
    (source,) = find_recordings(dataset({"from: annotations": stages, '"*.edf"': '"p?.edf"'}), data)
    assert source.problem is not None
    assert source.problem.reason == "ambiguous_hypnogram"
    assert "p1-a-stages.edf, p1-b-stages.edf" in source.problem.message


def test_brackets_in_names_are_no_pattern(tmp_path: Path, dataset: LoadDataset) -> None:
    """``{stem}`` and the folder stand for themselves."""
    names = ["lab [1]/p1[a].edf", "lab [1]/p1[a]-stages.edf"]
    loaded = dataset({"from: annotations": BESIDE, '"*.edf"': '"**/*].edf"'})
    (source,) = find_recordings(loaded, place(tmp_path / "d", names))
    assert source.problem is None
    assert source.stage_path == "lab [1]/p1[a]-stages.edf"


def test_a_name_without_the_key_is_set_aside(tmp_path: Path, dataset: LoadDataset) -> None:
    stages = "from: annotations\n      file: '{key}-stages.edf'\n      key: '-(\\d)'"
    data = place(tmp_path / "d", ["p1-7.edf", "7-stages.edf", "p1-x.edf"])
    found = find_recordings(dataset({"from: annotations": stages, '"*.edf"': '"p*.edf"'}), data)
    assert [s.stage_path for s in found] == ["7-stages.edf", None]
    assert found[1].problem is not None
    assert found[1].problem.reason == "missing_hypnogram"


def test_both_forms_of_ucddb(tmp_path: Path, root: Path) -> None:
    names = [
        "files/ucddb002.rec",
        "files/ucddb002_stage.txt",
        "files/ucddb002_lifecard.edf",
        "files/ucddb002_respevt.txt",
        "rebuilt/ucddb003.edf",
        "ucddb2.edf",
    ]
    published, rebuilt = find_recordings(
        load_dataset(root / "datasets" / "ucddb.yaml"), place(tmp_path / "d", names)
    )
    assert (published.subject, published.path) == ("ucddb002", "files/ucddb002.rec")
    assert published.stage_path == "files/ucddb002_stage.txt"
    assert published.stages.identity() == {
        "codes": {"0": 0, "1": 4, "2": 1, "3": 2, "4": 3, "5": 3, "6": -1, "7": -1},
        "epochs_per_code": 1,
    }
    assert (rebuilt.subject, rebuilt.path) == ("ucddb003", "rebuilt/ucddb003.edf")
    assert (rebuilt.stage_path, rebuilt.stages.source) == (None, "annotations")


def test_sleep_edf_pairs_nights_and_joins_both_nights_of_a_person(
    tmp_path: Path, root: Path
) -> None:
    names = [
        "sleep-cassette/SC4001E0-PSG.edf",
        "sleep-cassette/SC4001EC-Hypnogram.edf",
        "sleep-cassette/SC4002E0-PSG.edf",
        "sleep-cassette/SC4002EC-Hypnogram.edf",
        "sleep-telemetry/ST7011J0-PSG.edf",
        "sleep-telemetry/ST7011JP-Hypnogram.edf",
    ]
    sources = find_recordings(
        load_dataset(root / "datasets" / "sleep-edf.yaml"), place(tmp_path / "d", names)
    )
    assert brief(sources) == [
        ("SC400", names[0], names[1]),
        ("SC400", names[2], names[3]),
        ("ST701", names[4], names[5]),
    ]


def test_longer_scoring_windows_count_as_several_epochs(
    tmp_path: Path, dataset: LoadDataset
) -> None:
    stages = "from: codes\n      file: '{stem}.txt'\n      codes: {0: W}\n      epoch_s: 60"
    data = place(tmp_path / "d", ["p1.edf", "p1.txt"])
    (source,) = find_recordings(dataset({"from: annotations": stages}), data)
    assert source.stages.identity() == {"codes": {"0": 0}, "epochs_per_code": 2}
