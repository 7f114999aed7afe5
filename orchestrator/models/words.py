"""What a model needs of signals, in words."""

from orchestrator.models.record import ModelRecord


def scaling_words(record: ModelRecord) -> str:
    """Return how the signals that the model gets are scaled, as sentences."""
    if record.scale == "microvolts":
        return "Signals are in microvolts, not clipped."
    return (
        "Signals are in spreads of their own recording: of each channel, its median is subtracted and the rest divided "
        "by its interquartile range / 1.349, both over the epochs that are not flat; then it is clipped at "
        f"±{record.clip_spreads:g}."
    )
