"""Stage recordings one after the other, or those of a data set with Ray, and write the files of each."""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.errors import ConfigError, DataError, RecordingError
from orchestrator.predict.files import night_files, output_names
from orchestrator.predict.inputs import Input
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import one_thread
from orchestrator.predict.staged import StagedNight
from orchestrator.predict.staging import Staged, file_staging_id, stage_file
from orchestrator.predict.statistics import sleep_statistics
from orchestrator.psg.convert import Settings
from orchestrator.store.store import Store
from orchestrator.telemetry.progress import progress

STAGED_BEFORE = "staged before"
"""Text of a result whose files were there."""


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
    again unless `overwrite`: a run that was stopped goes on.

    Raises
    ------
    ConfigError
        A file that would be written is there already, from another recording or model, or is one that is read.
    """
    one_thread()
    _check_is_no_input(out, inputs)
    outputs = Outputs.of(out)
    done = set()
    if not overwrite:
        ids = {one.source.recording: partial(_id_of, one, model, settings) for one in inputs}
        done = outputs.done(ids)
        outputs.check_free(ids, done)
    results = []
    with progress("predict", len(inputs), time_left=True) as advance:
        for one in inputs:
            name = one.source.recording
            if name in done:
                result = Result(recording=name, text=STAGED_BEFORE, is_staged=True)
            else:
                result = _result(name, partial(stage_file, one, model, settings), out)
            results.append(result)
            advance(name if result.is_staged else f"{name}: {result.text}")
    return results


def _id_of(given: Input, model: LoadedModel, settings: Settings) -> str | None:
    """Return the staging id; None for a recording that cannot be read, which is told when it is staged."""
    try:
        return file_staging_id(given, model, settings)
    except RecordingError:
        return None


def _check_is_no_input(out: Store, inputs: Sequence[Input]) -> None:
    """Refuse to write over a recording or its stages, such as ``a.csv`` next to ``a.edf``."""
    read = {
        str(Path(one.data_uri, path).resolve())
        for one in inputs
        for path in (one.source.path, one.source.stage_path)
        if path is not None
    }
    for one in inputs:
        for name in output_names(one.source.recording):
            if out.is_local and str(Path(out.uri_of(name)).resolve()) in read:
                raise ConfigError(
                    f"{out.uri_of(name)} is read here, and would be written over. Name another folder with --out."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What lies in a folder of outputs before anything is staged."""

    out: Store
    names: frozenset[str]
    """Of the files that are there."""

    @classmethod
    def of(cls, out: Store) -> "Outputs":
        """Look into a folder."""
        return cls(out=out, names=frozenset(out.files("", recursive=False)))

    def done(self, ids: Mapping[str, Callable[[], str | None]]) -> set[str]:
        """Return the recordings of which all files are there, of the same model and recording.

        Parameters
        ----------
        ids : mapping of str to callable
            Recording -> returns the staging id that its files would have.
        """
        whole = [
            name
            for name in ids
            if self.names.issuperset(output_names(name)) and unfinished_name(name) not in self.names
        ]
        return {name for name in whole if self._is_of(output_names(name)[-1], ids[name])}

    def check_free(
        self, ids: Mapping[str, Callable[[], str | None]], done: Container[str] = ()
    ) -> None:
        """Refuse to overwrite what is there: somebody may have corrected it by hand.

        Files that a run of the same kind was stopped at are written anew.

        Raises
        ------
        ConfigError
        """
        taken = [
            name
            for recording in ids
            if recording not in done
            if not self._is_of(unfinished_name(recording), ids[recording])
            for name in output_names(recording)
            if name in self.names
        ]
        if taken:
            more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
            raise ConfigError(
                f"{self.out.uri_of(taken[0])}{more} {'are' if len(taken) > 1 else 'is'} there already, from another "
                "model or recording, or not whole. Name another folder with --out, or write over these files with "
                "--overwrite."
            )

    def _is_of(self, path: str, staging_id: Callable[[], str | None]) -> bool:
        content = self.out.read_if_there(path) if path in self.names else None
        if content is None:
            return False
        try:
            about = json.loads(content)
        except ValueError:
            return False
        found = about.get("staging_id") if isinstance(about, dict) else None
        return found is not None and found == staging_id()


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
    """Write the files of one recording; while some are missing, a hidden one says whose they are."""
    night = staged.night
    files = night_files(night, staged.channel)
    unfinished = unfinished_name(night.recording)
    out.write_bytes(unfinished, json.dumps({"staging_id": night.staging_id}).encode())
    for name in output_names(night.recording):
        out.write_bytes(name, files[name])
    out.delete_if_there(unfinished)


def unfinished_name(recording: str) -> str:
    """Return the name of the file that is there while the files of a recording are written."""
    return f".{recording}.unfinished"


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
    if night.remainder_s is not None and night.remainder_s >= 0.5:
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
