"""Sweeps of the method pretrain: source encoders, trained in different ways."""
