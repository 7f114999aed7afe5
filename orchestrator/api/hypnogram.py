"""A staged recording, for those who go on with it in Python."""

import base64
import html
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError
from orchestrator.predict.files import EVENT_TEXTS, UNSTAGED, epochs_csv, night_files
from orchestrator.predict.run import Outputs, night_text, write_night
from orchestrator.predict.staging import Staged
from orchestrator.predict.statistics import Agreement, SleepStatistics, bouts, sleep_statistics
from orchestrator.psg.epoch_grid import EPOCH_S
from orchestrator.store.store import Store
from trainables.stages import STAGE_NAMES, UNSCORED

if TYPE_CHECKING:
    import mne
    import pandas as pd
    import yasa

    from orchestrator.predict.picture import NightFigure

_NAMES = np.array([*STAGE_NAMES, UNSTAGED])  # the last one is that of -1


@dataclass(frozen=True, kw_only=True)
class Hypnogram:
    """The stages of one recording, in epochs of 30 s. Made by :meth:`Model.stage`."""

    staged: Staged = field(repr=False)

    @property
    def recording(self) -> str:
        """Name of the recording."""
        return self.staged.night.recording

    @property
    def subject(self) -> str | None:
        """Who was recorded, if known."""
        return self.staged.night.subject

    @property
    def start(self) -> datetime | None:
        """When the recording starts, in the time that its file has (EDF: of its place; FIF: UTC); None if unknown."""
        return self.staged.night.start

    @property
    def stages(self) -> NDArray[np.str_]:
        """(n_epochs,): W, N1, N2, N3 or REM; UNS where an epoch is flat, which is never guessed."""
        return np.asarray(_NAMES[self.staged.night.stages])

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(n_epochs, 5): of W, N1, N2, N3 and REM; NaN where an epoch is not staged."""
        return self.staged.night.probability

    @property
    def onsets_s(self) -> NDArray[np.float64]:
        """(n_epochs,): start of each epoch, in seconds from the start of the recording."""
        return self.staged.night.onsets_s

    @property
    def scorer(self) -> NDArray[np.str_] | None:
        """(n_epochs,): stages that the recording held already, UNS where there was none; None without any."""
        reference = self.staged.night.reference
        return None if reference is None else np.asarray(_NAMES[reference])

    @property
    def agreement(self) -> Agreement | None:
        """With the scorer: accuracy, macro-F1, kappa and confusion matrix; None without one."""
        return self.staged.night.agreement

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that one has to know, such as "The model was trained on subject a1."."""
        return (*self.staged.night.notes, *self.staged.night.cautions)

    @cached_property
    def statistics(self) -> SleepStatistics:
        """Total sleep time, efficiency, latencies and the like."""
        return sleep_statistics(self.staged.night.stages)

    def to_frame(self) -> "pd.DataFrame":
        """Return a row an epoch: its number from 0, onset in seconds, stage, probability of each stage, entropy."""
        import pandas as pd

        return pd.read_csv(BytesIO(epochs_csv(self.staged.night)), dtype={"stage": str})

    def to_csv(self, path: "str | Path") -> None:
        """Write :meth:`to_frame` as CSV, with all digits."""
        file = Path(path).expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(epochs_csv(self.staged.night))

    def to_annotations(self) -> "mne.Annotations":
        """Return annotations for MNE, one for each stretch of a stage, as in ``raw.copy().set_annotations(...)``.

        Onsets count from the start of the recording. ``set_annotations`` replaces the annotations that are there, a
        scorer's among them, and whoever stages such a recording compares with this model. To keep what is there, add
        them one by one: ``raw.annotations.append(a.onset + raw.first_time, a.duration, a.description)``.
        """
        import mne

        night = self.staged.night
        stretches = list(bouts(night.stages))
        return mne.Annotations(
            onset=[night.onset_s + EPOCH_S * start for start, _ in stretches],
            duration=[EPOCH_S * (stop - start) for start, stop in stretches],
            description=[EVENT_TEXTS[int(night.stages[start])] for start, _ in stretches],
        )

    def to_yasa(self) -> "yasa.Hypnogram":
        """Return a hypnogram of YASA, with the probabilities where all epochs are staged; YASA has to be installed."""
        import pandas as pd
        import yasa

        night = self.staged.night
        first = None if night.start is None else pd.Timestamp(night.start)
        if first is not None:
            first += pd.Timedelta(seconds=night.onset_s)
        names = [yasa_name(stage) for stage in night.stages]
        whole = bool(night.is_staged.all())
        probability = pd.DataFrame(night.probability, columns=[yasa_name(i) for i in range(5)])
        return yasa.Hypnogram(
            names,
            freq=f"{EPOCH_S}s",
            start=first,
            proba=probability if whole else None,
        )

    def plot(self) -> "NightFigure":
        """Draw hypnogram, probabilities and the spectrogram of a channel, as in the PNG that ``predict`` writes."""
        from orchestrator.predict.picture import night_figure

        return night_figure(self.staged.night, self.staged.channel)

    def save(self, folder: "str | Path") -> list[str]:
        """Write the files that ``orchestrator predict`` writes, and return their URIs.

        Parameters
        ----------
        folder : str or Path
            Or ``s3://bucket/prefix``. Nothing in it is overwritten; files with the same content are left alone.

        Raises
        ------
        ConfigError
            There are other files of these names.
        """
        out = Store.open(str(folder), writable=True)
        files = night_files(self.staged.night, self.staged.channel)
        there = Outputs.of(out).names.intersection(files)
        others = sorted(name for name in there if out.read_bytes(name) != files[name])
        if others:
            raise ConfigError(
                f"{', '.join(map(out.uri_of, others))}: there already, with another content. Name another folder, or "
                "remove what is there."
            )
        if len(there) < len(files):
            write_night(out, self.staged)
        return [out.uri_of(name) for name in files]

    def __repr__(self) -> str:
        return f"Hypnogram of {self.recording!r}: {night_text(self.staged.night)}"

    def _repr_html_(self) -> str:
        from orchestrator.predict.picture import night_png

        picture = base64.b64encode(night_png(self.staged.night, self.staged.channel)).decode()
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return (
            f"<p>{html.escape(repr(self))}</p>"
            f'<img src="data:image/png;base64,{picture}" alt="{html.escape(repr(self), quote=True)}" '
            f'style="max-width:100%"/><ul>{notes}</ul>'
        )


def yasa_name(stage: int) -> str:
    """Return what YASA calls a stage.

    >>> yasa_name(0), yasa_name(4), yasa_name(-1)
    ('WAKE', 'REM', 'UNS')
    """
    return (
        UNSTAGED if stage == UNSCORED else {"W": "WAKE"}.get(STAGE_NAMES[stage], STAGE_NAMES[stage])
    )
