"""Find the recordings of a data set in a folder or bucket, each with its subject and its stage file."""

import glob
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.errors import ConfigError, DataError, RecordingError
from orchestrator.psg.dataset import DatasetFile, RecordingForm
from orchestrator.psg.stages import NoStages, StageFormat
from orchestrator.store.store import Store


class _NoStageFile(RecordingError):
    """The name of the stage file is known, and there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One recording as it was found."""

    subject: str
    recording: str
    """File name without its extension."""
    path: str
    """Relative to the data folder."""
    stage_path: str | None
    """File with the stages; None where the recording holds them itself."""
    stages: StageFormat
    """How they are written there."""
    problem: RecordingError | None = None
    """Why the recording cannot even be tried."""
    why_unlabelled: str | None = None
    """Why it has no stages although they were looked for, where they are optional."""


def find_recordings(dataset: DatasetFile, data: Store) -> list[Source]:
    """Return all recordings that the dataset file describes, sorted by subject and name.

    Raises
    ------
    DataError
        Nothing matches.
    ConfigError
        A subject pattern does not fit a file name, or two files are the same recording.
    """
    paths = data.files("")
    sources = []
    for form in dataset.recordings:
        sources += [_source(form, path, paths) for path in paths if matches_glob(path, form.files)]
    if not sources:
        wanted = ", ".join(repr(form.files) for form in dataset.recordings)
        raise DataError(
            f"no recording of data set {dataset.name!r} in {data.uri}: no file matches {wanted} "
            f"({len(paths)} files there{_examples(paths)}). Check --data and `recordings` of the dataset file."
        )
    by_name = defaultdict(list)
    for source in sources:
        by_name[source.subject, source.recording].append(source.path)
    for (subject, recording), clashing in by_name.items():
        if len(clashing) > 1:
            raise ConfigError(
                f"files {', '.join(clashing)} are all recording {recording!r} of subject {subject!r}. Keep one, "
                "or narrow `files` of the dataset file."
            )
    return sorted(sources, key=lambda s: (s.subject, s.recording))


def matches_glob(path: str, pattern: str) -> bool:
    """Whether a relative path matches a glob in which ``**`` stands for any number of folders.

    Examples
    --------
    >>> matches_glob("a.edf", "**/*.edf"), matches_glob("x/a.edf", "*.edf")
    (True, False)
    """
    return _match_parts(PurePosixPath(path).parts, PurePosixPath(pattern).parts)


def _match_parts(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[i:], patterns[1:]) for i in range(len(parts) + 1))
    return (
        bool(parts)
        and PurePosixPath(parts[0]).match(patterns[0])
        and _match_parts(parts[1:], patterns[1:])
    )


def _source(form: RecordingForm, path: str, paths: Sequence[str]) -> Source:
    name = PurePosixPath(path).name
    subject = form.subject_of(name)
    if subject is None or not re.fullmatch(r"[\w.+-]+", subject):
        raise ConfigError(
            f"file {path}: `subject` {form.subject!r} finds {subject!r} in its name. It must find a name of letters, "
            "digits, '_', '-', '+' or '.'; correct it, or narrow `files`."
        )
    stages, stage_path, problem, why_unlabelled = form.stages, None, None, None
    try:
        stage_path = _stage_path(form, path, paths)
    except RecordingError as error:
        if stages.optional and isinstance(error, _NoStageFile):
            stages, why_unlabelled = NoStages(), error.message
        else:
            problem = error
    return Source(
        subject=subject,
        recording=PurePosixPath(path).stem,
        path=path,
        stage_path=stage_path,
        stages=stages,
        problem=problem,
        why_unlabelled=why_unlabelled,
    )


def _stage_path(form: RecordingForm, path: str, paths: Sequence[str]) -> str | None:
    pattern = form.stages.glob_for(PurePosixPath(path).name)
    if pattern is None:
        return None
    folder = path.rpartition("/")[0]
    wanted = f"{glob.escape(folder)}/{pattern}" if folder else pattern
    found = [p for p in paths if matches_glob(p, wanted)]
    if not found:
        raise _NoStageFile(
            "missing_hypnogram", f"{path}: 0 stage files match {wanted!r}, one is needed."
        )
    if len(found) > 1:
        raise RecordingError(
            "ambiguous_hypnogram",
            f"{path}: {len(found)} stage files match {wanted!r}, one is needed: {', '.join(found)}.",
        )
    return found[0]


def _examples(paths: Sequence[str]) -> str:
    return f", such as {', '.join(paths[:3])}" if paths else ""
