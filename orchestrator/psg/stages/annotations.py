"""Stages as EDF+ annotations."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from orchestrator.psg.stages.format import StageFormat, StageSource

if TYPE_CHECKING:
    from orchestrator.psg.hypnogram import Hypnogram


class StagesFromAnnotations(StageFormat):
    """Stages are EDF+ annotations: in the recording itself, or in ``file`` next to it."""

    source: Literal["annotations"] = Field(alias="from")
    """Written ``from: annotations``."""

    def read(self, given: StageSource) -> "Hypnogram":
        """Return the stages of a recording, see :meth:`StageFormat.read`."""
        from orchestrator.psg import edf, hypnogram  # here: reading a data-set file needs no MNE

        return hypnogram.from_annotations(
            given.annotations
            if given.content is None
            else edf.read_annotations(given.content, given.file),
            given.labels,
            given.duration_s,
            beyond_signal=given.beyond_signal,
        )

    def identity(self) -> dict[str, Any]:
        """Return what the id of an ingested recording depends on, as it has been since 0.1."""
        return {"codes": None, "epochs_per_code": 1}
