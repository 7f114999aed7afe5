"""Models that stage recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.hypnogram import Hypnogram
from orchestrator.errors import ConfigError
from orchestrator.models.record import ModelRecord
from orchestrator.predict import model as models
from orchestrator.predict.inputs import find_inputs, settings_for
from orchestrator.predict.networks import in_one_thread
from orchestrator.predict.staging import stage_file, stage_recording
from orchestrator.psg.edf import recording_of_raw
from orchestrator.store.placement import open_store

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A kept model. Made by :func:`load_model`."""

    loaded: models.LoadedModel = field(repr=False)
    name: str
    """Such as ``tau:t003``."""

    @property
    def record(self) -> ModelRecord:
        """What ``model.json`` says: data, settings, metrics and versions."""
        return self.loaded.record

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that it can say, of W, N1, N2, N3 and REM."""
        return tuple(self.record.stages)

    @property
    def channels(self) -> dict[str, list[list[str]]]:
        """Names that each channel may have, by modality."""
        known = self.record.preprocessing.get("channels", {})
        return {modality: known.get(modality, []) for modality in self.record.modalities}

    def stage(
        self,
        recording: "mne.io.BaseRaw | str | PathLike[str]",
        *,
        subject: str | None = None,
        channels: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Hypnogram:
        """Stage a recording.

        It is filtered, resampled to 100 Hz and scaled as the model's training data were, so hand over what was
        recorded, and not what was filtered already.

        Parameters
        ----------
        recording : mne.io.BaseRaw, str or Path
            Opened by MNE, or the local file of one. Stages in its annotations are compared with; the model does not see
            them.
        subject : str, optional
            Who is recorded: decides which weights stage where a model has some of each subject's own, and lets the
            result say so if the model was trained on this one.
        channels : mapping of str to str or list of str, optional
            Modality -> name of the channel to take, or the names of several in the order of the model's; such as
            ``{"eeg": "EEG Fpz-Cz"}``. By default those with the names that the model knows.

        Raises
        ------
        ConfigError
            `recording` is none, or `channels` are others than the model needs.
        RecordingError
            The recording cannot be read, lacks a channel, or is too short.

        Notes
        -----
        MNE keeps neither the steps nor the range of the recorder's converter. Flat epochs are found in either, but the
        last digits of probabilities may differ between a file and the same file opened by MNE. Where the channels of a
        file have several rates, MNE resamples them to the highest one first, and some epochs may get another stage:
        hand over the path then.
        """
        pairs = [
            (modality, name)
            for modality, names in (channels or {}).items()
            for name in ([names] if isinstance(names, str) else names)
        ]
        settings = settings_for(self.record, pairs)
        if isinstance(recording, str | PathLike):
            found = find_inputs([str(Path(recording).expanduser())])
            if len(found) != 1:
                raise ConfigError(
                    f"{recording} are {len(found)} recordings, and stage() takes one. Call it for each of them."
                )
            (given,) = found
            with in_one_thread():
                staged = stage_file(given.of_subject(subject), self.loaded, settings)
            return Hypnogram(staged=staged)
        import mne  # here: a file in EDF does not need it

        if not isinstance(recording, mne.io.BaseRaw):
            raise ConfigError(
                f"stage() takes a path or a recording that MNE has opened (mne.io.Raw), and not a "
                f"{type(recording).__name__}."
            )
        opened = recording_of_raw(recording, _file_name(recording))
        with in_one_thread():
            return Hypnogram(staged=stage_recording(opened, self.loaded, settings, subject))

    def export(self, folder: str | Path, *, onnx: bool = False) -> str:
        """Write the model into a folder, or ``s3://bucket/prefix``, to be handed on: weights, record and model card.

        Parameters
        ----------
        folder : str or Path
            Nothing in it is overwritten.
        onnx : bool
            Also as ONNX, which needs the extra of this name.

        Returns
        -------
        str
            URI of the folder, which :func:`load_model` takes.

        Raises
        ------
        ConfigError
            The folder has other files of these names.
        IntegrityError
            ONNX Runtime does not give the probabilities of PyTorch. Nothing is written then.
        """
        from orchestrator.models.export import exported_files, write_export

        files = exported_files(self.record, self.loaded.files, onnx=onnx)
        return write_export(str(folder), files).uri


def load_model(model: str | Path, *, store: str | Path | None = None) -> Model:
    """Load a kept model.

    Parameters
    ----------
    model : str or Path
        Text: ``SWEEP``, of which the chosen trial is meant; ``SWEEP:TRIAL`` or ``SWEEP:ARM``; the id of an encoder; or
        a folder or URI with ``model.json``. A Path is a folder.
    store : str or Path, optional
        Where sweeps and encoders are: a folder or ``s3://bucket/prefix``. By default that of the environment variable
        ORCHESTRATOR_STORE, or else the folder ``runs``.

    Raises
    ------
    ConfigError
        There is no such model.
    DataError
        A trial that failed or was not kept.
    IntegrityError
        A file of the model is damaged, or is of a later version.
    """
    # A path is no name: without its folder, it would be looked up among the sweeps first.
    name = str(model.absolute()) if isinstance(model, Path) else model
    loaded = models.load_model(open_store(store), name)
    return Model(loaded=loaded, name=loaded.record.name)


def _file_name(raw: "mne.io.BaseRaw") -> str:
    """Return what a recording is called: the name of its first file, if it has any."""
    first: Any = next(iter(raw.filenames), None)
    return "recording" if first is None else Path(first).name
