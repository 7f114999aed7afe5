"""Recordings to be staged: files, folders and globs, each with its subject and stages where a data-set file says so."""

import glob
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError, DataError
from orchestrator.models.record import ModelRecord
from orchestrator.psg.convert import Settings
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.edf import EDF_SUFFIXES
from orchestrator.psg.recordings import Source, find_recordings
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.store.store import Store

SUFFIXES = (*EDF_SUFFIXES, ".bdf", ".gdf", ".fif", ".vhdr", ".set", ".cnt", ".mff")
"""Files that are taken from a folder without a data-set file; any other may be named itself."""

_IN_THE_RECORDING = StagesFromAnnotations.model_validate({"from": "annotations", "optional": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One recording to be staged."""

    data_uri: str
    """Folder that `source` is in."""
    source: Source
    subject: str | None
    """None where nothing says who it is."""


def find_inputs(names: Sequence[str], dataset: DatasetFile | None = None) -> list[Input]:
    """Return the recordings that files, folders and globs name, in their order, each once.

    Parameters
    ----------
    names : sequence of str
        Of a folder, all recordings in it are meant: those that the data-set file describes, or without one the files
        with one of `SUFFIXES`, subfolders included.
    dataset : DatasetFile, optional
        Says who the subject of a recording is and where its stages are. Without one, stages are looked for in the
        recording itself.

    Raises
    ------
    ConfigError
        A name stands for nothing, or two recordings have the same name, so that their files would be the same.
    """
    found: dict[str, Input] = {}
    for name in names:
        for one in _named(name, dataset):
            found.setdefault(f"{one.data_uri}/{one.source.path}", one)
    by_name = defaultdict(list)
    for where, one in found.items():
        by_name[one.source.recording].append(where)
    for recording, clashing in by_name.items():
        if len(clashing) > 1:
            raise ConfigError(
                f"{' and '.join(clashing)} are both called {recording!r}, so the files of one would be overwritten "
                "by those of the other. Stage them into different folders with --out."
            )
    return list(found.values())


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
    """
    stored = record.preprocessing
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
        optional=tuple(m for m in record.modalities if m in stored.get("optional", ())),
    )


def _named(name: str, dataset: DatasetFile | None) -> list[Input]:
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, dataset)
    if path.is_file():
        return [_of_file(path, dataset)]
    matches = sorted(glob.glob(name, recursive=True))
    if not matches:
        raise ConfigError(f"{name} is no file, no folder, and a glob that matches nothing.")
    return [one for match in matches for one in _named(match, dataset)]


def _in_folder(folder: Path, dataset: DatasetFile | None) -> list[Input]:
    if dataset is not None:
        try:
            sources = find_recordings(dataset, Store.open(str(folder)))
        except DataError as error:
            raise ConfigError(str(error)) from error
        return [Input(data_uri=str(folder), source=s, subject=s.subject) for s in sources]
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ConfigError(
            f"folder {folder} holds no recording: no file ends in {', '.join(SUFFIXES)}. Name the files themselves."
        )
    return [_of_file(path, None) for path in files]


def _of_file(path: Path, dataset: DatasetFile | None) -> Input:
    folder = path.resolve().parent
    if dataset is not None:
        described = find_recordings(dataset, Store.open(str(folder)))
        for source in described:
            if source.path == path.name:
                return Input(data_uri=str(folder), source=source, subject=source.subject)
    source = Source(
        subject=path.stem,
        recording=path.stem,
        path=path.name,
        stage_path=None,
        stages=_IN_THE_RECORDING,
    )
    return Input(data_uri=str(folder), source=source, subject=None)


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
