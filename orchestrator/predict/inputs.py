"""Recordings to be staged: files, folders and globs, each with its subject and stages where a data-set file says so."""

import glob
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from orchestrator.errors import ConfigError, DataError, RecordingError
from orchestrator.models.record import ModelRecord
from orchestrator.psg.convert import Settings
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.edf import EDF_SUFFIXES
from orchestrator.psg.edf_file import open_edf_file
from orchestrator.psg.recordings import Source, find_recordings
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.store.store import Store

SUFFIXES = (*EDF_SUFFIXES, ".bdf", ".gdf", ".fif", ".fif.gz", ".set", ".cnt")
"""Files that are taken from a folder without a data-set file; any other may be named itself. Formats of several files,
such as BrainVision, are none of them: a recording is read alone."""

STAGES_IN_THE_RECORDING = StagesFromAnnotations.model_validate(
    {"from": "annotations", "optional": True}
)
"""Where stages to compare with are looked for, where nothing says where they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One recording to be staged."""

    data_uri: str
    """Folder that `source` is in."""
    source: Source
    subject: str | None
    """None where nothing says who it is."""
    dataset: str | None = None
    """Name of the data set that the subject is of."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of the result has to know."""

    @property
    def file(self) -> Path:
        """The recording."""
        return Path(self.data_uri, self.source.path)

    def of_subject(self, subject: str | None) -> "Input":
        """Return the same recording with its subject, where somebody says who it is."""
        return self if subject is None else replace(self, subject=subject)


def find_inputs(names: Sequence[str], dataset: DatasetFile | None = None) -> list[Input]:
    """Return the recordings that files, folders and globs name, in their order, each once.

    Parameters
    ----------
    names : sequence of str
        Of a folder, all recordings in it are meant: those that the data-set file describes, or without one the files
        with one of `SUFFIXES`, subfolders included. An EDF that holds annotations alone, such as the hypnogram of
        Sleep-EDF or one that was written here before, is no recording: of a folder or glob it is left out.
    dataset : DatasetFile, optional
        Says who the subject of a recording is and where its stages are. Without one, stages are looked for in the
        recording itself.

    Raises
    ------
    ConfigError
        A name stands for nothing, or two recordings have the same name, so that their files would be the same.
    """
    described = None if dataset is None else cache(partial(_described, dataset))
    found: dict[Path, Input] = {}
    for name in names:
        for one in _named(name, described):
            found.setdefault(one.file, one)
    check_names((one.source.recording, str(file)) for file, one in found.items())
    return list(found.values())


def check_names(recordings: Iterable[tuple[str, str]]) -> None:
    """Refuse two recordings of the same name, given with the place of each.

    Raises
    ------
    ConfigError
    """
    by_name = defaultdict(list)
    for recording, where in recordings:
        by_name[recording].append(where)
    for recording, clashing in by_name.items():
        if len(clashing) > 1:
            raise ConfigError(
                f"{' and '.join(clashing)} are both called {recording!r}, so the files of one would be overwritten "
                "by those of the other. Stage them into different folders with --out."
            )


def settings_for(
    record: ModelRecord,
    channels: Iterable[tuple[str, str]] = (),
    dataset: DatasetFile | None = None,
) -> Settings:
    """Return how a recording is read for a model: its filters and rate, and channels under the names they have here.

    Parameters
    ----------
    record : ModelRecord
    channels : iterable of (str, str)
        Modality and name of a channel, in the order of the model's channels; instead of the names that it knows.
    dataset : DatasetFile, optional
        Whose names of channels and texts of stages are known, too.

    Raises
    ------
    ConfigError
        A modality that the model has not, or another number of channels than it needs.
    DataError
        The model does not say how its signals were preprocessed.
    """
    stored = record.preprocessing
    if not stored:
        raise DataError(
            f"{record.name} does not say which channels it needs and how they were filtered: the recordings that it "
            "learned from were ingested by a version that did not note it. Ingest them again, and train it again."
        )
    wanted = {m: tuple(map(tuple, stored["channels"][m])) for m in record.modalities}
    if dataset is not None:
        wanted = {m: _with_names_of(dataset, m, names) for m, names in wanted.items()}
    given: dict[str, list[str]] = defaultdict(list)
    for modality, channel in channels:
        given[modality].append(channel)
    for modality, named in given.items():
        if modality not in wanted:
            raise ConfigError(
                f"--channel {modality}={named[0]}: the model needs {', '.join(wanted)}, and no {modality}."
            )
        if len(named) != len(wanted[modality]):
            raise ConfigError(
                f"--channel names {len(named)} channels for {modality} ({', '.join(named)}); the model needs "
                f"{len(wanted[modality])}, in this order: {_listed(wanted[modality])}. Give --channel once for each."
            )
        wanted[modality] = tuple((name,) for name in named)
    return Settings(
        labels={**stored.get("labels", {}), **(dataset.annotation_stages if dataset else {})},
        channels=wanted,
        filter_hz={m: tuple(stored["filter_hz"][m]) for m in record.modalities},
        labels_beyond_signal="trim",  # what a scorer said after the end says nothing about the signal
        optional=optional_of(record),
    )


def optional_of(record: ModelRecord) -> tuple[str, ...]:
    """Return the modalities that a recording may lack: never the only one."""
    optional = record.preprocessing.get("optional", ())
    several = len(record.modalities) > 1
    return tuple(m for m in record.modalities if several and m in optional)


_Described = Callable[[Path], Sequence[Input]]
"""Returns the recordings in a folder that a data-set file describes."""


def _described(dataset: DatasetFile, folder: Path) -> list[Input]:
    return [
        Input(data_uri=str(folder), source=source, subject=source.subject, dataset=dataset.name)
        for source in find_recordings(dataset, Store.open(str(folder)))
        if not _is_hypnogram(folder / source.path)
    ]


def _named(name: str, described: _Described | None) -> list[Input]:
    path = Path(name)
    if path.is_dir():
        return _in_folder(path.resolve(), described)
    if path.is_file():
        return [_of_file(path, described)]
    matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
    found = [match for match in matches if match.is_dir() or not _is_hypnogram(match)]
    if not found:
        raise ConfigError(f"{name} is no file, no folder, and a glob that matches no recording.")
    return [one for match in found for one in _named(str(match), described)]


def _in_folder(folder: Path, described: _Described | None) -> list[Input]:
    if described is not None:
        try:
            inputs = list(described(folder))
        except DataError as error:
            raise ConfigError(str(error)) from error
        if not inputs:
            raise ConfigError(
                f"the data-set file describes no recording in folder {folder}, only EDF files of annotations alone. "
                "Correct its `recordings`."
            )
        return inputs
    files = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(SUFFIXES))
    found = [path for path in files if path.is_file() and not _is_hypnogram(path)]
    if not found:
        raise ConfigError(
            f"folder {folder} holds no recording: no file ends in {', '.join(SUFFIXES)}, but for EDF files of "
            "annotations alone. Name the files themselves."
        )
    return [_of_file(path, None) for path in found]


def _is_hypnogram(path: Path) -> bool:
    """Whether a file is an EDF that holds annotations alone; one that cannot be read is told when it is staged."""
    if path.suffix.lower() not in EDF_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            return not open_edf_file(file, path.name).ordinary_signals
    except (RecordingError, OSError):
        return False


def _of_file(path: Path, described: _Described | None) -> Input:
    # Of the folder alone: a file may be a link to where it has no name that says anything, as in DataLad.
    folder = path.parent.resolve()
    if described is not None:
        try:
            return next(one for one in described(folder) if one.source.path == path.name)
        except (DataError, StopIteration):
            pass
    note = (
        "The data-set file does not describe this recording, so its subject is not known here, and stages are looked "
        "for in the recording itself."
    )
    source = Source(
        subject=path.stem,
        recording=path.stem,
        path=path.name,
        stage_path=None,
        stages=STAGES_IN_THE_RECORDING,
    )
    notes = () if described is None else (note,)
    return Input(data_uri=str(folder), source=source, subject=None, notes=notes)


def _with_names_of(
    dataset: DatasetFile, modality: str, names: tuple[tuple[str, ...], ...]
) -> tuple[tuple[str, ...], ...]:
    """Return the model's names of each channel, after those of the data-set file for the channel in that place."""
    theirs = next((c for m, c in dataset.channels.items() if m == modality), ())
    if len(theirs) != len(names):
        return names
    return tuple(
        tuple(dict.fromkeys((*others, *own))) for others, own in zip(theirs, names, strict=True)
    )


def _listed(channels: Iterable[Sequence[str]]) -> str:
    return ", ".join(" or ".join(names) for names in channels)


def wanted_text(settings: Settings) -> str:
    """Return the channels that a model wants, for an error."""
    modalities: Mapping[str, Sequence[Sequence[str]]] = settings.channels
    return "; ".join(f"{modality}: {_listed(names)}" for modality, names in modalities.items())
