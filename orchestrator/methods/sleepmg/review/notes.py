"""The foot of a sleepmg review: how to read it, and where it comes from. Pure."""

from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.methods.sleepmg.review.parameters import TITLES
from orchestrator.methods.sleepmg.review.records import Manifest
from orchestrator.reviews.formats import counted, number, some
from orchestrator.reviews.paired import FEW_PAIRS
from orchestrator.reviews.verdicts import NO_DIFFERENCE
from search_spaces.sleepmg import PARAMETERS

FOLD_KINDS = {"leave_one_subject_out": "leave one subject out", "k_fold": "groups of subjects"}


def reading_notes(found: Findings) -> tuple[tuple[str, str], ...]:
    """Term and explanation."""
    manifest = found.sweep.manifest
    return (
        (
            "Trial, row",
            "A trial is one configuration that the search proposed (enqueued ones were written in the sweep file); a "
            "row is a fixed one, a control or a line of an ablation. Either is a whole cross-validation.",
        ),
        (
            "Objective",
            "Macro-F1 of the validation subjects, pooled over folds: it stops training in each fold and chooses "
            "among trials. Test numbers play no part in either.",
        ),
        (
            "Test macro-F1, accuracy, kappa",
            "Of the test subjects' epochs, pooled over folds; each subject is a test subject once. Macro-F1 is the "
            f"plain mean of the F1 of {', '.join(manifest.declared_stages)}.",
        ),
        (
            "lambda (grl_weight)",
            "What the gradient of the subject discriminator is multiplied by, its sign turned, on its way into the "
            "extractors. 0 lets them be; too much of it and they unlearn sleep with the subject.",
        ),
        (
            "rho, k, alpha",
            "rho compares how well a modality alone names the true stage (classifier) or the true subject "
            "(discriminator) with the others; above 1 it leads. k is what the updates of its slice are multiplied "
            "by: 1 as long as it does not lead, and the less the further it leads and the larger alpha is (alpha_y: "
            "classifier, alpha_d: discriminator, alpha_f: extractors). Starved: held back by more than half in "
            "nearly all steps of a pass.",
        ),
        *_choices(manifest),
        (
            "A modality's own macro-F1",
            "Of what the fused classifier would answer by that modality's share alone, on the validation subjects. "
            "It is not what a network trained on that modality alone would reach.",
        ),
        (
            "Discriminator accuracy",
            "On the training epochs of the last pass, mean over folds; chance is one over the number of training "
            "subjects (or groups). Near chance while macro-F1 holds is what gradient reversal is for.",
        ),
        (
            "Helped, hurt, no difference, unclear",
            f"Below {number(NO_DIFFERENCE, 2)} in test macro-F1 a difference is called none. A larger one is called "
            "helped or hurt only if its 95\u00a0% interval over subjects leaves out zero, p is below 0.05, and it "
            "exceeds its SD over seeds (where there are several); otherwise, and with fewer than "
            f"{FEW_PAIRS} subjects, it is unclear. These words are conventions.",
        ),
        (
            "What is reconstruction",
            "SleepMG (Ma, Zhang et al., ACM MM 2024) is known here by its supplement alone. Its equations, "
            "coefficients, lambda and numbers, and the names of the rows in its figures, could not be obtained: the "
            "balance is carried over from OGM-GE (CVPR 2022), the network from FeatureNet and the adversary from "
            "MSTGCN (IEEE TNSRE 2021). The numbers on this page are not a reproduction of its tables.",
        ),
    )


def _choices(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what the options of the searched choices are."""
    return [
        (TITLES.get(name, name), PARAMETERS[name].note)
        for name in manifest.searched
        if PARAMETERS[name].note
    ]


def provenance(found: Findings) -> tuple[tuple[str, str], ...]:
    """Term and value; what somebody needs to find the artefacts behind the page."""
    manifest = found.sweep.manifest
    counts = ", ".join(f"{s} {manifest.stage_counts.get(s, 0)}" for s in manifest.declared_stages)
    return (
        ("Method", manifest.method),
        ("Data set", manifest.dataset),
        ("Subjects", f"{len(manifest.subjects)}: {some(manifest.subjects)}"),
        ("Epochs", f"{manifest.n_epochs} scored: {counts}"),
        (
            "Always the same stage",
            f"answering {manifest.majority.stage} every time has macro-F1 {number(manifest.majority.macro_f1)}",
        ),
        (
            "Channels",
            "; ".join(f"{m}: {some(manifest.channels.get(m, ()))}" for m in manifest.modalities),
        ),
        ("Scale", manifest.scale),
        ("Folds", folds_text(manifest)),
        (
            "Training",
            f"batches of {manifest.batch_size} epochs, at most {counted(manifest.n_passes, 'pass', 'passes')}, "
            f"{counted(manifest.workers, 'worker')}",
        ),
        ("Seed of folds and search", str(manifest.seed)),
        ("Seeds of the rows", ", ".join(map(str, manifest.seeds)) if manifest.rows else "no rows"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(manifest.versions.items()))),
    )


def folds_text(manifest: Manifest) -> str:
    """Folds in words."""
    folds = manifest.folds
    kind = FOLD_KINDS.get(folds.kind, folds.kind)
    return (
        f"{counted(folds.n_folds, 'fold')} ({kind}), "
        f"{counted(folds.n_validation, 'validation subject')} in each"
    )
