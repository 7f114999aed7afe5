"""Stage recordings one after the other, or those of a data set with Ray, and write the files of each."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.errors import ConfigError, DataError, RecordingError
from orchestrator.predict.files import night_files, output_names
from orchestrator.predict.inputs import Input
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import one_thread
from orchestrator.predict.staged import StagedNight
from orchestrator.predict.staging import Staged, stage_file, staging_id
from orchestrator.predict.statistics import sleep_statistics
from orchestrator.psg.convert import Settings
from orchestrator.store.store import Store
from orchestrator.telemetry.progress import progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one recording."""

    recording: str
    text: str
    """In a few words: what the night was like, or why it is not staged."""
    is_staged: bool
    notes: tuple[str, ...] = ()
    """What a reader has to know."""


def stage_files(
    inputs: Sequence[Input], model: LoadedModel, settings: Settings, out: Store, *, overwrite: bool
) -> list[Result]:
    """Stage recordings in this process, and write the files of each to `out`.

    One that cannot be staged is told, and the others go on. One whose files are there, by the same model, is not staged
    again.

    Raises
    ------
    ConfigError
        A file that would be written is there already, from another recording or model.
    """
    one_thread()
    todo = [one for one in inputs if not _is_done(one, model, out)]
    check_free(out, [one.source.recording for one in todo], overwrite=overwrite)
    results = []
    with progress("predict", len(inputs), time_left=True) as advance:
        for one in inputs:
            if one not in todo:
                results.append(staged_before(one.source.recording))
                advance(one.source.recording)
                continue
            name = one.source.recording
            result = _result(name, partial(stage_file, one, model, settings), out)
            results.append(result)
            advance(
                f"{result.recording}: {result.text}" if not result.is_staged else result.recording
            )
    return results


def staged_before(recording: str) -> Result:
    """Return the result of a recording whose files are there."""
    return Result(recording=recording, text="staged before", is_staged=True)


def _is_done(one: Input, model: LoadedModel, out: Store) -> bool:
    data = Store.open(one.data_uri)
    return done_before(out, one.source.recording, staging_id(model, data.sha256(one.source.path)))


def check_free(out: Store, recordings: Iterable[str], *, overwrite: bool) -> None:
    """Refuse to overwrite what is there: somebody may have corrected it by hand.

    Raises
    ------
    ConfigError
    """
    if overwrite:
        return
    there = set(out.files(""))
    taken = [name for r in recordings for name in output_names(r) if name in there]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise ConfigError(
            f"{out.uri_of(taken[0])}{more} {'are' if len(taken) > 1 else 'is'} there already. Name another folder with "
            "--out, or write over these files with --overwrite."
        )


def check_results(results: Sequence[Result], *, strict: bool) -> None:
    """Raise where a command that staged these is to fail.

    Raises
    ------
    DataError
        None was staged; or with `strict`, not all.
    """
    failed = [result for result in results if not result.is_staged]
    if not failed or (len(failed) < len(results) and not strict):
        return
    first = failed[0]
    every = "none of" if len(failed) == len(results) else f"{len(failed)} of"
    raise DataError(
        f"{every} {len(results)} recordings {'could' if len(failed) == len(results) else 'could not'} be staged"
        f"{' and --strict was given' if len(failed) < len(results) else ''}. First one: {first.recording}: {first.text}"
    )


def write_night(out: Store, staged: Staged) -> None:
    """Write the files of one recording; the summary last, so that all are there where it is."""
    files = night_files(staged.night, staged.channel)
    for name in output_names(staged.night.recording):
        out.write_bytes(name, files[name])


def night_text(night: StagedNight) -> str:
    """Return what a night was like, in a line."""
    sleep = sleep_statistics(night.stages)
    n_staged = int(night.is_staged.sum())
    parts = [f"{n_staged} of {night.n_epochs} epochs staged, asleep {sleep.tst_min / 60:.1f} h"]
    found = night.agreement
    if found is not None:
        parts.append(
            f"against the scorer: accuracy {found.accuracy:.2f}, macro-F1 {found.macro_f1:.2f}, kappa {found.kappa:.2f}"
        )
    if night.remainder_s >= 0.5:
        parts.append(f"{night.remainder_s:.0f} s at the end are no whole epoch")
    return "; ".join(parts)


def _result(recording: str, stage: Callable[[], Staged], out: Store) -> Result:
    try:
        staged = stage()
        write_night(out, staged)
    except RecordingError as error:
        return Result(recording=recording, text=error.message, is_staged=False)
    night = staged.night
    return Result(
        recording=recording,
        text=night_text(night),
        is_staged=True,
        notes=(*night.notes, *night.cautions),
    )


def done_before(out: Store, recording: str, wanted: str) -> bool:
    """Whether the files of a recording are there, and of the same model and recording."""
    path = output_names(recording)[-1]
    content = out.read_if_there(path)
    if content is None:
        return False
    try:
        about: Mapping[str, Any] = json.loads(content)
    except ValueError:
        return False
    return about.get("staging_id") == wanted
