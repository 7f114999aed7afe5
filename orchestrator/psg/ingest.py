"""Recordings -> epoch store, one Ray Data task per recording; what is done is skipped, what is broken set aside."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.errors import ConfigError, DataError, IntegrityError, RecordingError
from orchestrator.psg import convert
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.hypnogram import NO_STAGES
from orchestrator.psg.recordings import Source, find_recordings
from orchestrator.psg.stages import NoStages
from orchestrator.store import paths
from orchestrator.store.decoding import json_metadata
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store, parquet_bytes, sha256
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from orchestrator.telemetry.tasks import outcome, result_of
from trainables.stages import STAGE_NAMES

_COUNTS = (
    "n_epochs",
    *(f"n_{name}" for name in STAGE_NAMES),
    "n_unscored",
    "n_flat",
    "n_flat_scored",
    "n_clipped",
    "n_usable",
)
_LABELLED = "labelled"
_LISTS = ("channels", "substituted", "implausible_amplitude", "missing_modalities")

MANIFEST_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("recording", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        *((name, pa.int32()) for name in _COUNTS),
        *((name, pa.list_(pa.string())) for name in _LISTS),
        (_LABELLED, pa.bool_()),
        ("source_file", pa.string()),
        ("source_sha256", pa.string()),
        ("ingest_id", pa.string()),
        ("epochs_sha256", pa.string()),
    ]
)
"""One row per recording. ``status`` is ``ok`` or ``quarantined``; only the latter have a reason. Both kinds may have a
message: why a recording cannot be used, or why it is unlabelled although its stages were looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport:
    """What an ingest did."""

    dataset: str
    manifest: pa.Table
    n_converted: int
    n_skipped: int
    n_kept: int
    """Recordings of earlier ingests that are not in this data folder."""

    @property
    def usable(self) -> list[dict[str, Any]]:
        """Manifest rows of the recordings whose epochs are in the store."""
        return [row for row in self.manifest.to_pylist() if row["status"] == "ok"]

    @property
    def quarantined(self) -> list[dict[str, Any]]:
        """Manifest rows of the recordings that were set aside."""
        rows: list[dict[str, Any]] = self.manifest.to_pylist()
        return [row for row in rows if row["status"] == "quarantined"]

    @property
    def text(self) -> str:
        """What of the data set is in the store, in a line; labelled and unlabelled recordings are counted apart."""
        rows = self.usable
        labelled = [row for row in rows if row["labelled"]]
        unlabelled = [row for row in rows if not row["labelled"]]
        counted = f"{len(rows)} recordings"
        epochs = f"{sum(r['n_usable'] for r in labelled)} of {sum(r['n_epochs'] for r in labelled)} epochs usable"
        if unlabelled:
            counted = f"{len(labelled)} labelled and {len(unlabelled)} unlabelled recordings"
            n_with_signal = sum(r["n_epochs"] - r["n_flat"] for r in unlabelled)
            not_flat = f"{n_with_signal} of {sum(r['n_epochs'] for r in unlabelled)}"
            epochs = (
                f"{epochs} where labelled, {not_flat} not flat where unlabelled"
                if labelled
                else f"{not_flat} epochs not flat"
            )
        kept = f", {self.n_kept} of earlier folders" if self.n_kept else ""
        return (
            f"{counted} of {len({r['subject'] for r in rows})} subjects in the store ({self.n_converted} converted, "
            f"{self.n_skipped} already done{kept}), {epochs}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """A recording with the id of the epoch table that it would give."""

    source: Source
    source_sha256: str
    ingest_id: str


def ingest(
    dataset: DatasetFile, data_uri: str, store: Store, *, n_cpus: int | None = None
) -> IngestReport:
    """Convert the recordings of a data set that are not in the store yet, and write its manifest.

    A recording counts as done when the store holds its epochs with the id that its content and the dataset file
    give; so a killed ingest goes on where it was, and a changed file or filter is converted again. A broken
    recording is quarantined: a manifest row with a reason, and no epochs. Recordings of earlier ingests that are not
    in this folder stay in the data set.

    Raises
    ------
    DataError
        No recording was found, or none could be used.
    ConfigError
        Recordings of an earlier ingest that are not in this folder were converted with other settings.
    ConfigError, StoreUnreachableError, SetupError
        See :func:`orchestrator.psg.recordings.find_recordings` and :meth:`Store.open`.
    """
    hint = "Give --data the folder with the recordings."
    data = Store.open(data_uri, existing=True, hint=hint)
    settings = convert.Settings.of(dataset)
    sources = find_recordings(dataset, data)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        jobs = list(pool.map(lambda source: _job(source, settings, data), sources))
    store.remove_partials(f"{paths.EPOCHS}/{dataset.name}")
    elsewhere = _rows_of_other_folders(dataset.name, jobs, settings, store)
    known = _known_rows(dataset.name, jobs, store)
    todo = [job for job in jobs if job.ingest_id not in known]
    rows = [known[job.ingest_id] for job in jobs if job.ingest_id in known]
    if todo:
        with EventLog(store, paths.ingest_events(dataset.name)) as log:
            log.emit("ingest_started", n_recordings=len(todo), n_skipped=len(rows), data=data.uri)
            with ray_session(n_cpus, store):
                rows += _convert_all(dataset.name, todo, settings, data, store, log)
            log.emit("ingest_finished", n_recordings=len(todo))
    manifest = _write_manifest(dataset, settings, [*rows, *elsewhere], store)
    report = IngestReport(
        dataset=dataset.name,
        manifest=manifest,
        n_converted=len(todo),
        n_skipped=len(jobs) - len(todo),
        n_kept=len(elsewhere),
    )
    if len(report.quarantined) == len(jobs) and not elsewhere:
        first = report.quarantined[0]
        raise DataError(
            f"none of the {len(jobs)} recordings of {dataset.name!r} can be used. First one: "
            f"{first['recording']} ({first['reason']}): {first['message']} All reasons are in "
            f"{store.uri_of(paths.manifest_json(dataset.name))}."
        )
    return report


def ingest_id_of(source: Source, settings: convert.Settings, content_sha256: str) -> str:
    """Return the content id of everything that a recording's epochs and its row of the manifest depend on.

    Parameters
    ----------
    source : Source
    settings : Settings
    content_sha256 : str
        Of the recording's bytes, followed by those of its stage file where it has one.
    """
    return content_id(
        {
            "settings": settings.as_json(),
            **source.stages.identity(),
            "subject": source.subject,
            "recording": source.recording,
            "problem": source.problem.reason if source.problem else None,
            "sha256": content_sha256,
        },
        length=64,
    )


def _job(source: Source, settings: convert.Settings, data: Store) -> _Job:
    files = [path for path in (source.path, source.stage_path) if path is not None]
    content_sha256 = data.sha256(*files)
    return _Job(
        source=source,
        source_sha256=content_sha256,
        ingest_id=ingest_id_of(source, settings, content_sha256),
    )


def _known_rows(dataset: str, jobs: Sequence[_Job], store: Store) -> dict[str, dict[str, Any]]:
    """Return manifest rows of the recordings that need no work, by ingest id."""
    rows = {row["ingest_id"]: row for row in _stored_rows(dataset, store)}
    present = set(store.files(f"{paths.EPOCHS}/{dataset}"))
    known = {}
    for job in jobs:
        path = paths.epochs(dataset, job.source.subject, job.source.recording)
        row = rows.get(job.ingest_id)
        if row is not None and _is_otherwise_now(row, job.source):
            continue
        if row is not None and (row["status"] == "quarantined" or path in present):
            known[job.ingest_id] = row
        elif path in present and _stored_metadata(store, path).get("ingest_id") == job.ingest_id:
            # Written by an ingest that was killed before its manifest.
            known[job.ingest_id] = _row(
                job,
                summary=convert.summary(store.read_table(path)),
                epochs_sha256=sha256(store.read_bytes(path)),
            )
    return known


def _is_otherwise_now(row: Mapping[str, Any], source: Source) -> bool:
    """Whether the data-set file says otherwise than before what becomes of a recording that holds no stages.

    That is no part of the id: with stages, a recording is the same whether or not it might lack them.
    """
    if row["status"] == "quarantined":
        return source.stages.optional and row["reason"] == NO_STAGES
    looked_for = not isinstance(source.stages, NoStages)
    return looked_for and not source.stages.optional and not row[_LABELLED]


def _rows_of_other_folders(
    dataset: str, jobs: Sequence[_Job], settings: convert.Settings, store: Store
) -> list[dict[str, Any]]:
    """Return manifest rows of recordings that are in the store and not in this folder."""
    here = {(job.source.subject, job.source.recording) for job in jobs}
    present = set(store.files(f"{paths.EPOCHS}/{dataset}"))
    kept = []
    for row in _stored_rows(dataset, store):
        path = paths.epochs(dataset, row["subject"], row["recording"])
        if (row["subject"], row["recording"]) in here or path not in present:
            continue
        if _stored_metadata(store, path).get("preprocessing") != settings.as_json():
            raise ConfigError(
                f"data set {dataset!r} in {store.uri} also holds {row['recording']}, which is not in this folder and "
                "was converted with other settings (channels, labels or filters). Ingest all recordings from one "
                "folder, give the dataset file another `name`, or use another --store."
            )
        kept.append(row)
    return kept


def _stored_rows(dataset: str, store: Store) -> list[dict[str, Any]]:
    """Return the rows of the manifest; none where there is no manifest yet."""
    if not store.exists(paths.manifest(dataset)):
        return []
    rows: list[dict[str, Any]] = store.read_table(paths.manifest(dataset)).to_pylist()
    for row in rows:
        if row["status"] == "ok":
            # Manifests of before have no such columns; then, a recording without stages was set aside.
            row.setdefault("missing_modalities", [])
            row.setdefault(_LABELLED, True)
    return rows


def _stored_metadata(store: Store, path: str) -> dict[str, Any]:
    """Return our metadata of an epoch file; empty where it is damaged, so that it is converted again."""
    try:
        return json_metadata(store.read_schema(path), convert.METADATA_KEY, store.uri_of(path))
    except IntegrityError:
        return {}


def _convert_all(
    dataset: str,
    jobs: Sequence[_Job],
    settings: convert.Settings,
    data: Store,
    store: Store,
    log: EventLog,
) -> list[dict[str, Any]]:
    import ray.data

    by_position = list(jobs)

    def convert_one(job: _Job) -> dict[str, Any]:
        return {
            "row": _convert(dataset, job, settings, Store.open(data.uri), Store.open(store.uri))
        }

    rows = []
    with progress(f"ingest {dataset}", len(jobs)) as advance:
        tasks = ray.data.range(len(jobs), override_num_blocks=len(jobs)).map(
            lambda item: {"outcome": outcome(lambda: convert_one(by_position[item["id"]]))}
        )
        for task in tasks.iter_rows():
            result = result_of(task["outcome"])
            row = result.pop("row")
            rows.append(row)
            about = {key: row[key] for key in ("recording", "status", "reason")}
            log.emit("recording_done", **about, **result)
            advance(row["recording"] + (f": {row['reason']}" if row["reason"] else ""))
    return rows


def _convert(
    dataset: str, job: _Job, settings: convert.Settings, data: Store, store: Store
) -> dict[str, Any]:
    """Convert one recording, write its epochs and return its manifest row."""
    source = job.source
    path = paths.epochs(dataset, source.subject, source.recording)
    try:
        stage_content = data.read_bytes(source.stage_path) if source.stage_path else None
        with data.local_copy(source.path) as file:
            table = convert.epoch_table(source, settings, file, stage_content)
    except RecordingError as error:
        if store.exists(path):  # of an earlier content of the file
            store.delete(path)
        return _row(job, error=error)
    metadata = json.loads(table.schema.metadata[convert.METADATA_KEY])
    metadata |= {"ingest_id": job.ingest_id, "source_sha256": job.source_sha256}
    table = table.replace_schema_metadata(
        {convert.METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    )
    return _row(job, summary=convert.summary(table), epochs_sha256=store.write_table(path, table))


def _row(
    job: _Job,
    *,
    summary: dict[str, Any] | None = None,
    epochs_sha256: str | None = None,
    error: RecordingError | None = None,
) -> dict[str, Any]:
    return {
        "subject": job.source.subject,
        "recording": job.source.recording,
        "status": "quarantined" if error else "ok",
        "reason": error.reason if error else None,
        **(summary or dict.fromkeys((*_COUNTS, *_LISTS, _LABELLED))),
        **({"message": error.message} if error else {}),
        "source_file": job.source.path,
        "source_sha256": job.source_sha256,
        "ingest_id": job.ingest_id,
        "epochs_sha256": epochs_sha256,
    }


def _write_manifest(
    dataset: DatasetFile, settings: convert.Settings, rows: list[dict[str, Any]], store: Store
) -> pa.Table:
    ordered = sorted(rows, key=lambda row: (row["subject"], row["recording"]))
    table = pa.Table.from_pylist(ordered, schema=MANIFEST_SCHEMA)
    usable = [row for row in ordered if row["status"] == "ok"]
    text = {
        "dataset": dataset.name,
        "title": dataset.title,
        "url": dataset.url,
        "licence": dataset.licence,
        "n_recordings": len(usable),
        "n_labelled": sum(row[_LABELLED] for row in usable),
        "n_unlabelled": sum(not row[_LABELLED] for row in usable),
        "n_subjects": len({row["subject"] for row in usable}),
        **{name: sum(row[name] for row in usable) for name in _COUNTS},
        "preprocessing": settings.as_json(),
        "quarantine": [
            {key: row[key] for key in ("subject", "recording", "reason", "message")}
            for row in ordered
            if row["status"] == "quarantined"
        ],
    }
    _write_if_new(store, paths.manifest_json(dataset.name), json.dumps(text, indent=1).encode())
    _write_if_new(store, paths.manifest(dataset.name), parquet_bytes(table))
    return table


def _write_if_new(store: Store, path: str, data: bytes) -> None:
    """Leave a file alone whose content would not change."""
    if not store.exists(path) or store.read_bytes(path) != data:
        store.write_bytes(path, data)
