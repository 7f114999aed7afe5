"""What limits the answer of a selective review. Pure."""

from collections.abc import Sequence

from orchestrator.methods.selective.config.arms import ARMS, NO_ADAPT
from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.methods.selective.review.statistics import (
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
from orchestrator.methods.selective.review.wording import runs
from orchestrator.reviews.cautions import (
    Caution,
    Level,
    encoders_of_other_code,
    failures_named,
    loudest_first,
)
from orchestrator.reviews.formats import (
    counted,
    listed,
    number,
    percent,
    range_text,
    rates_apart,
    signed,
)
from orchestrator.store.provenance import OtherCode


def cautions(
    manifest: Manifest,
    trials: Sequence[TrialRow],
    chosen: TrialRow | None,
    comparisons: Sequence[Comparison],
    shares: Sequence[StageShare],
    agreement: Agreement | None,
    n_runs: int,
    other_code: Sequence[OtherCode] = (),
) -> tuple[Caution, ...]:
    """Everything that limits the answer, the loudest first."""
    found = [
        *_not_judged(manifest),
        *_oracle(manifest),
        *_unlike_arms(manifest, trials, chosen, comparisons),
        *_ceiling(comparisons),
        *_transductive(manifest),
        *_confound(manifest, shares),
        *_few_batches(manifest),
        *_failed(trials),
        *_missing_arms(comparisons),
        *_no_selection(chosen),
        *_winning_arms(trials, chosen, n_runs),
        *_agreement(agreement, n_runs),
        *_weak_encoder(manifest),
        *encoders_of_other_code(other_code),
    ]
    return loudest_first(found)


def _not_judged(manifest: Manifest) -> list[Caution]:
    if manifest.target_is_labelled:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="Not judged: the target has no labels.",
            text="Nothing on this page says how well the target is staged, nor whether adaptation helped or hurt. The "
            "objective chose among the trials; what it is computed from is not the target's stages. A few nights "
            "scored by hand, named in target.test, would be judged.",
        )
    ]


def _oracle(manifest: Manifest) -> list[Caution]:
    if not manifest.about_objective.is_oracle:
        return []
    return [
        Caution(
            level=Level.ALARM,
            title=f"The objective {manifest.objective} read stages of the target.",
            text="The chosen tau could not have been found without target labels. It is a bound on "
            "what tuning can reach on other target subjects, not a result of adaptation.",
        )
    ]


def _unlike_arms(
    manifest: Manifest,
    trials: Sequence[TrialRow],
    chosen: TrialRow | None,
    comparisons: Sequence[Comparison],
) -> list[Caution]:
    """Say where trials and arms were finetuned for other steps, or the chosen one at another learning rate."""
    others = other_steps(trials, manifest.n_steps)
    rates = _other_rate(chosen, comparisons)
    if others is None and rates is None:
        return []
    texts = []
    if others is not None:
        texts.append(
            "The search varied the steps, so a difference between trials, or between a trial and an arm, mixes "
            "selection with length of training. The line of the tau curve joins enqueued taus, all with "
            f"{manifest.n_steps} steps."
        )
    if chosen is not None:
        texts += _mixed(manifest, chosen, rates)
    return [
        Caution(
            level=Level.WARNING,
            title=_unlike_title(manifest, chosen, others, rates),
            text=" ".join(texts),
        )
    ]


def _other_rate(
    chosen: TrialRow | None, comparisons: Sequence[Comparison]
) -> tuple[str, str] | None:
    """Learning rates of the finetuned arms and of the chosen trial; None where they are the same."""
    of_arms = [c.learning_rate for c in comparisons if "learning rate" in c.mixes]
    if chosen is None or chosen.learning_rate is None or not of_arms or of_arms[0] is None:
        return None
    return rates_apart(of_arms[0], chosen.learning_rate)


def _unlike_title(
    manifest: Manifest,
    chosen: TrialRow | None,
    others: tuple[int, int] | None,
    rates: tuple[str, str] | None,
) -> str:
    """Both values of all that differs."""
    sampled = f"sampled trials {range_text(others)}"
    if chosen is None or rates is None:
        return f"Not of equal length: arms took {manifest.n_steps} steps, {sampled}."
    of_arms, of_chosen = rates
    if others is None:
        return f"Not of equal learning rate: arms took {of_arms}, the chosen trial {chosen.trial} {of_chosen}."
    return (
        f"Not of equal length and learning rate: arms took {manifest.n_steps} steps at {of_arms}, {sampled}, "
        f"the chosen trial {chosen.trial} {chosen.n_steps} at {of_chosen}."
    )


def _mixed(manifest: Manifest, chosen: TrialRow, rates: tuple[str, str] | None) -> list[str]:
    """What the chosen trial minus an arm mixes, and how to compare like with like; nothing where they are alike."""
    took, mixes, settings = [], [], []
    without = ""
    if chosen.n_steps != manifest.n_steps:
        took.append(f"{chosen.n_steps} steps")
        mixes.append("length of training")
        settings.append(f"search.n_steps: {chosen.n_steps}")
        without = " and without space.n_steps"
    if rates is not None:
        took.append(rates[1])
        mixes.append("learning rate")
        settings.append(f"search.default_learning_rate: {chosen.learning_rate:g}")
    if not mixes:
        return []
    return [
        f"The chosen trial {chosen.trial} took {' at '.join(took)}, so its difference to an arm that was finetuned "
        f"mixes selection with {listed(mixes)}. To compare like with like, enqueue its tau with "
        f"{listed(settings)}{without}."
    ]


def _ceiling(comparisons: Sequence[Comparison]) -> list[Caution]:
    reached = next((c.target_macro_f1 for c in comparisons if c.arm == NO_ADAPT), None)
    if reached is None or reached < CEILING:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="At the ceiling: this target leaves nothing to gain.",
            text=f"Without any adaptation the encoder reaches a target macro-F1 of {number(reached)}, so "
            "adaptation can lose but hardly gain. A flat curve here says nothing about tau on a "
            "harder target.",
        )
    ]


def _transductive(manifest: Manifest) -> list[Caution]:
    both, judged = manifest.adapted_to, manifest.target_subjects
    if not both or not manifest.target_is_labelled:
        return []
    if len(both) < len(judged):
        return [
            Caution(
                level=Level.WARNING,
                title=f"Transductive for {len(both)} of {len(judged)} target subjects.",
                text=f"{listed(both)} {'is' if len(both) == 1 else 'are'} judged on nights whose signals, never "
                "stages, the selection saw. The metric pools these with the others, so it says too little about the "
                "next subject. Take them out of target.adapt or of target.test.",
            )
        ]
    return [
        Caution(
            level=Level.WARNING,
            title=f"Transductive, with {counted(len(judged), 'target subject')}.",
            text="The selection saw the signals, never the stages, of the "
            f"{manifest.n_target_epochs} target epochs, and the metric is computed on "
            f"{manifest.target_evaluation_epochs} of the same epochs. The numbers say how well "
            "these very epochs are staged; they say nothing about the next subject, and no "
            "target subject is left to validate tau on.",
        )
    ]


def _confound(manifest: Manifest, shares: Sequence[StageShare]) -> list[Caution]:
    strongest = strongest_confound(shares)
    if strongest is None or strongest.emd_correlation is None:
        return []
    rho = strongest.emd_correlation
    steers = abs(rho) >= STRONG_CONFOUND
    moved = moved_mix(shares)
    together = " to all target subjects together" if manifest.adapts_to_subjects else ""
    text = (
        f"Spearman correlation between the share of {strongest.stage} in a source batch and its "
        f"EMD{together}: {signed(rho, 2)}, the strongest of the stages; batches with more "
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


def _failed(trials: Sequence[TrialRow]) -> list[Caution]:
    failed = [t for t in trials if t.is_failed]
    if not failed:
        return []
    named = failures_named([(t.trial, t.error) for t in failed])
    return [
        Caution(
            level=Level.WARNING,
            title=f"{len(failed)} of {len(trials)} trials and arms failed.",
            text=f"They are missing from the curve and the comparisons. {named}.",
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


def _no_selection(chosen: TrialRow | None) -> list[Caution]:
    if chosen is None or chosen.n_kept < chosen.n_selectable:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title="The objective prefers no selection.",
            text=f"The chosen trial {chosen.trial} keeps every selectable batch.",
        )
    ]


def _winning_arms(
    trials: Sequence[TrialRow], chosen: TrialRow | None, n_runs: int
) -> list[Caution]:
    reached = {t.arm: t.objective for t in trials if t.is_arm and t.objective is not None}
    if chosen is None or chosen.objective is None:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"The objective prefers {arm.wins.prefers}.",
            text=f"It is {number(reached[name])} for {arm.wins.value_of} and {number(chosen.objective)} for the "
            f"chosen trial {chosen.trial} ({runs(n_runs)}): whoever goes by it alone, without target labels, "
            f"{arm.wins.consequence}.",
        )
        for name, arm in ARMS.items()
        if arm.wins is not None and name in reached and reached[name] >= chosen.objective
    ]


def _agreement(agreement: Agreement | None, n_runs: int) -> list[Caution]:
    if agreement is None or agreement.correlation is None:
        return []
    text = (
        f"Spearman, {runs(n_runs)}. In hindsight the highest target macro-F1 is that of {agreement.best_trial}, "
        f"{number(agreement.best_macro_f1)}"
    )
    if agreement.best_minus_chosen:  # 0 for the chosen trial itself
        text += f": {number(agreement.best_minus_chosen)} above the chosen trial"
    return [
        Caution(
            level=Level.NOTE,
            title=f"Objective and target macro-F1: rank correlation {signed(agreement.correlation, 2)} over "
            f"{agreement.n_trials} trials.",
            text=f"{text}. The highest of several runs lies above the others by chance alone.",
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
