"""From a sweep file and the store's manifest to who is trained on, stopped on and judged on. There is no target."""

from dataclasses import dataclass

from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.plan.source import SourcePlan, check_scored, plan_source
from orchestrator.psg.feed import CLIP_SPREADS
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from search_spaces.space import Params


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainPlan:
    """The recordings of a sweep by role, as a selective sweep with the same source has them."""

    sweep: PretrainSweep
    source: SourcePlan

    @property
    def data_id(self) -> str:
        """Content id of everything that the arrays of a trial depend on."""
        return content_id(
            {
                "recordings": [
                    [[r.dataset, r.subject, r.recording, r.epochs_sha256] for r in recordings]
                    for recordings in (
                        self.source.train,
                        self.source.early_stop,
                        self.source.validation,
                    )
                ],
                "modality": self.sweep.modality,
                "clip_spreads": CLIP_SPREADS,
            }
        )

    def encoder_request(self, params: Params) -> EncoderRequest:
        """Return what the encoder of a trial with these sampled parameters depends on."""
        encoder, pretrain = self.sweep.settings_for(params)
        return EncoderRequest(
            encoder=encoder,
            pretrain=pretrain,
            stages=self.sweep.stages,
            modality=self.sweep.modality,
            seed=self.sweep.seed,
            train=self.source.train,
            early_stop=self.source.early_stop,
        )


def plan_pretraining(sweep: PretrainSweep, store: Store) -> PretrainPlan:
    """Resolve the subjects of a sweep.

    Raises
    ------
    ConfigError
        An unknown data set, subject or modality, too few validation subjects, or a role without a scored epoch.
    """
    source = plan_source(sweep.source, sweep.modality, store)
    for role, recordings in (
        ("training", source.train),
        ("early-stop", source.early_stop),
        ("objective", source.validation),
    ):
        check_scored(store, role, recordings)
    return PretrainPlan(sweep=sweep, source=source)
