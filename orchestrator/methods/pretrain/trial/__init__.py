"""An encoder, made unless the store has it, and what it predicts."""
