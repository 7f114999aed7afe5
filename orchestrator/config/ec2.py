"""What EC2 takes, from the description of its interface that comes with botocore: no request is made."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session

from orchestrator.config.suggest import did_you_mean
from orchestrator.config.yaml_source import KeyPath, shown

_BY_RAY = {"SubnetIds": "list"}
"""Keys that Ray adds to those of RunInstances: it takes one after the other."""

_SET_BY_RAY = ("MinCount", "MaxCount", "DryRun", "ClientToken")


@functools.cache
def _session() -> Any:
    return botocore.session.get_session()


REGIONS: tuple[str, ...] = tuple(sorted(_session().get_available_regions("ec2")))
"""Of Amazon's public cloud."""


def request_mistakes(config: Mapping[str, Any], name: str) -> Iterator[tuple[KeyPath, bool, str]]:
    """Compare a node configuration with EC2's RunInstances.

    Parameters
    ----------
    config : mapping
        As a cluster file has it under ``node_config``.
    name : str
        How to call it in a message.

    Yields
    ------
    tuple
        Path in `config`; whether the mistake is in the key there, and not in its value; and a sentence.
    """
    shape = _session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for key in set(config) & set(_SET_BY_RAY):
        yield (key,), True, f"{name}.{key} is set by Ray; remove it."
    subnets: Any = config.get("SubnetIds", [])
    if not isinstance(subnets, list) or not all(isinstance(item, str) for item in subnets):
        yield (
            ("SubnetIds",),
            False,
            f"{name}.SubnetIds is {shown(subnets)}: must be a list of subnet ids.",
        )
    for key, example in (("InstanceType", "m6i.large"), ("ImageId", "ami-0123456789abcdef0")):
        if key not in config:  # a LaunchTemplate is no substitute: Ray and the plan look here
            yield (), True, f"missing key '{key}' in {name}, as in {key}: {example}."
    rest = {key: value for key, value in config.items() if key not in _BY_RAY}
    yield from _mistakes(shape, rest, (), name, extra=tuple(_BY_RAY))


def _mistakes(
    shape: Any, value: Any, path: KeyPath, name: str, extra: tuple[str, ...] = ()
) -> Iterator[tuple[KeyPath, bool, str]]:
    def wrong(problem: str) -> tuple[KeyPath, bool, str]:
        return path, False, f"{_named(name, path)} is {shown(value)}: {problem}."

    match shape.type_name:
        case "structure" if isinstance(value, dict):
            allowed = [*shape.members, *extra]
            for key, inner in value.items():
                if key in shape.members:
                    yield from _mistakes(shape.members[key], inner, (*path, key), name)
                else:
                    hint = did_you_mean(key, allowed)
                    listed = f" Allowed: {', '.join(allowed)}." if len(allowed) <= 12 else ""
                    where = _named(name, path)
                    problem = f"unknown key '{key}' in {where}: EC2's RunInstances does not have it.{hint}{listed}"
                    yield (*path, key), True, problem
        case "structure":
            yield wrong("must be a mapping with 'key: value' entries")
        case "list" if isinstance(value, list):
            for index, inner in enumerate(value):
                yield from _mistakes(shape.member, inner, (*path, index), name)
        case "list":
            yield wrong("must be a list")
        case "string" if not isinstance(value, str):
            yield wrong("must be text; put it in quotes")
        case "string" if value not in (getattr(shape, "enum", None) or [value]):
            allowed = list(shape.enum)
            hint = did_you_mean(value, allowed)
            listed = f" Allowed: {', '.join(allowed)}" if len(allowed) <= 12 else ""
            yield wrong(f"EC2 does not know this value.{hint}{listed}".rstrip("."))
        case "integer" | "long" if not isinstance(value, int) or isinstance(value, bool):
            yield wrong("must be a whole number")
        case "boolean" if not isinstance(value, bool):
            yield wrong("must be true or false")


def _named(name: str, path: KeyPath) -> str:
    return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
