"""What the search of a sleepmg sweep varies, and what it tries first."""

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.ranges import LogUniformRange, UniformRange
from orchestrator.config.sweep_sections import FilledSection, SearchBase
from orchestrator.config.validation import wrong_key
from search_spaces.sleepmg import SPACE
from search_spaces.space import LogUniform, Uniform

Parameter = Literal["alpha_f", "alpha_y", "alpha_d", "grl_weight", "learning_rate", "dropout"]
"""What a search may vary: the names in ``search_spaces.sleepmg.SPACE``."""


class Space(FilledSection):
    """What the trials vary: exactly the parameters that are named here."""

    alpha_f: UniformRange | None = None
    """How strongly extractors are slowed."""
    alpha_y: UniformRange | None = None
    """How strongly classifier slices are slowed."""
    alpha_d: UniformRange | None = None
    """How strongly discriminator slices are slowed."""
    grl_weight: LogUniformRange | None = None
    """Lambda of the gradient reversal."""
    learning_rate: LogUniformRange | None = None
    """Step size."""
    dropout: UniformRange | None = None
    """Probability of every dropout layer."""

    @model_validator(mode="after")
    def _inside_the_declared_space(self) -> "Space":
        if not self.model_fields_set:
            raise PydanticCustomError("no_parameter", "must name at least one parameter to vary")
        for name in [name for name in SPACE if name in self.model_fields_set]:
            ((kind, limits),) = dict(getattr(self, name)).items()
            for index, value in enumerate(limits):
                if not SPACE[name].contains(value):
                    low, high = SPACE[name].low, SPACE[name].high
                    problem = (
                        f"must lie in [{low:g}, {high:g}], the range of search_spaces/sleepmg.py"
                    )
                    raise wrong_key(name, problem, kind, index)
        return self

    def declared(self) -> dict[str, Uniform | LogUniform]:
        """Return the parameters that vary in the terms of ``search_spaces``, by name."""
        ranges = {name: getattr(self, name) for name in SPACE}
        return {
            name: Uniform(*chosen.uniform)
            if isinstance(chosen, UniformRange)
            else LogUniform(*chosen.log_uniform)
            for name, chosen in ranges.items()
            if chosen is not None
        }


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises; each trial is a whole cross-validation."""

    objective: Literal["validation"] = "validation"
    """Macro-F1 of the validation subjects of all folds, pooled; test subjects never choose."""
    space: Space
    """What the trials vary."""
    enqueue: tuple[dict[Parameter, float], ...] = ()
    """Values to try first, by parameter; one that is left out takes the value of the file's own section."""

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        space = self.space.declared()
        for index, trial in enumerate(self.enqueue):
            for name, value in trial.items():
                if name not in space:
                    problem = f"is not varied by this search; it varies {', '.join(space)}"
                elif not space[name].contains(value):
                    low, high = space[name].low, space[name].high
                    problem = f"lies outside space.{name} [{low:g}, {high:g}]"
                else:
                    continue
                raise wrong_key("enqueue", problem, index, name)
        if len(self.enqueue) > self.n_trials:
            raise wrong_key("enqueue", f"has more trials than n_trials, {self.n_trials}")
        return self
