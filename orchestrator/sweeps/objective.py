"""What predictions are worth: macro-F1 of the objective's subjects, and the final metrics of the target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import entr

from orchestrator.errors import DataError
from orchestrator.labels import LabelGate, LabelKey, Split
from orchestrator.psg.feed import StoredRecording
from trainables import metrics
from trainables.stages import STAGE_NAMES, UNSCORED, Stage


def key_of(recording: StoredRecording) -> LabelKey:
    """Return the name under which the label gate knows a recording."""
    return recording.dataset, recording.subject, recording.recording


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Metrics over the declared stages; predictions are taken over those alone."""

    macro_f1: float
    accuracy: float
    kappa: float
    n_epochs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Predictions next to what a scorer said."""

    rows: pa.Table
    """The predictions, in their order."""
    true: NDArray[np.int64]
    """(n,), a declared stage."""
    predicted: NDArray[np.int64]
    """(n,), the most probable declared stage."""


def evaluation(
    true: NDArray[np.int64], predicted: NDArray[np.int64], declared: Sequence[Stage]
) -> Evaluation:
    """Return all metrics of at least one epoch."""
    return Evaluation(
        macro_f1=metrics.macro_f1(true, predicted, declared),
        accuracy=metrics.accuracy(true, predicted),
        kappa=metrics.kappa(true, predicted),
        n_epochs=len(true),
    )


def information(probability_ES: NDArray[np.float32]) -> float:
    """Return how much predictions say about the epochs, without any label.

    Entropy of the mean probability minus mean entropy, in units of the logarithm of the number of stages: 1 where each
    epoch is certain and the stages are even, 0 where all epochs get the same answer. (Bridle, Heading & MacKay, 1991,
    *Unsupervised classifiers, mutual information and 'phantom targets'*.)

    Parameters
    ----------
    probability_ES : (n, n_declared)
    """
    spread, doubt = entr(probability_ES.mean(axis=0)).sum(), entr(probability_ES).sum(axis=1).mean()
    return float((spread - doubt) / np.log(probability_ES.shape[1]))


def probabilities_of(
    predictions: pa.Table, role: str, declared: Sequence[Stage]
) -> NDArray[np.float32]:
    """Return the probabilities of the declared stages for the epochs of one role, (n, n_declared).

    Parameters
    ----------
    predictions : table
        As a trial writes it.
    role : str
        Such as ``objective`` or ``test``.
    declared : sequence of Stage
        Those that may be predicted.
    """
    mine = _of_role(predictions, role)
    return np.stack([mine[f"p_{stage.name}"].to_numpy() for stage in declared], axis=1)


def positions_of(predictions: pa.Table, role: str) -> NDArray[np.int32]:
    """Return the position of each epoch's recording in the list of those of the role, (n,)."""
    return np.asarray(_of_role(predictions, role)["recording"].to_numpy(), np.int32)


def certainty(probability_ES: NDArray[np.float32]) -> float:
    """Return one minus the mean entropy of the predictions, in units of the logarithm of the number of stages.

    1 where each epoch is certain, 0 where all stages are as probable. (Morerio, Cavazza & Murino, 2018,
    *Minimal-entropy correlation alignment*.)

    Parameters
    ----------
    probability_ES : (n, n_declared)
    """
    return float(1 - entr(probability_ES).sum(axis=1).mean() / np.log(probability_ES.shape[1]))


def _of_role(predictions: pa.Table, role: str) -> pa.Table:
    return predictions.filter(pc.equal(pc.cast(predictions["role"], pa.string()), role))


class Judge:
    """Compares predictions of one role with stages that the label gate gave.

    Parameters
    ----------
    role : str
        ``objective`` or ``test``, as in the predictions.
    declared : sequence of Stage
        Epochs of other stages are left out.
    """

    def __init__(
        self,
        gate: LabelGate,
        recordings: Sequence[StoredRecording],
        role: str,
        declared: Sequence[Stage],
        split: Split,
        purpose: str,
    ) -> None:
        self._role = role
        self._declared = tuple(declared)
        self._subjects = np.array([recording.subject for recording in recordings])
        self._stages = gate.read([key_of(r) for r in recordings], split, purpose)

    def evaluate(self, predictions: pa.Table) -> Evaluation:
        """Return the metrics of a table of predictions, as a trial of any method writes it.

        Raises
        ------
        DataError
            No epoch is scored with a declared stage.
        """
        judged = self.judged(predictions)
        if not len(judged.true):
            declared = ", ".join(stage.name for stage in self._declared)
            raise DataError(
                f"none of the {len(predictions)} {self._role} epochs is scored as {declared}, so "
                "there is nothing to judge predictions by. Choose other subjects or other `stages`."
            )
        return evaluation(judged.true, judged.predicted, self._declared)

    def by_subject(self, predictions: pa.Table) -> dict[str, float]:
        """Return the macro-F1 of each subject who has an epoch of a declared stage."""
        judged = self.judged(predictions)
        subject = self._subjects[judged.rows["recording"].to_numpy()]
        return {
            str(name): metrics.macro_f1(
                judged.true[subject == name], judged.predicted[subject == name], self._declared
            )
            for name in np.unique(subject)
        }

    def judged(self, predictions: pa.Table) -> Judged:
        """Return the predictions of this role for epochs with a declared stage, each with the true one."""
        mine, true = self._mine(predictions)
        counted = np.isin(true, self._declared)
        probability = np.stack([mine[f"p_{name}"].to_numpy() for name in STAGE_NAMES], axis=1)
        masked = np.full_like(probability, -1.0)
        masked[:, list(self._declared)] = probability[:, list(self._declared)]
        return Judged(
            rows=mine.filter(pa.array(counted)),
            true=true[counted],
            predicted=masked.argmax(axis=1)[counted],
        )

    def constant(self, stage: Stage, predictions: pa.Table) -> float:
        """Return the macro-F1 of always answering one stage on the epochs of `predictions`."""
        _, true = self._mine(predictions)
        return metrics.macro_f1(true, np.full(len(true), int(stage)), self._declared)

    @property
    def stage_counts(self) -> dict[str, int]:
        """Epochs of each stage, undeclared and flat ones too."""
        true = np.concatenate(self._stages)
        return {stage.name: int((true == stage).sum()) for stage in Stage}

    def _mine(self, predictions: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return the rows of this role and the true stage of each."""
        mine = _of_role(predictions, self._role)
        recording, epoch = mine["recording"].to_numpy(), mine["epoch_index"].to_numpy()
        true = np.full(len(mine), UNSCORED, np.int64)
        for i, stages in enumerate(self._stages):
            true[recording == i] = stages[epoch[recording == i]]
        return mine, true
