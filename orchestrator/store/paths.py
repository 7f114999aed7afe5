"""Every path the system writes, relative to the store's root. No other module builds one."""

EPOCHS = "epochs"
SWEEPS = "sweeps"


def epochs(dataset: str, subject: str, recording: str) -> str:
    """Epoch file of one recording."""
    return f"{EPOCHS}/{dataset}/{subject}/{recording}.parquet"


def manifest(dataset: str) -> str:
    """Manifest of a data set, one row per recording."""
    return f"{EPOCHS}/{dataset}/manifest.parquet"


def manifest_json(dataset: str) -> str:
    """Summary of the manifest: counts, settings, quarantine."""
    return f"{EPOCHS}/{dataset}/manifest.json"


def ingest_events(dataset: str) -> str:
    """Event log of every ingest of a data set."""
    return f"{EPOCHS}/{dataset}/events.jsonl"


def encoder_weights(encoder_id: str) -> str:
    """Weights of a pretrained encoder and its head."""
    return f"encoders/{encoder_id}/weights.safetensors"


def encoder_json(encoder_id: str) -> str:
    """Where an encoder comes from; written after the weights, so its presence means both."""
    return f"encoders/{encoder_id}/encoder.json"


def encoder_events(encoder_id: str) -> str:
    """Event log of the pretraining."""
    return f"encoders/{encoder_id}/events.jsonl"


def encoder_checkpoint(encoder_id: str) -> str:
    """Where a pretraining under way goes on; removed when it has ended."""
    return f"encoders/{encoder_id}/checkpoint.safetensors"


def features(encoder_id: str, layer: str, dataset: str, subject: str, recording: str) -> str:
    """Features of one recording."""
    return f"features/{encoder_id}/{layer}/{dataset}/{subject}/{recording}.parquet"


def score_tile(score_id: str, tile: str) -> str:
    """One tile of the score table."""
    return f"scores/{score_id}/{tile}.parquet"


def score_folder(score_id: str) -> str:
    """All tiles of a score table."""
    return f"scores/{score_id}"


def score_batches(score_id: str) -> str:
    """What the batch ids of a score table mean."""
    return f"scores/{score_id}/batches.parquet"


def score_run(score_id: str) -> str:
    """Constants of a score table; written last, so its presence means that all tiles are there."""
    return f"scores/{score_id}/run.json"


def score_events(score_id: str) -> str:
    """Event log of the scoring."""
    return f"scores/{score_id}/events.jsonl"


def sweep_folder(name: str) -> str:
    """Everything of a sweep."""
    return f"{SWEEPS}/{name}"


def sweep_file(name: str) -> str:
    """Sweep file as resolved, every default filled."""
    return f"{SWEEPS}/{name}/sweep.yaml"


def sweep_manifest(name: str) -> str:
    """What a sweep ran on: data, scores, encoder, seeds, versions."""
    return f"{SWEEPS}/{name}/manifest.json"


def sweep_trials(name: str) -> str:
    """Final table, one row per trial and arm; its presence means that the sweep is complete."""
    return f"{SWEEPS}/{name}/trials.parquet"


def sweep_batches(name: str) -> str:
    """Source batches with reward and stage mix."""
    return f"{SWEEPS}/{name}/batches.parquet"


def sweep_predicted(name: str) -> str:
    """Epochs of each stage that every trial and arm predicts for each target subject."""
    return f"{SWEEPS}/{name}/predicted.parquet"


def sweep_folds(name: str) -> str:
    """Folds of every trial of a cross-validation: who was tested with whom, and when training stopped."""
    return f"{SWEEPS}/{name}/folds.parquet"


def sweep_subjects(name: str) -> str:
    """Metrics of every subject that the objective is measured on, by trial."""
    return f"{SWEEPS}/{name}/subjects.parquet"


def sweep_trials_by_subject(name: str) -> str:
    """How every configuration stages each subject that judges it, by seed; sweeps of version 0.1 lack it."""
    return f"{SWEEPS}/{name}/trials_by_subject.parquet"


def sweep_recordings(name: str) -> str:
    """Test metrics of every recording, by trial."""
    return f"{SWEEPS}/{name}/recordings.parquet"


def sweep_confusion(name: str) -> str:
    """Test epochs by true and predicted stage, by trial."""
    return f"{SWEEPS}/{name}/confusion.parquet"


def sweep_modalities(name: str) -> str:
    """Scores, ratios and coefficients of each modality, by trial, fold and pass."""
    return f"{SWEEPS}/{name}/modalities.parquet"


def sweep_events(name: str) -> str:
    """Event log of a sweep, the label ledger included."""
    return f"{SWEEPS}/{name}/events.jsonl"


def sweep_journal(name: str) -> str:
    """Optuna journal of a sweep; optuna-dashboard opens it."""
    return f"{SWEEPS}/{name}/optuna.journal"


def sweep_tune(name: str) -> str:
    """Folder of Ray Tune's own files."""
    return f"{SWEEPS}/{name}/tune"


def fold_json(fold_id: str) -> str:
    """What is known of a trained fold; written last, so its presence means that weights and predictions are there."""
    return f"folds/{fold_id}/fold.json"


def fold_weights(fold_id: str) -> str:
    """Weights of a trained fold."""
    return f"folds/{fold_id}/weights.safetensors"


def fold_predictions(fold_id: str) -> str:
    """Predictions of a trained fold for its validation and test subjects."""
    return f"folds/{fold_id}/predictions.parquet"


def fold_checkpoint(fold_id: str) -> str:
    """Where a fold under way goes on; removed when it is trained."""
    return f"folds/{fold_id}/checkpoint.safetensors"


def sweep_stop(name: str) -> str:
    """Request to the process that runs a sweep; removed when it is heard."""
    return f"{SWEEPS}/{name}/stop.json"


def trial_weights(name: str, signature: str) -> str:
    """Weights of one trained configuration of a sweep that goes on; those to keep move to its models."""
    return f"{weights_folder(name)}/{signature}.safetensors"


def weights_folder(name: str) -> str:
    """Folder of the weights of a sweep that goes on."""
    return f"{SWEEPS}/{name}/weights"


def model_folder(name: str, trial: str) -> str:
    """Folder of the kept model of a trial, arm or row."""
    return f"{SWEEPS}/{name}/models/{trial}"


def model_json(name: str, trial: str) -> str:
    """What a kept model is; written last, so its presence means that its weights are there."""
    return f"{model_folder(name, trial)}/model.json"


def trial_checkpoint(name: str, signature: str) -> str:
    """Where a finetuning under way goes on; removed when it has predicted."""
    return f"{SWEEPS}/{name}/checkpoints/{signature}.safetensors"


def sweep_lock(name: str) -> str:
    """Which process runs a sweep; removed when it ends."""
    return f"{SWEEPS}/{name}/lock.json"


def predictions(name: str, signature: str) -> str:
    """Predictions of one trained configuration."""
    return f"{SWEEPS}/{name}/predictions/{signature}.parquet"


def sweep_live(name: str) -> str:
    """Folder of what the trainings of a sweep say of themselves."""
    return f"{SWEEPS}/{name}/live"


def live_metrics(name: str, signature: str) -> str:
    """How the training of a configuration is doing; removed when it ends."""
    return f"{SWEEPS}/{name}/live/{signature}.json"


def part_predictions(name: str, signature: str, part: int) -> str:
    """Predictions of a configuration under way, for the scheduler; removed when they are judged."""
    return f"{SWEEPS}/{name}/parts/{signature}-{part}.parquet"


def replay_events(name: str) -> str:
    """Event log of every replay of a sweep, with a label ledger of its own."""
    return f"replays/{name}/events.jsonl"


def review(name: str, filename: str) -> str:
    """A file of a review."""
    return f"reviews/{name}/{filename}"
