"""The method sleepmg: cross-validate networks of several modalities whose gradients are balanced (SleepMG)."""
