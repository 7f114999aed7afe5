"""The whole story on made-up recordings: two sites, an encoder of one, a sweep over tau, a review, a staged night."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from orchestrator.config.sweep import load_sweep
from orchestrator.errors import DataError
from orchestrator.example_files import example_file
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.ingest import ingest
from orchestrator.psg.synthetic import write_domain
from orchestrator.reviews import write_review
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store
from orchestrator.sweeps.runner import run_sweep
from orchestrator.telemetry.session import ray_session

N_SOURCE, N_TARGET = 8, 4
"""Subjects of the two sites; two of the source's are held out by ``sweeps/tau.yaml``."""
SHIFT = 1.0
"""Domain shift of the second site."""
HOURS = 2.0
"""Length of each recording."""
NEW_SEED, NEW_HOURS = 3, 8.0
"""Of the recording that is staged at the end: a further subject of the second site, unknown to the sweep."""
STAGED = "staged"
"""Folder of its files, in the store."""
MARGIN_OVER_MAJORITY = 0.15
"""Macro-F1 by which the encoder must beat always answering the most frequent stage: else nothing is shown."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What there is to look at."""

    page: str
    """URI of the review."""
    picture: str
    """URI of the staged night."""


def run_demo(store: Store, say: Say, *, n_cpus: int | None = None) -> Shown:
    """Run everything and return where to look.

    The recordings are made in a scratch folder; what is in the store already is not made again.

    Raises
    ------
    DataError
        The encoder learned too little for its features to mean anything.
    """
    dataset = load_dataset(example_file("datasets/synthetic.yaml"))
    sweep = load_sweep(example_file("sweeps/tau.yaml"))
    with tempfile.TemporaryDirectory() as scratch, ray_session(n_cpus):
        say(
            f"1/5 synth: {N_SOURCE} subjects of one site, {N_TARGET} of another, {HOURS:g} hours each"
        )
        write_domain(f"{scratch}/source", n_subjects=N_SOURCE, shift=0, seed=1, hours=HOURS)
        write_domain(f"{scratch}/target", n_subjects=N_TARGET, shift=SHIFT, seed=2, hours=HOURS)
        say("2/5 ingest: recordings to 30-s epochs")
        ingest(dataset, scratch, store)
        say("3/5 sweep: pretrain an encoder, score every source batch, try tau")
        run_sweep(store, sweep)
    _check_encoder(store, sweep.name)
    say("4/5 review")
    page = write_review(store, sweep.name)
    say("5/5 predict: the chosen trial stages a night of a further subject of the other site")
    return Shown(page=page, picture=_staged_night(store, sweep.name, say))


def _staged_night(store: Store, sweep: str, say: Say) -> str:
    """Stage a night that no part of the sweep has seen, and return the URI of its picture."""
    from orchestrator.predict.inputs import find_inputs, settings_for
    from orchestrator.predict.model import load_model
    from orchestrator.predict.run import Outputs, check_results, stage_files
    from orchestrator.predict.staging import file_staging_id

    out = Store.open(f"{store.uri}/{STAGED}")
    model = load_model(store, sweep)
    with tempfile.TemporaryDirectory() as scratch:
        (file,) = write_domain(scratch, n_subjects=1, shift=SHIFT, seed=NEW_SEED, hours=NEW_HOURS)
        (night,) = find_inputs([f"{scratch}/{file}"])
        settings = settings_for(model.record)
        # A demo of before may have left a night that another model has staged.
        ids = {night.source.recording: partial(file_staging_id, night, model, settings)}
        is_there = bool(Outputs.of(out).done(ids))
        results = stage_files([night], model, settings, out, overwrite=not is_there)
    check_results(results, strict=True)
    (result,) = results
    say(f"{result.recording}: {result.text}")
    return out.uri_of(f"{result.recording}.png")


def _check_encoder(store: Store, name: str) -> None:
    reached = read_json(store, paths.sweep_manifest(name), {"pretrain": dict})["pretrain"]
    macro_f1, majority = reached["source_val_macro_f1"], reached["majority_macro_f1"]
    if macro_f1 < majority + MARGIN_OVER_MAJORITY:
        raise DataError(
            f"the encoder reaches a macro-F1 of {macro_f1:.3f} on held-out source subjects; always answering "
            f"{reached['majority_stage']} gives {majority:.3f}. At least {MARGIN_OVER_MAJORITY} more is needed for its "
            "features to mean anything. Pretrain longer: raise pretrain.n_passes in sweeps/tau.yaml."
        )
