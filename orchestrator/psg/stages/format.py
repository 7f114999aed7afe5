"""What a format of stages has to be."""

import glob
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from orchestrator.config.validation import Section, wrong_key
from orchestrator.errors import RecordingError
from orchestrator.psg.epoch_grid import BeyondSignal
from orchestrator.psg.file_names import Glob, Regex, found_in

if TYPE_CHECKING:
    from orchestrator.psg.edf import Annotation
    from orchestrator.psg.hypnogram import Hypnogram


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSource:
    """What the stages of one recording are read from."""

    content: bytes | None
    """Of the stage file; None where the recording holds its stages."""
    file: str
    """Path of the stage file, for messages."""
    annotations: "Sequence[Annotation]"
    """Of the recording itself."""
    duration_s: float
    """Of the signal."""
    labels: Mapping[str, int]
    """Text of an annotation -> stage, -1 for unscored."""
    beyond_signal: BeyondSignal


class StageFormat(Section, ABC):
    """A format of stages, and where they are: by the name of the recording's own file."""

    if TYPE_CHECKING:  # each format has a literal of its own
        source: str = ""
    file: Glob | None = None
    """Glob in the folder of the recording; ``{stem}`` is its name without extension, ``{key}`` what
    ``key`` finds."""
    key: Regex | None = None
    """Regular expression searched in the recording's file name; group 1, or the whole match,
    becomes ``{key}``."""
    optional: bool = False
    """Whether recordings without stages are kept, unlabelled: those whose ``file`` is missing, and those
    that hold no annotation of a stage themselves."""

    @model_validator(mode="after")
    def _placeholders(self) -> "StageFormat":
        used = re.findall(r"\{(.*?)\}", self.file or "")
        for name in used:
            if name not in {"stem", "key"}:
                raise wrong_key(
                    "file", f"unknown placeholder {{{name}}}. Allowed: {{stem}}, {{key}}"
                )
        if "key" in used and self.key is None:
            raise wrong_key("file", "uses {key}, but this section has no 'key' expression")
        if self.key is not None and "key" not in used:
            raise wrong_key("key", "is not used: 'file' has no {key} placeholder")
        return self

    def glob_for(self, recording: str) -> str | None:
        """Glob of the stage file in the recording's folder; None if the recording holds its stages.

        Parameters
        ----------
        recording : str
            File name of the recording, such as ``SC4001E0-PSG.edf``.

        Raises
        ------
        RecordingError
            ``key`` does not occur in the file name (reason ``missing_hypnogram``).
        """
        if self.file is None:
            return None
        pattern = self.file.replace("{stem}", glob.escape(PurePosixPath(recording).stem))
        if self.key is None:
            return pattern
        key = found_in(self.key, recording)
        if key is None:
            raise RecordingError(
                "missing_hypnogram",
                f"{recording}: the expression {self.key!r} finds nothing in the file name, so the "
                "stage file is unknown; change 'key' in the data set file.",
            )
        return pattern.replace("{key}", glob.escape(key))

    @abstractmethod
    def read(self, given: StageSource) -> "Hypnogram":
        """Return the stages of a recording.

        Raises
        ------
        RecordingError
            Whatever keeps the stages from being used.
        """

    def identity(self) -> dict[str, Any]:
        """Return what the id of a recording depends on, besides the content of its files; not on ``optional``."""
        return {"stages": self.model_dump(mode="json", by_alias=True, exclude={"optional"})}
