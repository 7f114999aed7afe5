"""An EDF file from which single signals are cut: the others never come into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RecordingError

_MAIN_BYTES = 256
"""Of the header that comes before those of the signals."""

_FIELD_BYTES = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""Of a signal's header, in their order in the file: each field for all signals, then the next field."""

_COUNT_AT = sum(_FIELD_BYTES[:8])  # bytes of a signal's header before its number of values

_BLOCK_BYTES = 4 * 2**20
"""Read at a time: what fits into the cache of a processor."""

_ANNOTATIONS = "EDF Annotations"


@dataclass(frozen=True, kw_only=True, slots=True)
class EdfFile:
    """Header of an EDF file, and where its values are.

    In each data record, which is often a second, the values of all signals lie one after the other. edfio reads such a
    file as a whole, or maps it into memory, where each signal touches almost every page. So :meth:`cut` makes a smaller
    EDF of some of the signals, and edfio reads that.
    """

    file: BinaryIO
    """Open as long as signals are to be read."""
    header: bytes
    """Shape (256 * (1 + n_signals),)."""
    counts: tuple[int, ...]
    """Values of each signal in one data record."""
    n_records: int
    """Whole data records in the file, whatever the header says."""

    @property
    def ordinary_signals(self) -> list[int]:
        """Positions of the signals that are none of annotations."""
        return [i for i, label in enumerate(self._labels) if label != _ANNOTATIONS]

    @property
    def annotation_signals(self) -> list[int]:
        """Positions of the signals that hold annotations."""
        return [i for i, label in enumerate(self._labels) if label == _ANNOTATIONS]

    def cut(self, signals: Sequence[int]) -> bytes:
        """Return an EDF of all data records that holds only some of the signals.

        Raises
        ------
        ValueError
            The file has become shorter since it was opened.
        """
        return b"".join((self.header_of(signals), self._values(signals).data))

    def header_of(self, signals: Sequence[int]) -> bytes:
        """Return the header of an EDF that holds only some of the signals."""
        n_signals, start = len(self.counts), _MAIN_BYTES
        fields = []
        for width in _FIELD_BYTES:
            fields += [self.header[start + width * i : start + width * (i + 1)] for i in signals]
            start += width * n_signals
        size = f"{_MAIN_BYTES * (1 + len(signals)):<8}".encode()
        main = self.header[:184] + size + self.header[192:252] + f"{len(signals):<4}".encode()
        return main + b"".join(fields)

    @property
    def _labels(self) -> list[str]:
        width = _FIELD_BYTES[0]
        starts = range(_MAIN_BYTES, _MAIN_BYTES + width * len(self.counts), width)
        return [self.header[start : start + width].decode("latin-1").rstrip() for start in starts]

    def _values(self, signals: Sequence[int]) -> NDArray[np.int16]:
        """(n_records, values of these signals in a record), as in the file: little-endian."""
        stops = np.cumsum(self.counts)
        places = [slice(stops[i] - self.counts[i], stops[i]) for i in signals]
        n_in_record = int(stops[-1])
        values = np.empty((self.n_records, sum(self.counts[i] for i in signals)), "<i2")
        n_at_once = max(1, _BLOCK_BYTES // (2 * n_in_record))
        self.file.seek(len(self.header))
        for start in range(0, self.n_records, n_at_once):
            stop = min(start + n_at_once, self.n_records)
            block = np.frombuffer(self.file.read(2 * n_in_record * (stop - start)), "<i2")
            records = block.reshape(stop - start, n_in_record)
            np.concatenate([records[:, place] for place in places], axis=1, out=values[start:stop])
        return values


def open_edf_file(file: BinaryIO, file_name: str) -> EdfFile:
    """Read the header of an EDF file, and compare the size that it announces with the size there is.

    Parameters
    ----------
    file : binary file
        One that can seek.
    file_name : str
        For messages.

    Raises
    ------
    RecordingError
        ``not_edf``, ``truncated``.
    """
    file.seek(0)
    header = file.read(_MAIN_BYTES)
    try:
        header_bytes, n_records = int(header[184:192]), int(header[236:244])
        n_signals = int(header[252:256])
        header += file.read(_MAIN_BYTES * max(n_signals, 0))
        start = _MAIN_BYTES + _COUNT_AT * n_signals
        counts = tuple(int(header[start + 8 * i : start + 8 * (i + 1)]) for i in range(n_signals))
    except ValueError as error:
        raise RecordingError(
            "not_edf",
            f"{file_name} is not an EDF file: its header holds no numbers where they belong.",
        ) from error
    if sum(counts) <= 0 or min(counts) < 0:
        raise RecordingError(
            "not_edf", f"{file_name} is not an EDF file: its header announces no values."
        )
    n_bytes, announced = file.seek(0, 2), header_bytes + 2 * sum(counts) * n_records
    if n_bytes < announced:
        raise RecordingError(
            "truncated",
            f"{file_name} is truncated: its header announces {announced} bytes ({n_records} data records), "
            f"the file has {n_bytes}. Copy it again.",
        )
    # From the size, as edfio counts: a header that was never finished says -1.
    n_whole = (n_bytes - len(header)) // (2 * sum(counts))
    return EdfFile(file=file, header=header, counts=counts, n_records=n_whole)
