"""A selection of source batches, a finetuning on them, and what the finetuned model predicts."""
