"""Encoder, features and score table of a sweep: looked up, or made."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.encode import encode_recordings
from orchestrator.alignment.scores import ScoreRequest, is_complete, read_scores, score
from orchestrator.alignment.selection import rewards
from orchestrator.errors import DataError
from orchestrator.methods.pretrain.trial.encoder import (
    Encoder,
    encoder_function,
    ensure_encoder,
    stored_encoder,
)
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import SweepPlan, plan_sweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.session import ray_session


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewards:
    """How far the source batches are from some target batches."""

    emd_S: NDArray[np.float64]
    """(n_source_batches,), aggregated over these target batches."""
    reward_S: NDArray[np.float64]
    """(n_source_batches,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A sweep with its encoder and score table in the store."""

    plan: SweepPlan
    encoder: Encoder
    score_id: str
    emd_S: NDArray[np.float64]
    """(n_source_batches,), aggregated over the target batches."""
    reward_S: NDArray[np.float64]
    """(n_source_batches,)."""
    by_subject: Mapping[str, Rewards] = field(default_factory=dict)
    """Of each test subject who is adapted to alone, from its own target batches."""


def run_scoring(
    store: Store, sweep: SelectiveSweep, *, n_cpus: int | None = None, plan: SweepPlan | None = None
) -> Scored:
    """Have encoder, features and score table of a sweep in the store, making what is missing."""
    plan = plan or plan_sweep(sweep, store)
    encoder = ensure_encoder(store, plan.encoder_request())
    request = plan.score_request(encoder.encoder_id)
    with (
        nullcontext() if is_complete(store, request) else ray_session(n_cpus, store),
        EventLog(store, paths.score_events(request.score_id)) as log,
    ):
        encode_recordings(
            store,
            sorted(
                {*plan.source, *plan.target_adapt},
                key=lambda r: (r.dataset, r.subject, r.recording),
            ),
            encoder_function(encoder, sweep.score.layer),
            encoder_id=encoder.encoder_id,
            layer=sweep.score.layer,
            modality=sweep.modality,
            log=log,
        )
        emd_ST = score(store, request, log)
    return _scored(plan, encoder, request, emd_ST)


def stored_scoring(store: Store, plan: SweepPlan) -> Scored:
    """Return encoder and score table of a sweep as the store has them; nothing is made or written.

    Raises
    ------
    DataError
        The store lacks one of them.
    """
    wanted = plan.encoder_request().encoder_id
    request = plan.score_request(wanted)
    if not (store.exists(paths.encoder_json(wanted)) and is_complete(store, request)):
        raise DataError(
            f"{store.uri} lacks encoder {wanted} or the score table {request.score_id}, which sweep "
            f"{plan.sweep.name!r} rests on. `orchestrator score` with its sweep file makes them again."
        )
    emd_ST = read_scores(
        store, request.score_id, len(plan.source_batches), len(plan.target_batches)
    )
    return _scored(plan, stored_encoder(store, wanted), request, emd_ST)


def _scored(
    plan: SweepPlan, encoder: Encoder, request: ScoreRequest, emd_ST: NDArray[np.float64]
) -> Scored:
    emd_S, reward_S = rewards(emd_ST, plan.sweep.score.aggregate)
    return Scored(
        plan=plan,
        encoder=encoder,
        score_id=request.score_id,
        emd_S=emd_S,
        reward_S=reward_S,
        by_subject=rewards_by_subject(plan, emd_ST),
    )


def rewards_by_subject(plan: SweepPlan, emd_ST: NDArray[np.float64]) -> dict[str, Rewards]:
    """Return distances and rewards of each test subject who is adapted to alone.

    They are, to the last digit, those of a sweep that has this target subject alone: distances of pairs depend on
    nothing else, and features are standardised over source batches.

    Parameters
    ----------
    plan : SweepPlan
    emd_ST : (n_source_batches, n_target_batches)
    """
    found = {}
    for subject in plan.adapted_alone:
        # Contiguous, because NumPy adds up the columns of a view in another order.
        own = np.ascontiguousarray(emd_ST[:, list(plan.target_batches_of(subject))])
        emd_S, reward_S = rewards(own, plan.sweep.score.aggregate)
        found[subject] = Rewards(emd_S=emd_S, reward_S=reward_S)
    return found
