"""What a selective sweep rests on, made in this process: encoder, features and score table."""

from orchestrator.alignment import encode, scores
from orchestrator.alignment.emd import emd_matrix
from orchestrator.methods.pretrain.trial.encoder import encoder_function, ensure_encoder
from orchestrator.methods.selective.plan import SweepPlan
from orchestrator.psg.feed import read_signals, signal_epochs
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog


def score_here(store: Store, plan: SweepPlan) -> None:
    """Have encoder, features and score table in the store, as Ray would make them in tasks."""
    encoder = ensure_encoder(store, plan.encoder_request())
    layer = plan.sweep.score.layer
    features_of = encoder_function(encoder, layer)
    for recording in (*plan.source, *plan.target_adapt):
        epochs = signal_epochs(store, recording)
        features = features_of(read_signals(store, recording, plan.sweep.modality, epochs))
        path = encode._path(recording, encoder.encoder_id, layer)
        store.write_table(path, encode._table(recording, epochs, features))
    request = plan.score_request(encoder.encoder_id)
    prepared = scores._Features(store, request)
    for tile in scores._tiles(len(request.source_batches), len(request.target_batches)):
        source, target = (
            prepared.batches([batches[i] for i in ids], target=batches is request.target_batches)
            for batches, ids in (
                (request.source_batches, tile.source),
                (request.target_batches, tile.target),
            )
        )
        values = emd_matrix(source, target, request.metric)
        table = scores._tile_table(tile, values, source.shape[1], target.shape[1])
        store.write_table(paths.score_tile(request.score_id, tile.name), table)
    with EventLog(store, paths.score_events(request.score_id)) as log:
        scores.score(store, request, log)  # every tile is there
