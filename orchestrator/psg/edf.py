"""Read signals and annotations of one recording, from EDF and EDF+ and from what MNE reads besides."""

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

import edfio
import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import MissingChannelError, RecordingError
from orchestrator.psg.edf_file import EdfFile, open_edf_file

EDF_SUFFIXES = (".edf", ".rec")
"""Suffixes of files that are read as EDF; PhysioNet and ISRUC publish EDF as ``.rec``."""

_ANONYMOUS = date(1985, 1, 1)  # what EDF+ recommends in place of a date that is not to be known
_STRETCH_S = 60  # of all channels, 3 MB for 26 at 256 Hz

_UV_PER_UNIT = {"V": 1e6, "mV": 1e3, "uV": 1.0, "µV": 1.0, "μV": 1.0, "nV": 1e-3}


@dataclass(frozen=True, kw_only=True, slots=True)
class RawChannel:
    """One channel as recorded: neither filtered nor resampled."""

    label: str
    """Name in the file."""
    sfreq: float
    """Hz."""
    signal_uv: NDArray[np.float64]
    """Microvolts, shape (n_times,); the file's own unit where that is not a voltage."""
    step_uv: float
    """One step of the analogue-digital converter, in the unit of `signal_uv`; 0 if unknown."""
    lower_uv: float
    """Lowest value the converter can give; -inf if unknown."""
    upper_uv: float
    """Highest value the converter can give; inf if unknown."""
    unit: str
    """Unit in the file's header, which need not be true."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """A stretch of time with a text."""

    onset_s: float
    """Seconds from the start of the recording."""
    duration_s: float | None
    """None where the file gives none."""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRecording:
    """A recording of which one channel at a time is read. Made by `open_recording`."""

    file_name: str
    labels: tuple[str, ...]
    """Names of all channels in the file, wanted or not."""
    annotations: tuple[Annotation, ...]
    duration_s: float
    start: datetime | None
    """When it starts, in the time of its place; None where the file does not say, or not truly."""
    read: Callable[[int], RawChannel]
    """Reads the channel with a position in `labels`, whatever it holds."""

    def find(self, montage: Sequence[Sequence[str]]) -> list[int]:
        """Return where the channels of a montage are.

        Parameters
        ----------
        montage : sequence of sequences of str
            For each wanted channel its possible names, the preferred one first. Names must match exactly, but for
            case and surrounding blanks.

        Returns
        -------
        list of int
            Positions in `labels`, in the order of the montage.

        Raises
        ------
        MissingChannelError
        """
        found = []
        for names, index in zip(montage, _indices(self.labels, montage), strict=True):
            if index is None:
                raise MissingChannelError(
                    f"{self.file_name} has no channel {' or '.join(map(repr, names))}; it has "
                    f"{', '.join(map(repr, self.labels))}. Add the name to `channels` of the dataset file.",
                    names,
                    self.labels,
                )
            found.append(index)
        return found

    def has_any(self, montage: Sequence[Sequence[str]]) -> bool:
        """Whether there is at least one channel of a montage."""
        return any(index is not None for index in _indices(self.labels, montage))

    def channel(self, index: int) -> RawChannel:
        """Read one channel. It is not kept: reading it again decodes it again.

        Parameters
        ----------
        index : int
            Position in `labels`.

        Raises
        ------
        RecordingError
            ``not_edf``, ``unreadable``, ``not_finite``.
        """
        channel = self.read(index)
        if not np.isfinite(channel.signal_uv).all():
            raise RecordingError(
                "not_finite",
                f"channel {channel.label!r} of {self.file_name} holds values that are no numbers.",
            )
        return channel


@contextlib.contextmanager
def open_recording(content: bytes | Path, file_name: str) -> Iterator[OpenRecording]:
    """Open a recording; its annotations are read, its signals when they are asked for.

    Parameters
    ----------
    content : bytes or Path
        Content of the file, or a local file. Of a file no more than a channel is in memory at a time.
    file_name : str
        Its name: the suffix decides who reads it. ``.edf`` and ``.rec`` are EDF; others go to MNE.

    Raises
    ------
    RecordingError
        ``not_edf``, ``truncated``, ``discontinuous``, ``unreadable``.
    """
    is_edf = PurePosixPath(file_name).suffix.lower() in EDF_SUFFIXES
    with _opened(content) as file:
        if is_edf:
            yield _open_edf(file, file_name)
        else:
            with _named(file, file_name) as path:
                yield _open_with_mne(path, file_name)


def read_annotations(data: bytes, file_name: str) -> tuple[Annotation, ...]:
    """Read a file that holds annotations only, such as a Sleep-EDF hypnogram.

    Raises
    ------
    RecordingError
        ``not_edf`` or ``truncated``.
    """
    edf_file = open_edf_file(io.BytesIO(data), file_name)
    with _edf_errors(file_name):
        edf = _edf_of_annotations(edf_file)
        return () if edf is None else _annotations(edf)


def _opened(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _open_edf(file: BinaryIO, file_name: str) -> OpenRecording:
    edf_file = open_edf_file(file, file_name)
    with _edf_errors(file_name):
        header = _read_edf(edf_file.header_of(range(len(edf_file.counts))))
        marks = _edf_of_annotations(edf_file)
        if marks is not None and not marks.is_continuous:
            raise RecordingError(
                "discontinuous",
                f"{file_name} is a discontinuous EDF+ (EDF+D). Export it as continuous (EDF+C).",
            )
        return OpenRecording(
            file_name=file_name,
            labels=tuple(header.labels),
            annotations=() if marks is None else _annotations(marks),
            duration_s=float(edf_file.n_records * header.data_record_duration),
            start=_start(header if marks is None else marks),
            read=lambda index: _edf_channel(edf_file, index, header.signals[index], file_name),
        )


def _start(header: edfio.Edf) -> datetime | None:
    """Return the start in a header; the date that stands for an anonymised one counts as none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EDF+ has the date twice, and that they differ
            found = datetime.combine(header.startdate, header.starttime)
    except (ValueError, IndexError, edfio.AnonymizedDateError):  # whatever is written there
        return None
    return None if found.date() == _ANONYMOUS else found


def _start_of_mne(raw: Any) -> datetime | None:
    """Return the start of the measurement, of which a cropped file holds a part; MNE has it in UTC."""
    measured: datetime | None = raw.info["meas_date"]
    if measured is None or measured.date() == _ANONYMOUS:
        return None
    return measured.replace(tzinfo=None) + timedelta(seconds=float(raw.first_time))


def _edf_of_annotations(edf_file: EdfFile) -> edfio.Edf | None:
    signals = edf_file.annotation_signals
    return _read_edf(edf_file.cut(signals)) if signals else None


def _edf_channel(
    edf_file: EdfFile, index: int, signal: edfio.EdfSignal, file_name: str
) -> RawChannel:
    with _edf_errors(file_name):
        unit = signal.physical_dimension.strip()
        scale = _UV_PER_UNIT.get(unit, 1.0)
        bounds = sorted((signal.physical_min * scale, signal.physical_max * scale))
        return RawChannel(
            label=signal.label,
            sfreq=float(signal.sampling_frequency),
            step_uv=(bounds[1] - bounds[0]) / (signal.digital_max - signal.digital_min),
            signal_uv=_values(edf_file, edf_file.ordinary_signals[index]) * scale,
            lower_uv=bounds[0],
            upper_uv=bounds[1],
            unit=unit,
        )


def _values(edf_file: EdfFile, position: int) -> NDArray[np.float64]:
    """Return a signal in the file's unit, (n_times,)."""
    if not edf_file.counts[position]:  # edfio cannot read an EDF of nothing
        return np.empty(0)
    return _read_edf(edf_file.cut([position])).signals[0].data


def _read_edf(data: bytes) -> edfio.Edf:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are checked already; header oddities do no harm
        return edfio.read_edf(data, lazy_load_data=False, header_encoding="latin-1")


@contextlib.contextmanager
def _edf_errors(file_name: str) -> Iterator[None]:
    """Around every use of an Edf: edfio parses lazily, so a broken field fails where it is first read."""
    try:
        yield
    except UnboundLocalError as error:  # what edfio makes of a division by this length
        raise RecordingError(
            "not_edf", f"{file_name} cannot be read as EDF: its data records last 0 s."
        ) from error
    except (ValueError, KeyError, IndexError, ArithmeticError) as error:
        raise RecordingError("not_edf", f"{file_name} cannot be read as EDF: {error}.") from error


def _annotations(edf: edfio.Edf) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(onset_s=a.onset, duration_s=a.duration, text=a.text) for a in edf.annotations
    )


def _indices(labels: Sequence[str], montage: Sequence[Sequence[str]]) -> list[int | None]:
    """Return where each wanted channel is in the file, None where it is not."""
    exact = {label.strip(): i for i, label in reversed(list(enumerate(labels)))}
    folded = {label.strip().casefold(): i for i, label in reversed(list(enumerate(labels)))}
    return [
        next(
            (
                where[name]
                for where, wanted in ((exact, names), (folded, [n.casefold() for n in names]))
                for name in wanted
                if name in where
            ),
            None,
        )
        for names in montage
    ]


@contextlib.contextmanager
def _named(file: BinaryIO, file_name: str) -> Iterator[str]:
    """Copy a file to where it lies alone: MNE chooses its reader by the suffix, and looks at neighbours of the file."""
    suffix = "".join(PurePosixPath(file_name).suffixes[-2:])
    with NamedTemporaryFile(suffix=suffix) as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.name


def _open_with_mne(path: str, file_name: str) -> OpenRecording:
    import mne  # here: 1 s that EDF does not need

    with _mne_errors(path, file_name):
        raw = mne.io.read_raw(path, preload=False, verbose="error")
        _read_through(raw)
    return recording_of_raw(raw, file_name, path)


def recording_of_raw(raw: Any, file_name: str, path: str = "") -> OpenRecording:
    """Return a recording that MNE has opened.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Its signals are read when they are asked for. MNE keeps volts, and neither the steps nor the range of the
        converter.
    file_name : str
        What errors call it.
    path : str
        What MNE calls it in errors, to be replaced in them.
    """
    annotations = tuple(
        Annotation(
            # MNE counts from the start of the measurement, of which a cropped file holds a part.
            onset_s=float(a["onset"] - raw.first_time),
            duration_s=float(a["duration"]),
            text=a["description"],
        )
        for a in raw.annotations
    )

    def read(index: int) -> RawChannel:
        with _mne_errors(path, file_name):
            signal_v = raw.get_data(picks=[index], verbose="error")[0]
        return RawChannel(
            label=raw.ch_names[index],
            sfreq=float(raw.info["sfreq"]),
            signal_uv=signal_v * 1e6,
            step_uv=0.0,
            lower_uv=-np.inf,
            upper_uv=np.inf,
            unit="V",
        )

    return OpenRecording(
        file_name=file_name,
        labels=tuple(raw.ch_names),
        annotations=annotations,
        duration_s=raw.n_times / float(raw.info["sfreq"]),
        start=_start_of_mne(raw),
        read=read,
    )


def _read_through(raw: Any) -> None:
    """Decode all values once, a stretch at a time: else a truncated file is one that lacks its last annotations."""
    n_at_once = max(1, round(_STRETCH_S * raw.info["sfreq"]))
    for start in range(0, raw.n_times, n_at_once):
        stop = min(start + n_at_once, raw.n_times)
        raw.get_data(start=start, stop=stop, verbose="error")


@contextlib.contextmanager
def _mne_errors(path: str, file_name: str) -> Iterator[None]:
    """Around every use of MNE: it has a reader per format, and a broken file breaks each differently."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        if path:
            what = what.replace(path, file_name)
        raise RecordingError(
            "unreadable",
            f"{file_name} can be read neither as EDF nor by MNE: {' '.join(what.split()).rstrip('.')}.",
        ) from error
