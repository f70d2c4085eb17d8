"""Errors cross processes and nodes as they are: type, parts, message and exit code."""

from __future__ import annotations

import copy
import pickle

import pytest

import schemas.errors as errors

ERRORS = (
    *(
        getattr(errors, name)("broken", where="a.jsonl line 3", received=("x", 1), expected="y", todo="Mend it")
        for name in errors.__all__
        if name not in {"UnknownChoiceError", "MissingExtraError", "RecordRejectedError"}
    ),
    errors.UnknownChoiceError("format", "csv", ["thumbs", "trl"], where="--from", todo="See the list"),
    errors.MissingExtraError("ray", "ray"),
    errors.RecordRejectedError("bad_label", "column 'label' is 'maybe'"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_with_all_its_parts(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_error_is_among_those_that_were_pickled() -> None:
    assert {type(error).__name__ for error in ERRORS} == set(errors.__all__)
