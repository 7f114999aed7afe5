"""A model by the name that a person gives it: a sweep, one of its trials or controls, an encoder, or a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError, DataError, IntegrityError, RecordingError
from orchestrator.models.record import FILE, ModelRecord, WeightsFile, record_of
from orchestrator.predict.networks import NETWORKS, Answer, Signals
from orchestrator.psg.feed import (
    StoredRecording,
    preprocessing_of,
    stored_recordings,
    terms_of,
)
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store, sha256
from orchestrator.tables.trials import chosen_row
from trainables.errors import CheckpointError, DivergedError
from trainables.stages import Stage


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model whose weights are those that its record names."""

    record: ModelRecord
    files: Mapping[str, bytes] = field(repr=False)
    """Name -> weights."""

    @property
    def model_id(self) -> str:
        """Id of all that its answers depend on."""
        record = self.record
        return content_id(
            {
                "network": record.network,
                "files": [_identity(entry) for entry in record.files],
                "stages": list(record.stages),
                "modalities": list(record.modalities),
                "scale": record.scale,
                "clip_spreads": record.clip_spreads,
                "preprocessing": dict(record.preprocessing),
            }
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those that it can say."""
        return tuple(Stage[name] for name in self.record.stages)

    def adapted_to(self, subject: str | None, dataset: str | None) -> bool:
        """Tell whether a subject's signals were adapted to; two data sets may have a subject of the same name."""
        about = self.record.about.get("adapted_to", {})
        is_there = dataset is None or about.get("dataset") in (None, dataset)
        return subject is not None and is_there and subject in about.get("subjects", ())

    def entries_for(
        self, subject: str | None, dataset: str | None = None
    ) -> tuple[WeightsFile, ...]:
        """Return the files that stage a subject: those adapted to that one, if there are any, else all."""
        own = tuple(e for e in self.record.files if e.subject is not None and e.subject == subject)
        return own if own and self.adapted_to(subject, dataset) else self.record.files

    def probability(
        self, x: Signals, subject: str | None = None, dataset: str | None = None
    ) -> NDArray[np.float32]:
        """Return the mean probability over the files that stage a subject, (n, 5).

        Parameters
        ----------
        x : mapping of str to (n, n_channels, 3000)
            Scaled signals by modality; without one that the recording lacks.
        subject, dataset : str, optional
            Who is recorded, and of which data set.

        Raises
        ------
        RecordingError
            ``not_finite``: the answer to these signals is no number. ``missing_channel``: no file has learned from any
            of them.
        """
        try:
            found = [
                self.answers[entry.file](own)
                for entry in self.entries_for(subject, dataset)
                if (own := {m: signal for m, signal in x.items() if entry.seen(m)})
            ]
        except DivergedError as error:
            raise RecordingError("not_finite", f"{self.record.name}: {error}") from error
        if not found:
            raise RecordingError(
                "missing_channel",
                f"{self.record.name}: its training recordings had none of {', '.join(x)}, which is all that this "
                "recording has. Choose another model, or leave the recording out.",
            )
        return found[0] if len(found) == 1 else np.mean(found, axis=0, dtype=np.float32)

    @cached_property
    def answers(self) -> Mapping[str, Answer]:
        """Networks by the file that holds their weights; CheckpointError where one cannot be built."""
        build = NETWORKS[self.record.network]
        return {
            name: build(weights, self.record.modalities, self.stages)
            for name, weights in self.files.items()
        }


def _identity(entry: WeightsFile) -> list[Any]:
    learned = [] if entry.modalities is None else [list(entry.modalities)]
    return [entry.sha256, entry.subject, *learned]


def load_model(store: Store, name: str) -> LoadedModel:
    """Return a model by its name.

    Parameters
    ----------
    store : Store
        Where sweeps and encoders are.
    name : str
        ``SWEEP``, of which the chosen trial is meant; ``SWEEP:TRIAL`` or ``SWEEP:ARM``; the id of an encoder; or a
        folder or URI that holds ``model.json``.

    Raises
    ------
    ConfigError
        There is no such model.
    DataError
        A trial that failed or was not kept.
    IntegrityError
        A file of the model is damaged, or is of a later version.
    """
    if name.startswith("s3://") or "/" in name:
        return _from_folder(name)
    sweep, _, trial = name.partition(":")
    if store.exists(paths.sweep_file(sweep)):
        return _of_sweep(store, sweep, trial or None)
    if not trial and store.exists(paths.encoder_json(name)):
        return _of_encoder(store, name)
    if Path(name).exists():  # last: a folder here may be called as a sweep is
        return _from_folder(name)
    sweeps = store.folders(paths.SWEEPS)
    raise ConfigError(
        f"{name!r} is no model in {store.uri}: no sweep, no encoder id, and no folder with {FILE}."
        f"{did_you_mean(sweep, sweeps)} Sweeps there: {', '.join(sweeps) or 'none'}."
    )


def _from_folder(name: str) -> LoadedModel:
    if not name.startswith("s3://") and Path(name).is_file():
        raise ConfigError(
            f"{name} is a file, and a model is a folder with {FILE} and weights in safetensors. Other formats are not "
            "opened: a pickle, such as a .pt file, may run code when it is read."
        )
    folder = Store.open(name, existing=True, hint=f"Name a folder with {FILE}.")
    if not folder.exists(FILE):
        raise ConfigError(f"{folder.uri} holds no {FILE}, so it is no model.")
    return _checked(folder, "")


def _checked(store: Store, folder: str) -> LoadedModel:
    """Read a folder, and compare its files with the hashes in its record."""
    at = f"{folder}/" if folder else ""
    where = store.uri_of(at + FILE)
    record = record_of(store.read_bytes(at + FILE), where)
    if record.network not in NETWORKS:
        raise IntegrityError(
            f"{where} holds a network {record.network!r}, which this version does not know. Known: "
            f"{', '.join(NETWORKS)}. Update sleep-orchestrator."
        )
    files = {}
    for entry in record.files:
        weights = store.read_if_there(at + entry.file)
        if weights is None or sha256(weights) != entry.sha256:
            what = (
                "is missing" if weights is None else f"does not have the SHA-256 that {FILE} names"
            )
            raise IntegrityError(
                f"{store.uri_of(at + entry.file)} {what}: the model was changed since it was written. Restore it "
                "from a copy, or keep it again."
            )
        files[entry.file] = weights
    return _usable(LoadedModel(record=record, files=files), where)


def _usable(model: LoadedModel, where: str) -> LoadedModel:
    """Build the networks, which is quick, so that no recording is read for a model that cannot stage it."""
    try:
        assert model.answers
    except CheckpointError as error:
        raise IntegrityError(
            f"the weights that {where} names are not of the network {model.record.network!r}: {error} Restore the "
            "model from a copy, keep it again, or update sleep-orchestrator if a later version wrote it."
        ) from error
    return model


def _of_sweep(store: Store, sweep: str, trial: str | None) -> LoadedModel:
    if not store.exists(paths.sweep_trials(sweep)):
        raise ConfigError(
            f"sweep {sweep!r} has not finished, so none of its trials is chosen yet. `orchestrator status {sweep}` "
            "says how far it is."
        )
    rows = store.read_table(paths.sweep_trials(sweep)).to_pylist()
    name = _chosen(sweep, rows) if trial is None else _named(sweep, rows, trial)
    if not store.exists(paths.model_json(sweep, name)):
        row = next(row for row in rows if row["trial"] == name)
        if row["state"] != "complete":
            raise DataError(
                f"{sweep}:{name} has no model: the trial is {row['state']}. Choose another one."
            )
        raise DataError(
            f"{sweep}:{name} was not kept. `orchestrator sweep FILE --keep {name}`, with the sweep's file, trains it "
            "again."
        )
    return _checked(store, paths.model_folder(sweep, name))


def _chosen(sweep: str, rows: list[dict[str, Any]]) -> str:
    """Return the chosen trial; DataError where there is none."""
    chosen = chosen_row(rows)
    if chosen is None:
        controls = ", ".join(row["trial"] for row in rows) or "none"
        raise DataError(
            f"no trial of sweep {sweep!r} has an objective, so none is chosen. Name one of its controls as "
            f"{sweep}:NAME: {controls}."
        )
    return str(chosen["trial"])


def _named(sweep: str, rows: list[dict[str, Any]], name: str) -> str:
    """Return the name in the table of a trial, or of an arm with or without ``arm-`` before it."""
    names = [row["trial"] for row in rows]
    for candidate in (name, f"arm-{name}"):
        if candidate in names:
            return candidate
    shown = [other.removeprefix("arm-") for other in names]
    raise ConfigError(
        f"sweep {sweep!r} has no trial {name!r}.{did_you_mean(name, shown)} It has: {', '.join(shown)}."
    )


def _of_encoder(store: Store, encoder_id: str) -> LoadedModel:
    """Return an encoder with the head that it was pretrained with."""
    kinds = {
        "weights_sha256": str,
        "learned_stages": list,
        "modality": str,
        "clip_spreads": float,
        "train_recordings": list,
        "early_stop_macro_f1": int | float,
        "seed": int,
    }
    about = read_json(store, paths.encoder_json(encoder_id), kinds)
    weights = store.read_if_there(paths.encoder_weights(encoder_id))
    if weights is None or sha256(weights) != about["weights_sha256"]:
        raise IntegrityError(
            f"{store.uri_of(paths.encoder_weights(encoder_id))} is missing or changed: it does not have the SHA-256 "
            "that encoder.json records. Remove its folder, and pretrain again."
        )
    first = _recording_named(store, about["train_recordings"][0])
    name = "weights.safetensors"
    record = ModelRecord(
        name=f"encoder {encoder_id}",
        method="pretrain",
        network="mrcnn",
        modalities=(about["modality"],),
        scale="recording",
        clip_spreads=about["clip_spreads"],
        preprocessing=preprocessing_of(store, first),
        stages=tuple(about["learned_stages"]),
        training={
            "dataset": first.dataset,
            **terms_of(store, first.dataset),
            "subjects": sorted({text.split("/")[1] for text in about["train_recordings"]}),
            "recordings": sorted(text.split("/")[2] for text in about["train_recordings"]),
        },
        metrics=({"split": "early stop", "macro_f1": about["early_stop_macro_f1"]},),
        about={"encoder_id": encoder_id},
        versions={},
        files=(
            WeightsFile(
                file=name,
                sha256=about["weights_sha256"],
                seed=about["seed"],
                fold=None,
                subject=None,
            ),
        ),
    )
    model = LoadedModel(record=record, files={name: weights})
    return _usable(model, store.uri_of(paths.encoder_json(encoder_id)))


def _recording_named(store: Store, text: str) -> StoredRecording:
    """Return a stored recording by ``DATASET/SUBJECT/RECORDING``."""
    dataset, subject, recording = text.split("/")
    for stored in stored_recordings(store, dataset):
        if (stored.subject, stored.recording) == (subject, recording):
            return stored
    raise DataError(
        f"{store.uri} no longer holds {text}, whose file says how signals are preprocessed for this encoder. Ingest "
        "the data set again."
    )
