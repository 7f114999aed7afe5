"""Sweeps of the method SelectiveFinetuning: pretrain, score, and search over tau."""
