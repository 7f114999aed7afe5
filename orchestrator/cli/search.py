"""Commands that take a sweep file, ``pretrain``, ``score``, ``sweep``, and the one that says what it may hold.

Each checks the file and the store before it imports torch and Ray, so that a mistake is told at once.
"""

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import cpus_option, store_option
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.methods.selective.config.sweep import SelectiveSweep
    from orchestrator.store.store import Store


@click.command()
@click.argument("sweep_file", metavar="FILE")
@store_option
def pretrain(sweep_file: str, store_uri: str) -> None:
    """Pretrain the source encoder that sweep FILE needs, unless the store has it."""
    from orchestrator.store import paths

    sweep, store = _open_selective(sweep_file, store_uri, "pretrain")
    from orchestrator.methods.pretrain.trial.encoder import ensure_encoder
    from orchestrator.methods.selective.plan import plan_sweep

    encoder = ensure_encoder(store, plan_sweep(sweep, store).encoder_request())
    about = encoder.metadata
    click.echo(
        f"encoder {encoder.encoder_id}: {about['n_steps']} steps in {about['n_passes']} passes over "
        f"{about['n_train_epochs']} epochs of {', '.join(about['learned_stages'])}; best pass {about['best_pass']}, "
        f"early-stop macro-F1 {about['early_stop_macro_f1']:.3f}."
    )
    click.echo(store.uri_of(paths.encoder_weights(encoder.encoder_id)))


@click.command()
@click.argument("sweep_file", metavar="FILE")
@store_option
@cpus_option
def score(sweep_file: str, store_uri: str, n_cpus: int | None) -> None:
    """Compute the EMD of every source batch to every target batch, unless the store has it.

    Pretrains first where the store has no encoder.
    """
    from orchestrator.store import paths

    sweep, store = _open_selective(sweep_file, store_uri, "score")
    from orchestrator.methods.selective.run.scoring import run_scoring

    scored = run_scoring(store, sweep, n_cpus=n_cpus)
    plan = scored.plan
    click.echo(
        f"score table {scored.score_id}: {len(plan.source_batches)} source batches x {len(plan.target_batches)} target "
        f"batches of {sweep.batch_size} epochs, {len(plan.selectable)} of the source batches selectable; "
        f"EMD {scored.emd_S.min():.4g} to {scored.emd_S.max():.4g}."
    )
    click.echo(store.uri_of(paths.score_folder(scored.score_id)))


@click.command()
@click.argument("sweep_file", metavar="FILE")
@store_option
@cpus_option
@click.option("--as", "name", metavar="NAME", help="Run it under another name than the file's.")
@click.option(
    "--retry-failed", is_flag=True, help="Try failed trials again, where it has not ended."
)
@click.option(
    "--keep",
    "to_keep",
    multiple=True,
    metavar="TRIAL",
    help="Of a finished sweep, train this trial, arm or row again and keep its model; repeatable.",
)
def sweep(
    sweep_file: str,
    store_uri: str,
    n_cpus: int | None,
    name: str | None,
    retry_failed: bool,
    to_keep: tuple[str, ...],
) -> None:
    """Run the search of sweep FILE, with its control arms or rows.

    Method selective: over tau and the finetuning learning rate; pretrains and scores first where that is missing.
    Method sleepmg: over modulation, gradient reversal and training; each trial is a whole cross-validation. Method
    pretrain: over the training of the source encoder, without a target. A sweep that is complete is looked up; one
    that was killed goes on, also after Ctrl-C: the first lets the running trials finish, the second ends them at
    their last checkpoints.

    A sweep keeps the models of its best trial and of its arms or rows, unless its file says otherwise (keep_models).
    With --keep TRIAL, a finished one keeps another trial, too: that is trained again and, if it predicts what it did,
    the folder of its model is printed. Ends with 4 where it does not.
    """
    from orchestrator.api import search
    from orchestrator.cli.trials import print_trials
    from orchestrator.store import paths

    if to_keep and retry_failed:
        raise ConfigError(
            "--keep is for a sweep that has finished, and --retry-failed for one that has not. Give one of them."
        )
    if to_keep:
        from orchestrator.sweeps.keep import keep_trials

        file, store = search.open_sweep(sweep_file, store_uri, name)
        for folder in keep_trials(store, file.name, to_keep, n_cpus=n_cpus):
            click.echo(folder)
        return
    found = search.sweep(
        sweep_file, store=store_uri, name=name, n_cpus=n_cpus, retry_failed=retry_failed
    )
    print_trials(found.settings, found.table)
    click.echo(
        f"{found.store.uri_of(paths.sweep_trials(found.name))}\nnext: orchestrator review {found.name}"
    )


@click.command()
@click.option("--events", is_flag=True, help="Of a line of a sweep's events.jsonl instead.")
def schema(events: bool) -> None:
    """Print the JSON Schema of a sweep file, for editors."""
    import json

    from orchestrator.config.reference import sweep_schema
    from orchestrator.sweeps.watch.event_schema import event_schema

    click.echo(json.dumps(event_schema() if events else sweep_schema(), indent=1))


def _open_selective(
    sweep_file: str, store_uri: str, command: str
) -> tuple["SelectiveSweep", "Store"]:
    """The same for sweeps of the method that has an encoder and rewards."""
    from orchestrator.api import search
    from orchestrator.config.sweep import load_sweep
    from orchestrator.methods.selective.config.sweep import SelectiveSweep

    if not isinstance(sweep := load_sweep(sweep_file), SelectiveSweep):
        raise ConfigError(
            f"{sweep_file}: `orchestrator {command}` is for sweeps of method 'selective', and this one has method "
            f"{sweep.method!r}. Run `orchestrator sweep {sweep_file}`."
        )
    begun, store = search.open_sweep(sweep_file, store_uri)
    assert isinstance(begun, SelectiveSweep)
    return begun, store


COMMANDS = (pretrain, score, sweep, schema)
