"""What a sweep file may say, read off its models: as JSON Schema for editors, and as tables for people."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from orchestrator.config.sweep import SWEEP_CLASSES, AnySweep
from trainables.stages import Stage

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NO_DEFAULT = object()


class _ByName(GenerateJsonSchema):
    """Writes stages as files do."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, tuple) and dft and isinstance(dft[0], Stage):
            return [stage.name for stage in dft]
        return super().encode_default(dft)


def sweep_schema() -> dict[str, Any]:
    """Return the JSON Schema of a sweep file, of whichever method."""
    return {"$schema": _DRAFT, **AnySweep.model_json_schema(schema_generator=_ByName)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key that a file may have."""

    path: str
    """Dotted; ``[]`` after a list."""
    value: str
    """What it may be."""
    default: str
    """``required`` where there is none."""
    about: str
    example: Any = None
    """Of the model, where it gives one."""


def keys_of(method: str) -> list[Key]:
    """Return all keys of a sweep file of one method, in the order of its model, sections before what is in them."""
    return keys_in(SWEEP_CLASSES[method])


def keys_in(model: type[BaseModel], *, but_for: Collection[str] = ()) -> list[Key]:
    """Return all keys of a file or a section, in the order of its model, sections before what is in them.

    Parameters
    ----------
    model : type
    but_for : collection of str
        Paths of sections whose own keys are told elsewhere.
    """
    schema = model.model_json_schema(schema_generator=_ByName)
    keys = _keys(schema, schema.get("$defs", {}), "")
    return [key for key in keys if not key.path.startswith(tuple(f"{path}." for path in but_for))]


def reference(examples: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables of all keys of all methods in Markdown.

    Parameters
    ----------
    examples : mapping of str to mapping
        A parsed file for each method, whose values are shown; a key that it lacks is shown with its default.
    """
    parts = [
        f"### `method: {method}`\n\n{table_of_keys(keys_of(method), examples[method])}"
        for method in SWEEP_CLASSES
    ]
    return "\n\n".join(parts) + "\n"


def table_of_keys(keys: Iterable[Key], example: Mapping[str, Any]) -> str:
    """Return a table of keys in Markdown, with their values in a parsed file where it has them."""
    shown = dict(_flat(example, ""))
    lines = ["| key | value | default | what | example |", "| --- | --- | --- | --- | --- |"]
    for key in keys:
        value = shown.get(key.path.replace("[]", ""), key.example)
        written = json.dumps(value) if value is not None else key.default
        name = key.path.rpartition(".")[2].removesuffix("[]")
        sample = f"`{name}: {written}`" if written not in ("required", "") else ""
        cells = (f"`{key.path}`", key.value, _code(key.default), key.about, sample)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _keys(section: Mapping[str, Any], defs: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    required = section.get("required", ())
    for name, given in section.get("properties", {}).items():
        schemas = _alternatives(given, defs)
        sections = [schema for schema in schemas if "properties" in schema]
        items = [
            item
            for schema in schemas
            for item in _alternatives(schema.get("items") or {}, defs)
            if "properties" in item
        ]
        path = f"{prefix}{name}{'[]' if items else ''}"
        default = given.get("default", _NO_DEFAULT)
        if name in required:
            written = "required"
        elif default is _NO_DEFAULT or default is None or sections:
            written = ""
        else:
            written = json.dumps(default)
        yield Key(
            path=path,
            value=" or ".join(dict.fromkeys(_value(schema) for schema in schemas)),
            default=written,
            about=" ".join(given.get("description", "").replace("``", "`").split()),
            example=next(_examples(given, schemas), None),
        )
        for schema in (*sections, *items):
            if not schema["title"].endswith(
                "Overrides"
            ):  # the keys of a section above, all optional
                yield from _keys(schema, defs, f"{path}.")


def _examples(given: Mapping[str, Any], schemas: list[Mapping[str, Any]]) -> Iterator[Any]:
    """Yield the examples of a key; of a list of options without any or a default, all options."""
    for at in (given, *schemas):
        yield from at.get("examples", ())
    if "default" not in given:
        yield from (s["items"]["enum"] for s in schemas if "enum" in s.get("items", {}))


def _alternatives(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a value may be, references followed, without null."""
    if "$ref" in schema:
        return _alternatives(defs[schema["$ref"].rpartition("/")[2]], defs)
    for join in ("anyOf", "oneOf"):
        if join in schema:
            return [found for each in schema[join] for found in _alternatives(each, defs)]
    return [] if schema.get("type") == "null" else [schema]


def _value(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "properties" in schema:
        return "section"
    kind = {"integer": "integer", "number": "number", "string": "text", "boolean": "true, false"}
    if schema.get("type") == "object":
        return "mapping"
    if schema.get("type") == "array":
        within = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        word = _value(within) if "$ref" not in within else "sections"
        return f"list of {word}" if word else "list"
    limits = [
        f"{sign} {schema[name]:g}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if name in schema
    ]
    return " ".join([kind.get(schema.get("type", ""), "value"), *limits])


def _flat(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _flat(value[0], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _code(text: str) -> str:
    return f"`{text}`" if text not in ("required", "") else text
