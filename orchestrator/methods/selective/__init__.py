"""The method selective: finetune on the source batches whose reward lies above tau (SelectiveFinetuning)."""
