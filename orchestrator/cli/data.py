"""Commands about recordings: ``ingest``, ``synth``."""

import click

from orchestrator.cli.options import cpus_option, store_option


@click.command()
@click.argument("dataset_file", metavar="FILE")
@click.option(
    "--data",
    "data_uri",
    required=True,
    metavar="DIR",
    help="Folder, or s3://bucket/prefix, with the recordings.",
)
@click.option("--strict", is_flag=True, help="Exit with 3 if any recording was quarantined.")
@store_option
@cpus_option
def ingest(
    dataset_file: str, data_uri: str, strict: bool, store_uri: str, n_cpus: int | None
) -> None:
    """Convert the recordings that dataset FILE describes into 30-s epochs at 100 Hz.

    A recording that is done is skipped; a broken one is quarantined with a reason, and the rest goes on.
    """
    from orchestrator.config.dataset import load_dataset
    from orchestrator.errors import DataError
    from orchestrator.psg.ingest import ingest as run_ingest
    from orchestrator.store import paths
    from orchestrator.store.store import Store

    dataset = load_dataset(dataset_file)
    store = Store.open(store_uri, writable=True)
    report = run_ingest(dataset, data_uri, store, n_cpus=n_cpus)
    rows = [row for row in report.manifest.to_pylist() if row["status"] == "ok"]
    click.echo(
        f"{dataset.name}: {len(rows)} recordings of {len({r['subject'] for r in rows})} subjects in the store "
        f"({report.n_converted} converted, {report.n_skipped} already done"
        f"{f', {report.n_kept} of earlier folders' if report.n_kept else ''}), "
        f"{sum(r['n_usable'] for r in rows)} of {sum(r['n_epochs'] for r in rows)} epochs usable."
    )
    for row in report.quarantined:
        click.echo(f"quarantined {row['recording']} ({row['reason']}): {row['message']}", err=True)
    implausible = [r["recording"] for r in rows if r["implausible_amplitude"]]
    if implausible:
        click.echo(
            f"warning: amplitudes of {', '.join(implausible)} are implausible for their unit; every recording is "
            "scaled by its own spread, so this matters only if the gain changed within one.",
            err=True,
        )
    if report.quarantined and strict:
        raise DataError(
            f"{len(report.quarantined)} recordings were quarantined and --strict was given. Reasons: "
            f"{store.uri_of(paths.manifest_json(dataset.name))}."
        )


@click.command()
@click.argument("out", metavar="OUT")
@click.option(
    "--subjects", "n_subjects", type=int, default=8, show_default=True, help="One recording each."
)
@click.option("--shift", type=float, default=0.0, show_default=True, help="Of the domain, 0 to 2.")
@click.option("--seed", type=int, default=1, show_default=True, help="Other seed, other subjects.")
@click.option("--hours", type=float, default=2.0, show_default=True, help="Of each recording.")
def synth(out: str, n_subjects: int, shift: float, seed: int, hours: float) -> None:
    """Write made-up recordings of one domain into folder OUT, one EDF+ file for each subject.

    They need no download and show how everything works; they are no substitute for real recordings. The same seed
    gives the same bytes. A shifted domain has other gain, noise and spectra: it is another laboratory.
    """
    from orchestrator.psg.synthetic import write_domain

    names = write_domain(out, n_subjects=n_subjects, shift=shift, seed=seed, hours=hours)
    click.echo(
        f"{len(names)} recordings of {hours:g} h in {out}, from {names[0]} to {names[-1]}. "
        "datasets/synthetic.yaml describes them to `orchestrator ingest`."
    )


COMMANDS = (ingest, synth)
