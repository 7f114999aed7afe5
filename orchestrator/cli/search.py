"""Commands that take a sweep file: ``pretrain``, ``score``, ``sweep``.

Each checks the file and the store before it imports torch and Ray, so that a mistake is told at once.
"""

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import cpus_option, store_option

if TYPE_CHECKING:
    import pyarrow as pa


@click.command()
@click.argument("sweep_file", metavar="FILE")
@store_option
def pretrain(sweep_file: str, store_uri: str) -> None:
    """Pretrain the source encoder that sweep FILE needs, unless the store has it."""
    from orchestrator.config.sweep import load_sweep
    from orchestrator.store import paths
    from orchestrator.store.store import Store

    sweep = load_sweep(sweep_file)
    store = Store.open(store_uri, writable=True)
    from orchestrator.sweep.encoder import ensure_encoder
    from orchestrator.sweep.plan import plan_sweep

    encoder = ensure_encoder(store, plan_sweep(sweep, store))
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
    from orchestrator.config.sweep import load_sweep
    from orchestrator.store import paths
    from orchestrator.store.store import Store

    sweep = load_sweep(sweep_file)
    store = Store.open(store_uri, writable=True)
    from orchestrator.sweep.scoring import run_scoring

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
def sweep(sweep_file: str, store_uri: str, n_cpus: int | None) -> None:
    """Search over tau and the finetuning learning rate as sweep FILE says, with control arms.

    Pretrains and scores first where that is missing. A sweep that is complete is looked up; one that was killed
    goes on.
    """
    from orchestrator.config.sweep import load_sweep
    from orchestrator.store import paths
    from orchestrator.store.store import Store

    file = load_sweep(sweep_file)
    store = Store.open(store_uri, writable=True)
    from orchestrator.sweep.runner import run_sweep

    table = run_sweep(store, file, n_cpus=n_cpus)
    print_trials(table)
    click.echo(
        f"{store.uri_of(paths.sweep_trials(file.name))}\nnext: orchestrator review {file.name}"
    )


def print_trials(table: "pa.Table") -> None:
    """Print trials and arms, the best objective first."""
    columns = (
        "trial",
        "tau quantile",
        "tau (R)",
        "learning rate",
        "kept",
        "steps",
        "objective",
        "target F1",
    )
    click.echo(
        f"{columns[0]:<15}" + "".join(f"{name:>{max(len(name) + 2, 10)}}" for name in columns[1:])
    )
    rows = sorted(
        table.to_pylist(), key=lambda r: (r["kind"] != "trial", -(r["objective"] or -1), r["trial"])
    )
    for row in rows:
        cells = (
            _cell(row["tau_quantile"], ".3f"),
            _cell(row["tau_absolute"], ".4g"),
            _cell(row["learning_rate"], ".2e"),
            f"{row['n_kept']}/{row['n_selectable']}",
            str(row["n_steps"]),
            _cell(row["objective"], ".3f"),
            _cell(row["target_macro_f1"], ".3f"),
        )
        line = "".join(
            f"{cell:>{max(len(name) + 2, 10)}}"
            for cell, name in zip(cells, columns[1:], strict=True)
        )
        failed = "  failed" if row["state"] == "failed" else ""
        click.echo(f"{row['trial']:<15}{line}{failed}")


def _cell(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


COMMANDS = (pretrain, score, sweep)
