"""The search of a sweep: Optuna proposes trials, Ray Tune runs them, and the study keeps what came of each."""
