"""Read signals and annotations of one recording, from EDF and EDF+ and from what MNE reads besides."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any

import edfio
import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RecordingError

EDF_SUFFIXES = (".edf", ".rec")
"""Suffixes of files that are read as EDF; PhysioNet and ISRUC publish EDF as ``.rec``."""

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
class Recording:
    """What ingest needs of one file."""

    labels: tuple[str, ...]
    """Names of all channels in the file, wanted or not."""
    channels: tuple[RawChannel, ...]
    """The wanted channels, in the order they were asked for."""
    annotations: tuple[Annotation, ...]
    duration_s: float


def read_recording(data: bytes, file_name: str, montage: Sequence[Sequence[str]]) -> Recording:
    """Read the channels of a montage and all annotations.

    Parameters
    ----------
    data : bytes
        Content of the file.
    file_name : str
        Its name: the suffix decides who reads it. ``.edf`` and ``.rec`` are EDF; others go to MNE.
    montage : sequence of sequences of str
        For each wanted channel its possible names, the preferred one first. Names must match exactly, but for
        case and surrounding blanks.

    Raises
    ------
    RecordingError
        ``not_edf``, ``truncated``, ``discontinuous``, ``missing_channel``, ``unreadable``, ``not_finite``.
    """
    if PurePosixPath(file_name).suffix.lower() in EDF_SUFFIXES:
        _check_size(data, file_name)
        with _edf_errors(file_name):
            recording = _read_edf(data, file_name, montage)
    else:
        recording = _read_with_mne(data, file_name, montage)
    for channel in recording.channels:
        if not np.isfinite(channel.signal_uv).all():
            raise RecordingError(
                "not_finite",
                f"channel {channel.label!r} of {file_name} holds values that are no numbers.",
            )
    return recording


def has_channel(data: bytes, file_name: str, montage: Sequence[Sequence[str]]) -> bool:
    """Tell whether a file has at least one channel of a montage; arguments and errors as in `read_recording`."""
    if PurePosixPath(file_name).suffix.lower() in EDF_SUFFIXES:
        _check_size(data, file_name)
        with _edf_errors(file_name):
            labels = tuple(_open_edf(data).labels)
    else:
        labels = tuple(_open_with_mne(data, file_name, preload=False).ch_names)
    return any(index is not None for index in _indices(labels, montage))


def read_annotations(data: bytes, file_name: str) -> tuple[Annotation, ...]:
    """Read a file that holds annotations only, such as a Sleep-EDF hypnogram.

    Raises
    ------
    RecordingError
        ``not_edf`` or ``truncated``.
    """
    _check_size(data, file_name)
    with _edf_errors(file_name):
        return _annotations(_open_edf(data))


def _read_edf(data: bytes, file_name: str, montage: Sequence[Sequence[str]]) -> Recording:
    edf = _open_edf(data)
    if not edf.is_continuous:
        raise RecordingError(
            "discontinuous",
            f"{file_name} is a discontinuous EDF+ (EDF+D). Export it as continuous (EDF+C).",
        )
    labels = tuple(edf.labels)
    channels = []
    for index in _find(labels, montage, file_name):
        signal = edf.signals[index]
        scale = _UV_PER_UNIT.get(signal.physical_dimension.strip(), 1.0)
        bounds = sorted((signal.physical_min * scale, signal.physical_max * scale))
        steps = signal.digital_max - signal.digital_min
        channels.append(
            RawChannel(
                label=signal.label,
                sfreq=float(signal.sampling_frequency),
                signal_uv=signal.data * scale,
                step_uv=(bounds[1] - bounds[0]) / steps,
                lower_uv=bounds[0],
                upper_uv=bounds[1],
                unit=signal.physical_dimension.strip(),
            )
        )
    return Recording(
        labels=labels,
        channels=tuple(channels),
        annotations=_annotations(edf),
        duration_s=float(edf.duration),
    )


def _open_edf(data: bytes) -> edfio.Edf:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are checked already; header oddities do no harm
        return edfio.read_edf(io.BytesIO(data), header_encoding="latin-1")


@contextlib.contextmanager
def _edf_errors(file_name: str) -> Iterator[None]:
    """Around every use of an Edf: edfio parses lazily, so a broken field fails where it is first read."""
    try:
        yield
    except (ValueError, KeyError, IndexError, ArithmeticError) as error:
        raise RecordingError("not_edf", f"{file_name} cannot be read as EDF: {error}.") from error


def _check_size(data: bytes, file_name: str) -> None:
    """Compare the size that the header announces with the size there is; edfio only warns."""
    try:
        header_bytes = int(data[184:192])
        n_records = int(data[236:244])
        n_signals = int(data[252:256])
        counts = data[256 + 216 * n_signals : 256 + 224 * n_signals]
        n_values = sum(int(counts[8 * i : 8 * i + 8]) for i in range(n_signals))
    except ValueError as error:
        raise RecordingError(
            "not_edf",
            f"{file_name} is not an EDF file: its header holds no numbers where they belong.",
        ) from error
    announced = header_bytes + 2 * n_values * n_records
    if len(data) < announced:
        raise RecordingError(
            "truncated",
            f"{file_name} is truncated: its header announces {announced} bytes ({n_records} data records), "
            f"the file has {len(data)}. Copy it again.",
        )


def _annotations(edf: edfio.Edf) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(onset_s=a.onset, duration_s=a.duration, text=a.text) for a in edf.annotations
    )


def _find(labels: Sequence[str], montage: Sequence[Sequence[str]], file_name: str) -> list[int]:
    found = []
    for names, index in zip(montage, _indices(labels, montage), strict=True):
        if index is None:
            raise RecordingError(
                "missing_channel",
                f"{file_name} has no channel {' or '.join(map(repr, names))}; it has "
                f"{', '.join(map(repr, labels))}. Add the name to `channels` of the dataset file.",
            )
        found.append(index)
    return found


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


def _open_with_mne(data: bytes, file_name: str, *, preload: bool) -> Any:
    import mne  # here: 1 s that EDF does not need

    suffix = "".join(PurePosixPath(file_name).suffixes[-2:])
    with NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        try:
            return mne.io.read_raw(file.name, preload=preload, verbose="error")
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # MNE has a reader per format, and a broken file breaks each differently
            what = f"{type(error).__name__}: {error}".replace(file.name, file_name)
            raise RecordingError(
                "unreadable",
                f"{file_name} can be read neither as EDF nor by MNE: {' '.join(what.split()).rstrip('.')}.",
            ) from error


def _read_with_mne(data: bytes, file_name: str, montage: Sequence[Sequence[str]]) -> Recording:
    raw = _open_with_mne(data, file_name, preload=True)
    labels = tuple(raw.ch_names)
    channels = [
        RawChannel(
            label=labels[i],
            sfreq=float(raw.info["sfreq"]),
            signal_uv=raw.get_data(picks=[i])[0] * 1e6,
            step_uv=0.0,
            lower_uv=-np.inf,
            upper_uv=np.inf,
            unit="V",
        )
        for i in _find(labels, montage, file_name)
    ]
    annotations = tuple(
        Annotation(
            # MNE counts from the start of the measurement, of which a cropped file holds a part.
            onset_s=float(a["onset"] - raw.first_time),
            duration_s=float(a["duration"]),
            text=a["description"],
        )
        for a in raw.annotations
    )
    return Recording(
        labels=labels,
        channels=tuple(channels),
        annotations=annotations,
        duration_s=raw.n_times / float(raw.info["sfreq"]),
    )
