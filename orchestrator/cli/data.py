"""Commands about recordings: ``ingest``, ``synth``."""

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import cpus_option, store_option

if TYPE_CHECKING:
    from orchestrator.config.fields import Modality


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
    from orchestrator.api import data
    from orchestrator.errors import DataError

    done = data.ingest(dataset_file, data_uri, store=store_uri, n_cpus=n_cpus)
    report = done.report
    rows = report.usable
    click.echo(str(done))
    for row in report.quarantined:
        click.echo(f"quarantined {row['recording']} ({row['reason']}): {row['message']}", err=True)
    implausible = [r["recording"] for r in rows if r["implausible_amplitude"]]
    if implausible:
        click.echo(
            f"warning: amplitudes of {', '.join(implausible)} are implausible for their unit; every recording is "
            "scaled by its own spread, so this matters only if the gain changed within one.",
            err=True,
        )
    for row in rows:
        if row["message"]:
            click.echo(f"unlabelled {row['recording']}: {row['message']}", err=True)
    for modality in done.optional:
        without = [r["recording"] for r in rows if modality in r["missing_modalities"]]
        if without:
            click.echo(f"without {modality}: {', '.join(without)}", err=True)
    if report.quarantined and strict:
        raise DataError(
            f"{len(report.quarantined)} recordings were quarantined and --strict was given. Reasons: "
            f"{done.manifest_uri}."
        )


@click.command()
@click.argument("out", metavar="OUT")
@click.option(
    "--subjects", "n_subjects", type=int, default=8, show_default=True, help="One recording each."
)
@click.option("--shift", type=float, default=0.0, show_default=True, help="Of the domain, 0 to 2.")
@click.option("--seed", type=int, default=1, show_default=True, help="Other seed, other subjects.")
@click.option("--hours", type=float, default=2.0, show_default=True, help="Of each recording.")
@click.option(
    "--montage",
    default="basic",
    show_default=True,
    metavar="NAME|FILE",
    help="Channels: basic, isruc-s3, mass-ss3, or a montage FILE.yaml.",
)
@click.option(
    "--dominance",
    "dominances",
    multiple=True,
    metavar="MODALITY=FACTOR",
    help="How much a modality shows of the stage: 0 nothing, 1 as usual, 2 twice the contrast. Repeatable.",
)
@click.option(
    "--spread",
    type=float,
    default=1.0,
    show_default=True,
    help="Factor on the differences between subjects, 0 to 2.",
)
def synth(
    out: str,
    n_subjects: int,
    shift: float,
    seed: int,
    hours: float,
    montage: str,
    dominances: tuple[str, ...],
    spread: float,
) -> None:
    """Write made-up recordings of one domain into folder OUT, one EDF+ file for each subject.

    They need no download and show how everything works; they are no substitute for real recordings. The same options
    give the same bytes. A shifted domain has other gain, noise and spectra: it is another laboratory. Only shift and
    seed are in the name of a file, so files made with another montage, dominance or spread need a folder of their own.
    """
    from orchestrator.api import data

    names = data.synth(
        out,
        n_subjects=n_subjects,
        shift=shift,
        seed=seed,
        hours=hours,
        montage=montage,
        dominance=_dominance(dominances),
        spread=spread,
    )
    several = len(names) > 1
    of_all = f"{len(names)} recordings" if several else "1 recording"
    which = f", from {names[0]} to {names[-1]}" if several else f", {names[0]}"
    click.echo(
        f"{of_all} of {hours:g} h in {out}{which}. "
        f"{_dataset_file(montage)} to `orchestrator ingest`."
    )


def _dominance(options: tuple[str, ...]) -> "dict[Modality, float]":
    """Read ``eeg=0.5`` and the like."""
    from orchestrator.config.fields import MODALITIES
    from orchestrator.errors import ConfigError

    factors: dict[Modality, float] = {}
    for option in options:
        name, _, text = option.partition("=")
        modality = next((m for m in MODALITIES if m == name), None)
        try:
            factor = float(text)
        except ValueError:
            factor = None
        if modality is None or factor is None:
            raise ConfigError(
                f"--dominance {option!r}: write MODALITY=FACTOR, such as eeg=0.5; "
                f"modalities are {', '.join(MODALITIES)}."
            )
        if modality in factors:
            raise ConfigError(f"--dominance names {modality} twice; keep one of them.")
        factors[modality] = factor
    return factors


def _dataset_file(montage: str) -> str:
    """Say which dataset file reads the recordings of a montage."""
    from orchestrator.config.montage import BUNDLED
    from orchestrator.psg.synthetic import BASIC

    if montage not in BUNDLED:
        return f"A dataset file like datasets/synthetic.yaml with the channels of {montage} describes them"
    name = "synthetic" if montage == BASIC else f"synthetic-{montage}"
    return f"datasets/{name}.yaml describes them"


COMMANDS = (ingest, synth)
