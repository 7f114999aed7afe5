"""What limits the answer of a selective review. Pure."""

from collections.abc import Sequence

from orchestrator.review.cautions import (
    Caution,
    Level,
    encoders_of_other_code,
    failures_named,
    loudest_first,
)
from orchestrator.review.formats import counted, number, percent, range_text, signed
from orchestrator.review.selective.records import Manifest, Trial
from orchestrator.review.selective.statistics import (
    CEILING,
    FEW_SOURCE_BATCHES,
    STRONG_CONFOUND,
    Agreement,
    Comparison,
    StageShare,
    moved_mix,
    other_steps,
    strongest_confound,
)
from orchestrator.review.verdicts import Verdict
from orchestrator.store.provenance import OtherCode


def cautions(
    manifest: Manifest,
    trials: Sequence[Trial],
    chosen: Trial | None,
    comparisons: Sequence[Comparison],
    shares: Sequence[StageShare],
    agreement: Agreement | None,
    other_code: Sequence[OtherCode] = (),
) -> tuple[Caution, ...]:
    """Everything that limits the answer, the loudest first."""
    found = [
        *_oracle(manifest),
        *_hurt(comparisons),
        *_steps(manifest, trials, chosen),
        *_ceiling(comparisons),
        *_transductive(manifest),
        *_confound(shares),
        *_few_batches(manifest),
        *_failed(trials),
        *_missing_arms(comparisons),
        *_no_selection(chosen),
        *_no_adaptation(trials, chosen),
        *_agreement(agreement),
        *_weak_encoder(manifest),
        *encoders_of_other_code(other_code),
    ]
    return loudest_first(found)


def _oracle(manifest: Manifest) -> list[Caution]:
    if not manifest.is_oracle:
        return []
    return [
        Caution(
            level=Level.ALARM,
            title=f"The objective {manifest.objective} read stages of the target.",
            text="The chosen tau could not have been found without target labels. It is a bound on "
            "what tuning can reach on other target subjects, not a result of adaptation.",
        )
    ]


def _hurt(comparisons: Sequence[Comparison]) -> list[Caution]:
    hurt = [c for c in comparisons if c.verdict is Verdict.HURT]
    meanings = {
        "no_adapt": "the pretrained encoder as it was would have been better (negative transfer)",
        "all_source": "using every source batch would have been better than selecting",
        "random": "choosing batches by chance would have been better than by reward",
    }
    return [
        Caution(
            level=Level.ALARM,
            title=f"The chosen trial hurt: {signed(c.difference)} macro-F1 against {c.arm}.",
            text=f"On this target, {meanings[c.arm]}.",
        )
        for c in hurt
    ]


def _steps(manifest: Manifest, trials: Sequence[Trial], chosen: Trial | None) -> list[Caution]:
    others = other_steps(trials, manifest.n_steps)
    if others is None:
        return []
    text = (
        "The search varied the steps, so a difference between trials, or between a trial and an arm, mixes selection "
        f"with length of training. The line of the tau curve joins enqueued taus, all with {manifest.n_steps} steps."
    )
    if chosen is not None and chosen.n_steps != manifest.n_steps:
        text += (
            f" The chosen trial {chosen.trial} took {chosen.n_steps}: there is no verdict against arms that were "
            f"finetuned. For one, run its tau with search.n_steps: {chosen.n_steps} and without space.n_steps."
        )
    return [
        Caution(
            level=Level.WARNING,
            title=f"Not of equal length: arms took {manifest.n_steps} steps, sampled trials {range_text(others)}.",
            text=text,
        )
    ]


def _ceiling(comparisons: Sequence[Comparison]) -> list[Caution]:
    reached = next((c.target_macro_f1 for c in comparisons if c.arm == "no_adapt"), None)
    if reached is None or reached < CEILING:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="At the ceiling: this target leaves nothing to gain.",
            text=f"Without any adaptation the encoder reaches a target macro-F1 of {number(reached)}, so "
            "this sweep can show harm but no benefit. A flat curve here says nothing about tau on a "
            "harder target.",
        )
    ]


def _transductive(manifest: Manifest) -> list[Caution]:
    if not manifest.transductive:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Transductive, with {counted(len(manifest.target_subjects), 'target subject')}.",
            text="The selection saw the signals, never the stages, of the "
            f"{manifest.n_target_epochs} target epochs, and the metric is computed on "
            f"{manifest.target_evaluation_epochs} of the same epochs. The numbers say how well "
            "these very epochs are staged; they say nothing about the next subject, and no "
            "target subject is left to validate tau on.",
        )
    ]


def _confound(shares: Sequence[StageShare]) -> list[Caution]:
    strongest = strongest_confound(shares)
    if strongest is None or strongest.emd_correlation is None:
        return []
    rho = strongest.emd_correlation
    steers = abs(rho) >= STRONG_CONFOUND
    moved = moved_mix(shares)
    text = (
        f"Spearman correlation between the share of {strongest.stage} in a source batch and its "
        f"EMD: {signed(rho, 2)}, the strongest of the stages; batches with more "
        f"{strongest.stage} are {'farther from' if rho > 0 else 'closer to'} the target. "
    )
    if moved is not None:
        text += (
            f"{percent(moved)} of the kept epochs would need another stage to restore the mix of "
            "all selectable batches. "
        )
    text += (
        "A batch of consecutive epochs can be close to the target because it holds the same "
        "stages, not because it was recorded alike, and this sweep cannot tell the two apart."
    )
    return [
        Caution(
            level=Level.WARNING if steers else Level.NOTE,
            title="Stage-mix confound: the EMD goes with the stages in a batch."
            if steers
            else "Stage-mix confound: weak here.",
            text=text,
        )
    ]


def _few_batches(manifest: Manifest) -> list[Caution]:
    if manifest.n_selectable >= FEW_SOURCE_BATCHES:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Only {counted(manifest.n_selectable, 'source batch', 'source batches')} to select from.",
            text=f"With fewer than {FEW_SOURCE_BATCHES}, neighbouring taus keep the same batches "
            "and one batch decides the curve. A smaller batch_size gives more of them.",
        )
    ]


def _failed(trials: Sequence[Trial]) -> list[Caution]:
    failed = [t for t in trials if t.is_failed]
    if not failed:
        return []
    named = failures_named([(t.trial, t.error) for t in failed])
    return [
        Caution(
            level=Level.WARNING,
            title=f"{len(failed)} of {len(trials)} trials and arms failed.",
            text=f"They are missing from the curve and the verdicts. {named}.",
        )
    ]


def _missing_arms(comparisons: Sequence[Comparison]) -> list[Caution]:
    missing = [c.arm for c in comparisons if c.state == "not run"]
    if not missing:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Not run: {', '.join(missing)}.",
            text="Without its control arms a gain cannot be attributed to the selection.",
        )
    ]


def _no_selection(chosen: Trial | None) -> list[Caution]:
    if chosen is None or chosen.n_kept < chosen.n_selectable:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title="The objective prefers no selection.",
            text=f"The chosen trial {chosen.trial} keeps every selectable batch.",
        )
    ]


def _no_adaptation(trials: Sequence[Trial], chosen: Trial | None) -> list[Caution]:
    before = next((t.objective for t in trials if t.arm == "no_adapt"), None)
    if chosen is None or chosen.objective is None or before is None or before < chosen.objective:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="The objective prefers no adaptation.",
            text=f"It is {number(before)} for the pretrained encoder as it was and {number(chosen.objective)} for the "
            f"chosen trial {chosen.trial}: whoever goes by it alone, without target labels, would not adapt.",
        )
    ]


def _agreement(agreement: Agreement | None) -> list[Caution]:
    if agreement is None or agreement.correlation is None:
        return []
    rho = agreement.correlation
    text = (
        f"Spearman correlation of objective and target macro-F1 over {agreement.n_trials} trials: "
        f"{signed(rho, 2)}. In hindsight the best trial was {agreement.best_trial} with "
        f"{number(agreement.best_macro_f1)}"
    )
    if agreement.given_up is not None:
        text += f"; choosing by the objective gives up {number(agreement.given_up)}"
    return [
        Caution(
            level=Level.NOTE if rho >= 0.5 else Level.WARNING,
            title="The objective ranks the trials much as the target does."
            if rho >= 0.5
            else "The objective is a poor guide to the target."
            if rho >= 0
            else "The objective ranks the trials against the target.",
            text=f"{text}.",
        )
    ]


def _weak_encoder(manifest: Manifest) -> list[Caution]:
    reached = manifest.pretrain.get("source_val_macro_f1")
    majority = manifest.pretrain.get("majority_macro_f1")
    if reached is None or majority is None or reached > majority:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="The encoder did not learn to stage sleep.",
            text=f"Its macro-F1 on held-out source subjects, {number(reached)}, is not above "
            f"always answering the most frequent stage ({number(majority)}), so its features "
            "carry no distance of use.",
        )
    ]
