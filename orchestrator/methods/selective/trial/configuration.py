"""What a trial or an arm trains on: which source batches, how, with which seeds, for whom, and under which id."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.readings import selected
from orchestrator.alignment.selection import select_quantile
from orchestrator.methods.selective.config.arms import ARMS, QUANTILE, Batches
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.store.hashing import content_id
from orchestrator.sweeps.epochs import UnlabelledEpochs
from search_spaces.space import Params
from trainables.stages import Stage

OBJECTIVE, TEST, ADAPT = "objective", "test", "adapt"
"""Roles of predictions: what chooses by stages, what is judged, and what chooses without stages where these differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSubject:
    """A target subject who is adapted to by itself: its own distances and rewards, and which epochs are its own."""

    subject: str
    recordings: tuple[int, ...]
    """Positions of its recordings in the list of those to test on."""
    emd_S: NDArray[np.float64]
    """(n_selectable,), over its own target batches alone; in feature units."""
    reward_S: NDArray[np.float64]
    """(n_selectable,), R = 1/EMD of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialInputs:
    """What all trials of a sweep share; put into the object store once, read there without a copy."""

    store_uri: str
    sweep_name: str
    score_id: str
    """Stands for encoder, rewards and all epochs of source and target, but for those of `tested_id`."""
    tested_id: str | None = None
    """Stands for epochs that are predicted and not adapted to; None where there are none."""
    weights: bytes
    """Of the pretrained model."""
    reward_S: NDArray[np.float64]
    """(n_selectable,), over all target batches."""
    subjects: tuple[TargetSubject, ...] = ()
    """Those to test on, sorted, where each is adapted to by itself; empty where all are adapted to together."""
    batches_x: NDArray[np.float32]
    """(n_selectable, batch_size, n_channels, 3000): source batches that may be trained on."""
    batches_stages: NDArray[np.int64]
    """(n_selectable, batch_size)."""
    class_weights: NDArray[np.float32]
    """(5,), from the stages of all selectable batches: the same in every trial."""
    learned_stages: tuple[Stage, ...]
    """Stages that the model can predict."""
    objective_epochs: UnlabelledEpochs
    test_epochs: UnlabelledEpochs
    adapt_epochs: UnlabelledEpochs | None = None
    """Epochs that are adapted to, where an objective without labels needs predictions of these and they are not those
    to test on."""
    default_learning_rate: float
    n_steps: int
    """Of the arms, and of a trial without steps of its own."""
    seed: int
    sweep: SelectiveSweep
    """Says how many workers finetune together, and on what."""

    @property
    def unlabelled_role(self) -> str:
        """Role of the predictions that an objective without labels is computed from."""
        return TEST if self.adapt_epochs is None else ADAPT

    @property
    def unlabelled_epochs(self) -> UnlabelledEpochs:
        """The epochs that an objective without labels is about."""
        return self.test_epochs if self.adapt_epochs is None else self.adapt_epochs

    def epochs_of(self, role: str, subject: str | None) -> UnlabelledEpochs:
        """Return what is predicted in a role: all of it, or of the epochs to test on those of one subject.

        Recordings count from 0 in the list of all of the role in either case. The epochs of the objective are those
        that every model predicts.
        """
        of_role = {
            OBJECTIVE: self.objective_epochs,
            TEST: self.test_epochs,
            ADAPT: self.unlabelled_epochs,
        }
        epochs = of_role[role]
        if subject is None or role == OBJECTIVE:
            return epochs
        (own,) = (each.recordings for each in self.subjects if each.subject == subject)
        mine = np.isin(epochs.recording, own)
        return UnlabelledEpochs(
            x=epochs.x[mine], recording=epochs.recording[mine], epoch_index=epochs.epoch_index[mine]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A selection and how to train on it."""

    kept: NDArray[np.intp]
    """Positions among the selectable batches; empty: no finetuning."""
    tau_quantile: float | None
    tau_absolute: float | None
    learning_rate: float | None
    n_steps: int
    seed: int
    subject: str | None = None
    """The target subject who is selected for, and whose epochs are predicted; None: all of them."""

    @property
    def is_trained(self) -> bool:
        """Whether it changes the pretrained model; without a batch it does not."""
        return len(self.kept) > 0

    def trains_as(self, other: "Configuration") -> bool:
        """Whether both give the same model, though perhaps for other subjects."""
        mine, others = (
            (each.kept.tolist(), each.learning_rate, each.n_steps, each.seed)
            for each in (self, other)
        )
        return mine == others


def trial_configurations(
    inputs: TrialInputs, params: Mapping[str, float]
) -> tuple[Configuration, ...]:
    """Return what a trial with these sampled parameters trains on with each seed, and there for each subject."""
    first = [trial_configuration(inputs, params, of) for of in inputs.subjects or (None,)]
    return tuple(replace(each, seed=seed) for seed in _seeds(inputs) for each in first)


def arm_configurations(inputs: TrialInputs, arm: str) -> tuple[Configuration, ...]:
    """Return what a control arm trains on with each seed, and there for each subject.

    Without training, neither seeds nor subjects matter.
    """
    if not ARMS[arm].is_finetuned:
        return (arm_configuration(inputs, arm),)
    return tuple(
        arm_configuration(inputs, arm, seed, of)
        for seed in _seeds(inputs)
        for of in inputs.subjects or (None,)
    )


def _seeds(inputs: TrialInputs) -> range:
    return range(inputs.seed, inputs.seed + inputs.sweep.search.replicates)


def trial_configuration(
    inputs: TrialInputs, params: Mapping[str, float], of: TargetSubject | None = None
) -> Configuration:
    """Return what a trial with these sampled parameters trains on with the first seed, for one subject or for all."""
    selection = selected(inputs.reward_S if of is None else of.reward_S, params)
    return Configuration(
        kept=selection.kept,
        tau_quantile=selection.tau_quantile,
        tau_absolute=selection.tau_absolute,
        learning_rate=params.get("learning_rate", inputs.default_learning_rate),
        n_steps=int(params.get("n_steps", inputs.n_steps)),
        seed=inputs.seed,
        subject=None if of is None else of.subject,
    )


def arm_configuration(
    inputs: TrialInputs, arm: str, seed: int | None = None, of: TargetSubject | None = None
) -> Configuration:
    """Return what a control arm trains on, at the default learning rate and with the steps of the sweep file.

    Parameters
    ----------
    inputs : TrialInputs
    arm : str
        A key of :data:`orchestrator.methods.selective.config.arms.ARMS`.
    seed : int, optional
        Of the training, and of the choice of batches; that of the sweep by default.
    of : TargetSubject, optional
        Whose rewards an arm goes by that goes by rewards; all target subjects together by default.
    """
    choose = ARMS[arm].choose
    seed = inputs.seed if seed is None else seed
    if choose is None:
        kept, learning_rate, n_steps = np.arange(0), None, 0
    else:
        # Half of the batches is as many for each subject, so that a draw by seed is the same for all of them.
        n_half = select_quantile(inputs.reward_S, QUANTILE).n_kept
        reward_S = inputs.reward_S if of is None else of.reward_S
        kept = choose(Batches(reward_S=reward_S, n_half=n_half, seed=seed))
        learning_rate, n_steps = inputs.default_learning_rate, inputs.n_steps
    return Configuration(
        kept=kept,
        tau_quantile=None,
        tau_absolute=None,
        learning_rate=learning_rate,
        n_steps=n_steps,
        seed=seed,
        subject=None if of is None else of.subject,
    )


def signature(inputs: TrialInputs, configuration: Configuration) -> str:
    """Return the id of everything that the predictions depend on.

    Two taus that keep the same batches are the same training, and find the same predictions; where each subject is
    adapted to by itself, those of that subject.
    """
    return content_id(
        {
            "score_id": inputs.score_id,
            **({} if inputs.tested_id is None else {"tested": inputs.tested_id}),
            "kept": configuration.kept.tolist(),
            "learning_rate": configuration.learning_rate,
            "n_steps": configuration.n_steps,
            "seed": configuration.seed,
            "workers": inputs.sweep.workers,
            "device": inputs.sweep.device,
            **({} if configuration.subject is None else {"subject": configuration.subject}),
        }
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What one trial or arm trains: a finetuning with each of its seeds, or with each seed one for each subject."""

    configurations: tuple[Configuration, ...]
    """Those of a seed next to each other, sorted by subject."""
    signature: str
    """Id of its one training, or of all of them."""
    stored: tuple[str, ...]
    """Id of each configuration, which its predictions are stored under."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, each once."""
        return tuple(dict.fromkeys(each.seed for each in self.configurations))

    @property
    def of_first_seed(self) -> tuple[Configuration, ...]:
        """What is trained with the first seed: one configuration, or one for each subject."""
        first = self.configurations[0].seed
        return tuple(each for each in self.configurations if each.seed == first)


def configured(inputs: TrialInputs, name: str, params: Params | None) -> Trial:
    """Return what a trial trains, or an arm by its name, with ``arm-`` before it or not."""
    if params is None:
        configurations = arm_configurations(inputs, name.removeprefix("arm-"))
    else:
        configurations = trial_configurations(inputs, params)
    stored = tuple(signature(inputs, configuration) for configuration in configurations)
    return Trial(
        configurations=configurations,
        signature=stored[0] if len(stored) == 1 else content_id({"replicates": list(stored)}),
        stored=stored,
    )
