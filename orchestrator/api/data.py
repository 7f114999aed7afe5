"""Recordings: into the epoch store, and made up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.caller import check_cpus, undisturbed_environment
from orchestrator.psg.dataset import load_dataset
from orchestrator.store import paths
from orchestrator.store.placement import open_store
from orchestrator.telemetry.session import prepare_ray_environment

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.config.fields import Modality
    from orchestrator.psg.ingest import IngestReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What of a data set is in a store after :func:`ingest`."""

    report: "IngestReport" = field(repr=False)
    manifest_uri: str
    """Of ``manifest.json``, with the reasons why recordings cannot be used."""
    optional: tuple[str, ...] = ()
    """Modalities that a recording may lack."""

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.report.dataset

    @property
    def recordings(self) -> "pd.DataFrame":
        """A row for each recording, usable or set aside (``status``), with its counts of epochs by stage.

        ``reason`` and ``message`` say why a recording cannot be used.
        """
        return self.report.manifest.to_pandas()

    def __str__(self) -> str:
        return f"{self.name}: {self.report.text}."

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


def ingest(
    dataset: str | Path | Mapping[str, Any],
    data: str | Path,
    *,
    store: str | Path | None = None,
    n_cpus: int | None = None,
) -> Ingested:
    """Convert the recordings that a data-set file describes into 30-s epochs at 100 Hz.

    A recording that is done is skipped; a broken one is set aside with a reason, and the rest goes on.

    Parameters
    ----------
    dataset : str, Path or mapping
        A data-set file, or its keys.
    data : str or Path
        Folder, or ``s3://bucket/prefix``, with the recordings.
    store : str or Path, optional
        Folder, or ``s3://bucket/prefix``, of everything durable. By default that of the environment variable
        ORCHESTRATOR_STORE, or else the folder ``runs``.
    n_cpus : int, optional
        CPUs to use on this machine; all that this process may use by default.

    Raises
    ------
    ConfigError
        The file or `n_cpus` is wrong, or `data` is not there.
    DataError
        No recording was found, or none could be used.
    """
    described = load_dataset(dataset)
    check_cpus(n_cpus)
    opened = open_store(store, writable=True)
    with undisturbed_environment():
        prepare_ray_environment()
        from orchestrator.psg.ingest import ingest as run_ingest

        report = run_ingest(described, str(data), opened, n_cpus=n_cpus)
    return Ingested(
        report=report,
        manifest_uri=opened.uri_of(paths.manifest_json(described.name)),
        optional=described.optional,
    )


def synth(
    folder: str | Path,
    *,
    n_subjects: int = 8,
    shift: float = 0.0,
    seed: int = 1,
    hours: float = 2.0,
    montage: str = "basic",
    dominance: "Mapping[Modality, float] | None" = None,
    spread: float = 1.0,
) -> list[str]:
    """Write made-up recordings of one laboratory into a folder, one EDF+ file for each subject.

    They show how everything works, and are no substitute for real ones. The same arguments give the same bytes.

    Parameters
    ----------
    folder : str or Path
    n_subjects : int
    shift : float
        0 to 2: gain, noise and spectra of a shifted domain are those of another laboratory.
    seed : int
        Other seed, other subjects.
    hours : float
        Length of each recording.
    montage : str
        Channels: ``basic``, ``isruc-s3``, ``mass-ss3``, or a montage file.
    dominance : mapping of str to float, optional
        How much a modality shows of the stage: 0 nothing, 1 as usual, 2 twice the contrast.
    spread : float
        Factor on the differences between subjects, 0 to 2.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    ConfigError
        A value is not allowed.
    """
    from orchestrator.config.montage import load_montage
    from orchestrator.psg.synthetic import write_domain

    return write_domain(
        str(folder),
        n_subjects=n_subjects,
        shift=shift,
        seed=seed,
        hours=hours,
        montage=load_montage(montage),
        dominance=dominance or {},
        spread=spread,
    )
