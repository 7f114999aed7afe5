"""Encoder, features and score table of a sweep: looked up, or made."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.encode import encode_recordings
from orchestrator.alignment.scores import is_complete, score
from orchestrator.alignment.selection import rewards
from orchestrator.config.sweep import SelectiveSweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.selective.encoder import Encoder, encoder_function, ensure_encoder
from orchestrator.sweep.selective.plan import SweepPlan, plan_sweep
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.session import ray_session


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
            sorted({*plan.source, *plan.target}, key=lambda r: (r.dataset, r.subject, r.recording)),
            encoder_function(encoder, sweep.score.layer),
            encoder_id=encoder.encoder_id,
            layer=sweep.score.layer,
            modality=sweep.modality,
            log=log,
        )
        emd_ST = score(store, request, log)
    emd_S, reward_S = rewards(emd_ST, sweep.score.aggregate)
    return Scored(
        plan=plan, encoder=encoder, score_id=request.score_id, emd_S=emd_S, reward_S=reward_S
    )
