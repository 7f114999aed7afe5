"""Section ``target`` of a selective sweep: whom the encoder is adapted to, and who is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from orchestrator.config.fields import Slug
from orchestrator.config.subjects import resolve_subjects
from orchestrator.config.sweep_sections import Globs
from orchestrator.config.validation import Section, wrong_key

EVERYBODY = ("*",)

SomeGlobs = Annotated[Globs, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetRoles:
    """Subjects of a target by role, each sorted. One may be adapted to and judged, too."""

    adapt: tuple[str, ...]
    """Their signals are adapted to."""
    test: tuple[str, ...]
    """They are judged, where they have stages."""
    validation: tuple[str, ...]
    """Their stages choose among trials, with an oracle as objective; they are not judged."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted({*self.adapt, *self.test, *self.validation}))


def _subjects_unless_roles(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    return EVERYBODY if given.get("adapt") is None and given.get("test") is None else None


class Target(Section):
    """The side to adapt to; its stages, where it has some, are read for the final table only."""

    dataset: Slug
    """Name of a data set in the store; may be that of the source. It need not hold a single stage."""
    adapt: SomeGlobs | None = Field(default=None, examples=[["n0*"]])
    """Together with ``test``, instead of ``subjects``: globs over subjects whose signals are adapted to. Their stages
    are not read."""
    test: SomeGlobs | None = Field(default=None, examples=[["n1*"]])
    """Globs over subjects to judge, where they have stages. Those who are in ``adapt``, too, are judged on the nights
    that were adapted to, and the page says so."""
    subjects: SomeGlobs | None = Field(
        default_factory=_subjects_unless_roles, examples=[list(EVERYBODY)]
    )
    """Globs over subjects with both roles, adapted to and judged; all there are unless given."""
    exclude: Globs = ()
    """Globs over subjects to leave out of every role."""
    validation: Globs = ()
    """Globs over target subjects whose stages give the objective ``oracle_target_val``; these are not judged."""

    @model_validator(mode="after")
    def _roles_or_subjects(self) -> "Target":
        roles = {"adapt": self.adapt, "test": self.test}
        missing = [key for key, globs in roles.items() if globs is None]
        if len(missing) == 1:
            (given,) = roles.keys() - set(missing)
            raise wrong_key(given, f"needs '{missing[0]}' next to it: who has the other role")
        if self.subjects is None and missing:
            raise wrong_key("subjects", "must have a value; give one, or remove the key")
        if self.subjects is not None and not missing:
            raise wrong_key("subjects", "stands for 'adapt' and 'test'; remove it, or these two")
        return self

    @property
    def named_by(self) -> tuple[str, ...]:
        """Keys that name its subjects."""
        return ("subjects",) if self.subjects is not None else ("adapt", "test")

    def roles(self, available: Sequence[str]) -> TargetRoles:
        """Resolve the subjects.

        Parameters
        ----------
        available : sequence of str
            Subjects of the data set.

        Raises
        ------
        ConfigError
            A glob matches nothing, or nobody is left.
        """
        if self.subjects is not None:
            adapt = tested = resolve_subjects(self.subjects, self.exclude, available)
            among: Sequence[str] = adapt
            left_out: Globs = ()
        else:
            assert self.adapt is not None
            assert self.test is not None
            adapt = resolve_subjects(self.adapt, self.exclude, available)
            tested = resolve_subjects(self.test, self.exclude, available)
            among, left_out = available, self.exclude
        chosen_by = resolve_subjects(self.validation, left_out, among) if self.validation else []
        return TargetRoles(
            adapt=tuple(adapt),
            test=tuple(name for name in tested if name not in chosen_by),
            validation=tuple(chosen_by),
        )
