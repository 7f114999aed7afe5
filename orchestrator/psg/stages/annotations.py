"""Stages as EDF+ annotations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from orchestrator.psg.stages.format import BeyondSignal, StageFormat

if TYPE_CHECKING:
    from orchestrator.psg.edf import Recording
    from orchestrator.psg.hypnogram import Hypnogram


class StagesFromAnnotations(StageFormat):
    """Stages are EDF+ annotations: in the recording itself, or in ``file`` next to it."""

    source: Literal["annotations"] = Field(alias="from")
    """Written ``from: annotations``."""

    def read(
        self,
        content: bytes | None,
        file: str,
        recording: "Recording",
        *,
        labels: Mapping[str, int],
        beyond_signal: BeyondSignal,
    ) -> "Hypnogram":
        """Return the stages of a recording, see :meth:`StageFormat.read`."""
        from orchestrator.psg import edf, hypnogram  # here: reading a data-set file needs no MNE

        return hypnogram.from_annotations(
            recording.annotations if content is None else edf.read_annotations(content, file),
            labels,
            recording.duration_s,
            beyond_signal=beyond_signal,
        )

    def identity(self) -> dict[str, Any]:
        """Return what the id of an ingested recording depends on, as it has been since 0.1."""
        return {"codes": None, "epochs_per_code": 1}
