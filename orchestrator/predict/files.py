"""The files of one staged recording, as bytes: equal recordings give equal bytes.

- ``<recording>_hypnogram.edf``: EDF+ with annotations only, which programs for recordings show beside the signals;
- ``<recording>_events.tsv``: the events of BIDS, one row an epoch;
- ``<recording>.csv``: a table for statistics, one row an epoch, whose stage names YASA reads, too;
- ``<recording>_summary.json``: sleep statistics, and what one has to know to believe them;
- ``<recording>.png``: the picture of :mod:`orchestrator.predict.picture`.

EDF+ and TSV name stages with the texts that ``orchestrator ingest`` knows without being told, so that it reads both.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.predict.staged import UNCERTAIN_BELOW, ShownChannel, StagedNight
from orchestrator.predict.statistics import Agreement, SleepStatistics, bouts, sleep_statistics
from orchestrator.psg.epoch_grid import EPOCH_S
from trainables.stages import STAGE_NAMES, UNSCORED, Stage

EVENT_TEXTS: Mapping[int, str] = {
    Stage.W: "Sleep stage W",
    Stage.N1: "Sleep stage N1",
    Stage.N2: "Sleep stage N2",
    Stage.N3: "Sleep stage N3",
    Stage.REM: "Sleep stage R",
    UNSCORED: "Sleep stage ?",
}
"""Stage -> text of an annotation: the AASM ones among `trainables.stages.ANNOTATION_STAGES`."""

UNSTAGED = "UNS"
"""What YASA calls an epoch without a stage."""

NOT_GIVEN = "n/a"
"""What BIDS writes where there is no value."""

EVENT_COLUMNS = ("onset", "duration", "trial_type", "probability", "entropy", "flat", "reference")
"""Of the events: the first three are those of BIDS, ``probability`` is that of the stage in ``trial_type``."""

TABLE_COLUMNS = (
    *("epoch", "onset_s", "stage"),
    *(f"p_{name}" for name in STAGE_NAMES),
    "entropy",
)
"""Of the table; ``epoch`` counts from 0."""

_DIGITS = 4  # after the point, in the summary; as many as YASA gives
_HEADER_YEARS = range(1985, 2085)  # that two digits of an EDF header can say
_LONGEST_CODE = 40  # characters, of a subject or recording in an EDF header


def night_files(night: StagedNight, channel: ShownChannel | None = None) -> dict[str, bytes]:
    """Return the files of one staged recording.

    Parameters
    ----------
    night : StagedNight
    channel : ShownChannel, optional
        Whose spectrogram is drawn below the stages; none is drawn without it.

    Returns
    -------
    dict of str to bytes
        File name -> content. The names begin with that of the recording.
    """
    from orchestrator.predict.picture import night_png  # here: matplotlib takes half a second

    contents = (
        hypnogram_edf(night),
        events_tsv(night),
        epochs_csv(night),
        night_png(night, channel),
        summary_json(night),
    )
    return dict(zip(output_names(night.recording), contents, strict=True))


def output_names(recording: str) -> tuple[str, ...]:
    """Return the names of the files of a recording, that of the summary last."""
    endings = ("_hypnogram.edf", "_events.tsv", ".csv", ".png", "_summary.json")
    return tuple(recording + ending for ending in endings)


def hypnogram_edf(night: StagedNight) -> bytes:
    """Return the hypnogram as EDF+ that holds annotations only, one for each stretch of a stage, as in Sleep-EDF.

    Onsets count from the start of the recording, so the file lies beside the one with the signals. Its header has the
    start to the second, where that is known and its year can be said in EDF, and the subject's code in ASCII.
    """
    import edfio

    annotations = [
        edfio.EdfAnnotation(
            night.onset_s + EPOCH_S * start,
            EPOCH_S * (stop - start),
            EVENT_TEXTS[int(night.stages[start])],
        )
        for start, stop in bouts(night.stages)
    ]
    edf = edfio.Edf(
        [],
        patient=edfio.Patient(code=_edf_code(night.subject)),
        recording=edfio.Recording(
            startdate=_edf_date(night),
            hospital_administration_code=_edf_code(night.recording),
        ),
        # Without the fraction: a reader would move the annotations by it, away from the signals.
        starttime=time() if night.start is None else night.start.time().replace(microsecond=0),
        annotations=annotations,
    )
    sink = io.BytesIO()
    edf.write(sink)
    return sink.getvalue()


def events_tsv(night: StagedNight) -> bytes:
    """Return the epochs as events of BIDS: tab-separated, `EVENT_COLUMNS`, ``n/a`` for what there is not.

    An epoch that is not staged is an event, too, with the text ``Sleep stage ?``.
    """
    reference = (
        [NOT_GIVEN] * night.n_epochs
        if night.reference is None
        else [EVENT_TEXTS[stage] for stage in night.reference.tolist()]
    )
    columns = (
        _numbers(night.onsets_s),
        [str(EPOCH_S)] * night.n_epochs,
        [EVENT_TEXTS[stage] for stage in night.stages.tolist()],
        _numbers(_probability_of_stage(night), NOT_GIVEN),
        _numbers(night.entropy.astype(np.float32), NOT_GIVEN),
        [str(int(flat)) for flat in night.flat],
        reference,
    )
    return _table(EVENT_COLUMNS, zip(*columns, strict=True), "\t")


def epochs_csv(night: StagedNight) -> bytes:
    """Return the epochs as a table: `TABLE_COLUMNS`, nothing where an epoch is not staged.

    Stages are W, N1, N2, N3 and REM, and `UNSTAGED`, so that ``yasa.Hypnogram(list(table["stage"]))`` reads them.
    Probabilities have all the digits of a 32-bit number.
    """
    columns = (
        [str(epoch) for epoch in range(night.n_epochs)],
        _numbers(night.onsets_s),
        [UNSTAGED if stage == UNSCORED else STAGE_NAMES[stage] for stage in night.stages.tolist()],
        *(_numbers(night.probability[:, stage]) for stage in Stage),
        _numbers(night.entropy.astype(np.float32)),
    )
    return _table(TABLE_COLUMNS, zip(*columns, strict=True), ",")


def summary_json(night: StagedNight) -> bytes:
    """Return sleep statistics, and what one has to know to believe them, as JSON.

    Definitions are in :class:`SleepStatistics` and :class:`Agreement`; units are in the names of the keys, and
    numbers have four digits after the point. ``null`` is what is undefined or unknown: minutes in a stage that the
    model cannot say are unknown, and not 0. ``scorer`` is null without a reference.
    """
    summary = {
        "recording": night.recording,
        "subject": night.subject,
        "start": None if night.start is None else night.start.isoformat(),
        "recording_sha256": night.source_sha256,
        "staging_id": night.staging_id,
        "model": dict(sorted(night.model.items())),
        "stages_the_model_cannot_say": [stage.name for stage in night.cannot_say],
        "notes": [*night.notes, *night.cautions],
        "n_epochs": night.n_epochs,
        "epoch_s": EPOCH_S,
        "onset_s": night.onset_s,
        "remainder_s": night.remainder_s,
        **_shares(night),
        "sleep": _said_only(_statistics(sleep_statistics(night.stages)), night),
        "scorer": _scorer(night),
    }
    return (json.dumps(_rounded(summary), indent=2, ensure_ascii=False) + "\n").encode()


def _probability_of_stage(night: StagedNight) -> NDArray[np.float32]:
    """Probability of the stage that was given, which need not be the most probable one; NaN where there is none."""
    # The index -1 of an epoch without a stage takes a value, too, but all of its row are NaN.
    return np.asarray(night.probability[np.arange(night.n_epochs), night.stages])


def _shares(night: StagedNight) -> dict[str, Any]:
    """How many epochs are not what one would like; shares are of all epochs."""
    uncertain, flat = night.is_uncertain, night.flat
    return {
        "n_unstaged": int((~night.is_staged).sum()),
        "unstaged_share": float((~night.is_staged).mean()),
        "n_flat": int(flat.sum()),
        "flat_share": float(flat.mean()),
        "uncertain_below": UNCERTAIN_BELOW,
        "n_uncertain": int(uncertain.sum()),
        "uncertain_share": float(uncertain.mean()),
        "mean_entropy": float(night.entropy[night.is_staged].mean())
        if night.is_staged.any()
        else None,
    }


def _statistics(found: SleepStatistics) -> dict[str, Any]:
    """Statistics with flat keys; minutes and shares of stages as ``n1_min`` and ``n1_percent_of_tst``."""
    return {
        "tib_min": found.tib_min,
        "spt_min": found.spt_min,
        "tst_min": found.tst_min,
        "waso_min": found.waso_min,
        "sleep_efficiency_percent": found.sleep_efficiency_percent,
        "sleep_maintenance_percent": found.sleep_maintenance_percent,
        "fragmentation_per_h": found.fragmentation_per_h,
        "sol_min": found.sol_min,
        "sol_persistent_min": found.sol_persistent_min,
        "rem_latency_min": found.rem_latency_min,
        "rem_latency_from_onset_min": found.rem_latency_from_onset_min,
        **{f"{stage.name.lower()}_min": minutes for stage, minutes in found.stage_min.items()},
        **{
            f"{stage.name.lower()}_percent_of_tst": percent
            for stage, percent in found.stage_percent.items()
        },
        "unstaged_min": found.unstaged_min,
        "n_transitions": found.n_transitions,
        "transitions": _by_name(found.transitions),
    }


def _said_only(statistics: dict[str, Any], night: StagedNight) -> dict[str, Any]:
    """Leave unknown what a model cannot say: no minutes of REM would read like a finding."""
    prefixes = tuple(f"{stage.name.lower()}_" for stage in night.cannot_say)
    return {key: None if key.startswith(prefixes) else v for key, v in statistics.items()}


def _scorer(night: StagedNight) -> dict[str, Any] | None:
    if night.reference is None:
        return None
    return {
        "agreement": None if (found := night.agreement) is None else _agreement(found),
        "sleep": _statistics(sleep_statistics(night.reference)),
    }


def _agreement(found: Agreement) -> dict[str, Any]:
    return {
        "n_epochs": found.n_epochs,
        "accuracy": found.accuracy,
        "macro_f1": found.macro_f1,
        "kappa": found.kappa,
        "scorer_then_model": _by_name(found.confusion),
    }


def _by_name(matrix: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Name the rows and columns of a (5, 5) matrix."""
    return {
        name: dict(zip(STAGE_NAMES, row, strict=True))
        for name, row in zip(STAGE_NAMES, matrix.tolist(), strict=True)
    }


def _rounded(value: Any) -> Any:
    """JSON values with fewer digits; whole numbers stay whole."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def _numbers(values: NDArray[np.floating], missing: str = "") -> list[str]:
    """Shortest texts that give the same numbers again."""
    return [missing if np.isnan(value) else str(value) for value in values]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _edf_code(name: str | None) -> str:
    """Name as a part of an EDF+ header, which is of printable ASCII characters without blanks; X is unknown."""
    return re.sub(r"[^!-~]", "_", name or "X")[:_LONGEST_CODE]


def _edf_date(night: StagedNight) -> date | None:
    if night.start is None or night.start.year not in _HEADER_YEARS:
        return None
    return night.start.date()
