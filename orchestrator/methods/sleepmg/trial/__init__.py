"""A cross-validation: the arrays, its folds, and what they predict."""
