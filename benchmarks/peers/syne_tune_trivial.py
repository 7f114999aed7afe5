"""Trivial trials with Syne Tune's local backend; run by ``benchmarks/sweep.py`` with a Python that has syne-tune.

Arguments: trials, workers, seed, folder. With ``--x`` it is a trial.
"""

import argparse
import os
import sys
from pathlib import Path


def trial(x: float) -> None:
    from syne_tune import Reporter

    Reporter()(value=-((x - 0.3) ** 2))


def main() -> None:
    n_trials, n_workers, seed, folder = sys.argv[1:]
    os.environ["SYNETUNE_FOLDER"] = folder
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import uniform
    from syne_tune.optimizer.baselines import RandomSearch

    Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__))),
        scheduler=RandomSearch(
            {"x": uniform(0, 1)}, metrics=["value"], do_minimize=False, random_seed=int(seed)
        ),
        stop_criterion=StoppingCriterion(max_num_trials_finished=int(n_trials)),
        n_workers=int(n_workers),
        sleep_time=0.01,
        save_tuner=False,
        wait_trial_completion_when_stopping=True,
    ).run()


if __name__ == "__main__":
    if "--x" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--x", type=float, required=True)
        trial(parser.parse_known_args()[0].x)
    else:
        main()
