"""Typed YAML files: what a data set looks like on disk, and what a sweep searches.

Every mistake in a file is reported at file:line:column, all of them at once. Nothing here imports
Ray, torch or MNE.
"""

from orchestrator.config.dataset import DatasetFile, load_dataset
from orchestrator.config.sweep import (
    PretrainSweep,
    SelectiveSweep,
    SleepMGSweep,
    SweepFile,
    check_objective,
    dump,
    load_sweep,
    resolve_subjects,
)

__all__ = [
    "DatasetFile",
    "PretrainSweep",
    "SelectiveSweep",
    "SleepMGSweep",
    "SweepFile",
    "check_objective",
    "dump",
    "load_dataset",
    "load_sweep",
    "resolve_subjects",
]
