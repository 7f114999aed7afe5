"""Data set files: the shipped ones find what is published, and mistakes are reported where they stand."""

from pathlib import Path

import pytest

from orchestrator.config.montage import load_montage
from orchestrator.errors import ConfigError, RecordingError
from orchestrator.psg.dataset import DatasetFile, load_dataset
from orchestrator.psg.stages import NoStages
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.psg.stages.codes import StagesFromCodes
from trainables.stages import ANNOTATION_STAGES, UNSCORED, Stage

DATASETS = Path(__file__).parents[3] / "datasets"

GOOD = """\
name: lab
title: Our laboratory
licence: ODC-By 1.0
recordings:
  - files: "*.edf"
    subject: '^(p\\d+)-'
    stages:
      from: annotations
labels:
  Wake: W
  Artefact: unscored
channels:
  emg: [EMG chin]
  eeg: [[EEG C3-M2, C3A2], F3]
filter_hz:
  emg: [15, 45]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def place(text: str, part: str) -> str:
    """Line and column of a part of a text that occurs once."""
    assert text.count(part) == 1
    before = text[: text.index(part)]
    return f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


def found(dataset: DatasetFile, folder: Path) -> dict[str, str | None]:
    """Recordings that the globs find in a folder, with their subjects."""
    return {
        path.name: form.subject_of(path.name)
        for form in dataset.recordings
        for path in sorted(folder.glob(form.files))
    }


def test_a_file_fills_in_filters_and_labels(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, GOOD))
    assert dataset.modalities == ("eeg", "emg")
    assert dataset.channels == {"emg": (("EMG chin",),), "eeg": (("EEG C3-M2", "C3A2"), ("F3",))}
    assert dataset.filter_hz == {"eeg": (0.3, 35), "emg": (15, 45)}
    assert dataset.annotation_stages == {**ANNOTATION_STAGES, "Wake": 0, "Artefact": UNSCORED}
    assert dataset.labels_beyond_signal == "quarantine"
    assert dataset.url is None
    (form,) = dataset.recordings
    assert form.subject_of("p07-night2.edf") == "p07"
    assert form.subject_of("x07-night2.edf") is None
    assert form.stages.glob_for("p07-night2.edf") is None


@pytest.mark.parametrize("path", sorted(DATASETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_load_and_say_what_they_are(path: Path) -> None:
    assert load_dataset(path).name == path.stem
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "# Get it" in text
    assert "# Licence: " in text


def test_the_shipped_files_are_there() -> None:
    assert {path.stem for path in DATASETS.glob("*.yaml")} >= {
        *("ucddb", "sleep-edf", "nap", "synthetic", "synthetic-isruc-s3", "synthetic-mass-ss3")
    }


def test_ucddb_takes_both_forms_and_leaves_the_holter_files(tmp_path: Path) -> None:
    inner = tmp_path / "files" / "ucddb" / "1.0.0"
    inner.mkdir(parents=True)
    for name in ("ucddb002.rec", "ucddb002_stage.txt", "ucddb002_lifecard.edf", "SHA256SUMS.txt"):
        (inner / name).touch()
    (tmp_path / "ucddb018.edf").touch()
    dataset = load_dataset(DATASETS / "ucddb.yaml")
    assert found(dataset, tmp_path) == {"ucddb002.rec": "ucddb002", "ucddb018.edf": "ucddb018"}
    assert all(form.subject_of("ucddb002_lifecard.edf") is None for form in dataset.recordings)
    published, rebuilt = (form.stages for form in dataset.recordings)
    assert isinstance(published, StagesFromCodes)
    assert published.glob_for("ucddb002.rec") == "ucddb002_stage.txt"
    # https://physionet.org/content/ucddb/1.0.0/: 0 Wake, 1 REM, 2-5 Stage 1-4, 6 Artifact, 7 Indeterminate
    assert [published.codes[code] for code in range(8)] == [
        *(Stage.W, Stage.REM, Stage.N1, Stage.N2, Stage.N3, Stage.N3, UNSCORED, UNSCORED)
    ]
    assert published.epoch_s == 30
    assert isinstance(rebuilt, StagesFromAnnotations)
    assert rebuilt.glob_for("ucddb018.edf") is None
    assert dataset.channels == {"eeg": (("EEG", "C3A2"),)}


def test_sleep_edf_pairs_hypnograms_and_joins_the_nights_of_a_person(tmp_path: Path) -> None:
    pairs = {
        "SC4001E0-PSG.edf": ("SC400", "SC4001EC-Hypnogram.edf"),
        "SC4002E0-PSG.edf": ("SC400", "SC4002EC-Hypnogram.edf"),
        "SC4461F0-PSG.edf": ("SC446", "SC4461FM-Hypnogram.edf"),
        "ST7011J0-PSG.edf": ("ST701", "ST7011JP-Hypnogram.edf"),
    }
    for recording, (_, hypnogram) in pairs.items():
        (tmp_path / recording).touch()
        (tmp_path / hypnogram).touch()
    dataset = load_dataset(DATASETS / "sleep-edf.yaml")
    assert found(dataset, tmp_path) == {name: subject for name, (subject, _) in pairs.items()}
    for form in dataset.recordings:
        for path in tmp_path.glob(form.files):
            pattern = form.stages.glob_for(path.name)
            assert pattern is not None
            assert [match.name for match in tmp_path.glob(pattern)] == [pairs[path.name][1]]
    assert dataset.modalities == ("eeg", "eog")


def test_synthetic_subjects_are_whole_names(tmp_path: Path) -> None:
    (tmp_path / "shift0").mkdir()
    (tmp_path / "shift0" / "shift0-seed1-01.edf").touch()
    dataset = load_dataset(DATASETS / "synthetic.yaml")
    assert found(dataset, tmp_path) == {"shift0-seed1-01.edf": "shift0-seed1-01"}
    assert dataset.modalities == ("eeg", "eog", "emg", "ecg")


@pytest.mark.parametrize(
    ("name", "montage"),
    [
        ("synthetic", "basic"),
        ("synthetic-isruc-s3", "isruc-s3"),
        ("synthetic-mass-ss3", "mass-ss3"),
    ],
)
def test_a_montage_stands_for_its_channels(name: str, montage: str) -> None:
    dataset = load_dataset(DATASETS / f"{name}.yaml")
    assert dataset.channels == load_montage(montage).channels
    assert dataset.modalities == ("eeg", "eog", "emg", "ecg")
    assert dataset.filter_hz["ecg"] == (0.5, 40)


def test_the_basic_montage_is_what_the_data_set_file_used_to_list() -> None:
    """Else stores of made-up recordings would be converted again."""
    assert load_dataset(DATASETS / "synthetic.yaml").channels == {
        "eeg": (("EEG C3-M2",),),
        "eog": (("EOG E1-M2",),),
        "emg": (("EMG chin",),),
        "ecg": (("ECG",),),
    }


WITHOUT = GOOD.replace("channels:\n  emg: [EMG chin]\n  eeg: [[EEG C3-M2, C3A2], F3]\n", "")


def test_neither_channels_nor_montage(tmp_path: Path) -> None:
    path = write(tmp_path, WITHOUT)
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    assert str(caught.value) == (
        f"{path}:1:1: montage: is missing, and so is 'channels': write one of them."
    )


def test_an_unknown_montage(tmp_path: Path) -> None:
    path = write(tmp_path, WITHOUT + "montage: basik\n")
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        f'{path}:{WITHOUT.count(chr(10)) + 1}:10: montage is "basik": not allowed.'
    )
    assert "Did you mean 'basic'? Allowed: basic, isruc-s3, mass-ss3" in line


def test_optional_modalities_are_kept_in_the_order_of_the_store(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, WITHOUT + "montage: basic\noptional: [ecg, emg, ecg]\n"))
    assert dataset.optional == ("emg", "ecg")
    assert load_dataset(write(tmp_path, GOOD)).optional == ()


def test_a_name_with_glob_signs_is_taken_literally(tmp_path: Path) -> None:
    text = GOOD.replace("from: annotations", 'from: annotations\n      file: "{stem}.hyp"')
    (form,) = load_dataset(write(tmp_path, text)).recordings
    (tmp_path / "p1-[a].hyp").touch()
    pattern = form.stages.glob_for("p1-[a].edf")
    assert pattern is not None
    assert [path.name for path in tmp_path.glob(pattern)] == ["p1-[a].hyp"]


def test_a_recording_without_the_key_is_an_error_of_that_recording() -> None:
    cassette = load_dataset(DATASETS / "sleep-edf.yaml").recordings[0]
    with pytest.raises(RecordingError, match=r"^odd-PSG\.edf: .*change 'key'") as caught:
        cassette.stages.glob_for("odd-PSG.edf")
    assert caught.value.reason == "missing_hypnogram"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence:", "license:", "unknown key 'license' in this file. Did you mean 'licence'?"),
        ("emg: [EMG", "emgg: [EMG", "unknown key 'emgg' in channels. Did you mean 'emg'? Allowed: eeg"),
        ("annotations", "anotations", "stages.from is \"anotations\": not allowed. Did you mean 'annotations'?"),
        ("'^(p\\d+)-'", "'^(p'", 'recordings[0].subject is "^(p": not a regular expression'),
        ('"*.edf"', '"/data/*.edf"', "must be relative"),
        ('"*.edf"', '"../*.edf"', "must be relative"),
        ('"*.edf"', '"**.edf"', "'**' must stand alone"),
        ('"*.edf"', '"deep/**"', "must end in a file name"),
        ("W\n", "w\n", "labels.Wake is \"w\": not allowed. Did you mean 'W'? Allowed: W, N1, N2, N3, REM, unscored"),
        ("[EMG chin]", "[[]]", "a channel needs at least one name"),
        ("[EMG chin]", "[[EMG chin, 3]]", "channels.emg[0][1] is 3: must be text; put it in quotes"),
        ("[15, 45]", "[15, 50]", "needs 0 < low < high < 50 Hz"),
        ("[15, 45]", "[0, 45]", "needs 0 < low < high < 50 Hz"),
        ("[15, 45]", "[15, .inf]", "filter_hz.emg[1]"),
        ("[15, 45]", "[15]", "has too few items"),
        ("[15, 45]", "[15, 45, 46]", "must have at most 2 items, not 3"),
        ("emg: [15, 45]", "ecg: [15, 45]", "filter_hz.ecg is [15, 45]: has no effect: this data set has no ecg"),
        ("channels:", "montage: basic\nchannels:", "montage is \"basic\": not together with 'channels'"),
        ("filter_hz:", "optional: [ecg]\nfilter_hz:", "optional is [\"ecg\"]: names ecg, which this data set does not"),
        ("filter_hz:", "optional: [emg, eeg]\nfilter_hz:", "names every modality; a recording needs at least one"),
        ("filter_hz:", "optional: [emgg]\nfilter_hz:", "optional[0] is \"emgg\": not allowed. Did you mean 'emg'?"),
        ("name: lab", "name: Our Lab", "it becomes a folder name"),
        ("name: lab", "name: ../lab", "it becomes a folder name"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    lines = str(caught.value).splitlines()
    line = next(line for line in lines if message in line)
    assert line.startswith(f"{path}:{GOOD[: GOOD.index(old)].count(chr(10)) + 1}:")


STAGES = {
    "missing key 'from' in recordings[0].stages": "{file: a.txt}",
    "missing key 'file' in recordings[0].stages": "{from: codes, codes: {0: W}}",
    "missing key 'codes' in recordings[0].stages": "{from: codes, file: a.txt}",
    "unknown key 'codes' in recordings[0].stages. Allowed: file, key, optional, from": (
        "{from: annotations, codes: {0: W}}"
    ),
    'recordings[0].stages.file is "{stm}.txt": unknown placeholder {stm}': (
        '{from: annotations, file: "{stm}.txt"}'
    ),
    "uses {key}, but this section has no 'key' expression": (
        '{from: annotations, file: "{key}.txt"}'
    ),
    'recordings[0].stages.key is "a": is not used': "{from: annotations, key: a}",
    "the key 'x' of recordings[0].stages.codes must be a whole number": (
        "{from: codes, file: a.txt, codes: {x: W}}"
    ),
    'recordings[0].stages.codes.0 is "N4": not allowed. Allowed: W, N1': (
        "{from: codes, file: a.txt, codes: {0: N4}}"
    ),
    'recordings[0].stages.optional is "yes": must be true or false': (
        "{from: annotations, optional: 'yes'}"
    ),
    'recordings[0].stages.file is "a.txt": has no effect, because no stage is looked for': (
        "{from: none, file: a.txt}"
    ),
    'recordings[0].stages is "nothing": not allowed': "nothing",
    "recordings[0].stages is empty: must be a mapping": "null",
    "recordings[0].stages.epoch_s is 20: must be a multiple of 30": (
        "{from: codes, file: a.txt, codes: {0: W}, epoch_s: 20}"
    ),
}


@pytest.mark.parametrize("message", STAGES)
def test_mistakes_in_the_section_stages(tmp_path: Path, message: str) -> None:
    text = GOOD.replace("stages:\n      from: annotations", f"stages: {STAGES[message]}")
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    (line,) = str(caught.value).splitlines()
    assert message in line
    assert line.startswith(f"{path}:7:")


def test_none_in_a_word_is_the_section_that_it_stands_for(tmp_path: Path) -> None:
    for stages in ("stages: none", "stages: {from: none}"):
        text = GOOD.replace("stages:\n      from: annotations", stages)
        (form,) = load_dataset(write(tmp_path, text)).recordings
        assert form.stages == NoStages()


def test_another_word_is_answered_with_the_word_that_there_is(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("stages:\n      from: annotations", "stages: nne"))
    with pytest.raises(ConfigError) as caught:
        load_dataset(path)
    assert str(caught.value) == (
        f"{path}:7:13: recordings[0].stages is \"nne\": not allowed. Did you mean 'none'? Allowed: none, or a section "
        "that says where they are, as in {from: annotations}."
    )


def test_a_repeated_code_is_a_duplicate_key_with_or_without_quotes(tmp_path: Path) -> None:
    stages = 'stages: {from: codes, file: a.txt, codes: {0: W, "0": N1}}'
    text = GOOD.replace("stages:\n      from: annotations", stages)
    with pytest.raises(ConfigError) as caught:
        load_dataset(write(tmp_path, text))
    assert f"lab.yaml:{place(text, chr(34) + '0' + chr(34))}: duplicate key '0'" in str(
        caught.value
    )
