"""Every record that differs from a given one in a single field, made from the record's types.

A new field is mutated too, without a word here; one of a new type is an error.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True)
class Mutation:
    """One leaf with another value."""

    path: str
    """With dots, as errors name it."""
    before: Any
    after: Any
    record: Any
    """The whole record; a value that its type does not have is there all the same."""
    is_valid: bool = True
    """Whether the type has the value: if not, reading the record from JSON must fail."""

    @property
    def text(self) -> str:
        """What an error says when the original is wanted."""
        return f"{self.path}: {self.before!r} != {self.after!r}"

    @property
    def reversed_text(self) -> str:
        """What an error says when the mutation is wanted."""
        return f"{self.path}: {self.after!r} != {self.before!r}"


def mutations(record: Record) -> list[Mutation]:
    """Return a mutation, or more, of each leaf of the record."""
    return list(_of_struct(record))


def _of_struct(record: Record, prefix: str = "") -> Iterator[Mutation]:
    hints = typing.get_type_hints(type(record))
    for name in record.__struct_fields__:
        value = getattr(record, name)
        for leaf in _of_value(value, hints[name], f"{prefix}{name}"):
            changed = msgspec.structs.replace(record, **{name: leaf.record})
            yield Mutation(leaf.path, leaf.before, leaf.after, changed, leaf.is_valid)


def _of_value(value: Any, hint: Any, path: str) -> Iterator[Mutation]:
    if isinstance(value, msgspec.Struct):
        yield from _of_struct(value, f"{path}.")
    elif typing.get_origin(hint) is Literal:
        others = [other for other in typing.get_args(hint) if other != value]
        after = others[0] if others else (value + 1 if isinstance(value, int) else f"{value}-2")
        yield Mutation(path, value, after, after, bool(others))
    elif isinstance(value, dict):
        for key, item in value.items():
            after = f"{item}9"
            yield Mutation(f"{path}.{key}", item, after, {**value, key: after})
        yield Mutation(f"{path}.another", None, "1", {**value, "another": "1"})
    elif value == ():
        return
    elif isinstance(value, tuple) and not isinstance(value[0], msgspec.Struct):
        (first, *_) = _of_value(value[0], typing.get_args(hint)[0], path)
        after = (first.after, *value[1:])
        yield Mutation(path, value, after, after, first.is_valid)
    elif isinstance(value, int | str | float):
        after = f"{value}x" if isinstance(value, str) else value + 1
        yield Mutation(path, value, after, after)
    else:
        raise AssertionError(f"no mutation is known for {path}: {hint}")


def leaves(kind: Any, prefix: str = "") -> set[str]:
    """Return the paths of all leaves of a record type, by its declaration alone."""
    found = set()
    for name, hint in typing.get_type_hints(kind).items():
        inner = [arg for arg in (hint, *typing.get_args(hint)) if _is_struct(arg)]
        found |= leaves(inner[0], f"{prefix}{name}.") if inner else {prefix + name}
    return found


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)
