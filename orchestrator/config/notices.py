"""Section ``notify`` of a sweep file: who is told what became of the sweep."""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Text
from orchestrator.config.validation import Section, wrong_key

Occasion = Literal["done", "failed", "budget", "lost"]
"""What a notice can be about: the sweep has ended well; ended badly; a budget ended it; a process or node was lost."""

OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


def _url(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise PydanticCustomError("url", "must begin with https:// or http://")
    return value


def _variable(value: str) -> str:
    if not value.isidentifier():
        raise PydanticCustomError("variable", "must be the name of an environment variable")
    return value


Variable = Annotated[str, AfterValidator(_variable)]


class Notify(Section):
    """Who is told, and of what. Whoever goes on with a sweep may change it."""

    url: (
        Annotated[str, AfterValidator(_url), Field(examples=["https://lab.example/hook"])] | None
    ) = None
    """A notice is sent there as JSON by POST."""
    url_variable: Annotated[Variable, Field(examples=["NOTIFY_URL"])] | None = None
    """The same, from an environment variable: of a chat, for example, whose address is itself a secret."""
    command: (
        Annotated[
            tuple[Text, ...],
            Field(min_length=1, examples=[["mail", "-s", "sweep", "me@lab.example"]]),
        ]
        | None
    ) = None
    """A program and its arguments, which gets the notice as JSON on its standard input."""
    key_variable: Annotated[Variable, Field(examples=["NOTIFY_KEY"])] | None = None
    """Environment variable with a key that whoever gets the notice shares. The header ``X-Signature-256``, and the
    variable ``NOTICE_SIGNATURE`` of a command, are then ``sha256=`` and the HMAC of what is sent."""
    on: Annotated[tuple[Occasion, ...], Field(min_length=1, examples=[["done", "failed"]])] = (
        OCCASIONS
    )
    """What is told of."""

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that it names, by key."""
        keys = ("url_variable", "key_variable")
        return {key: name for key in keys if (name := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        ways = [key for key in ("url", "url_variable", "command") if getattr(self, key) is not None]
        if not ways:
            raise wrong_key("url", "nobody is told: give 'url', 'url_variable' or 'command'")
        if {"url", "url_variable"} <= set(ways):
            raise wrong_key("url_variable", "is a second address; remove it or 'url'")
        return self
