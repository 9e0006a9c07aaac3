from __future__ import annotations

import pickle

import pytest

from schemas import errors
from schemas.errors import DataError, SamdistillError, UnknownNameError

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SamdistillError)
]


def test_message_says_what_expected_got_and_fix() -> None:
    error = DataError("size of a.jpg", expected="4x4", got="2x2", fix="Download it again.")
    assert str(error) == "size of a.jpg; expected 4x4; got 2x2. Download it again."


def test_message_without_the_optional_parts_is_the_sentence() -> None:
    assert str(UnknownNameError("unknown student 'x'")) == "unknown student 'x'"


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_the_way_between_processes(kind: type[SamdistillError]) -> None:
    error = kind("what", expected=1, got=2, fix="Do it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not SamdistillError])
def test_every_error_is_also_a_builtin_that_a_caller_would_catch(
    kind: type[SamdistillError],
) -> None:
    builtins = {base for base in kind.__mro__ if base.__module__ == "builtins"}
    assert builtins - {object, BaseException, Exception}
