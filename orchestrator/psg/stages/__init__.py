"""Formats that stages come in: a file for each, and a line in :data:`STAGE_FORMATS`."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.psg.stages.codes import StagesFromCodes
from orchestrator.psg.stages.csv_table import StagesFromCsv
from orchestrator.psg.stages.format import StageFormat
from orchestrator.psg.stages.none import NONE, NoStages

__all__ = ["NONE", "STAGE_FORMATS", "NoStages", "StageFormat", "Stages"]

STAGE_FORMATS: Mapping[str, type[StageFormat]] = {
    "annotations": StagesFromAnnotations,
    "codes": StagesFromCodes,
    "csv": StagesFromCsv,
    NONE: NoStages,
}
"""Format by what a data-set file writes after ``from:``."""

if TYPE_CHECKING:
    Stages = StageFormat
else:
    Stages = Annotated[reduce(or_, STAGE_FORMATS.values()), Field(discriminator="source")]
"""Section ``stages`` of a data-set file."""
