"""What models and files say, made fit for terminals and files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.evaluation.records import Record, ScoreRecord
from counterpoint.events import Failed, Note, dump_event, parse_event
from counterpoint.printable import as_json, plain, whole

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_what_is_plain_can_be_written_and_moves_no_cursor(text: str) -> None:
    shown = plain(text)
    shown.encode()
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)


@given(st.recursive(ANY_TEXT | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_whole_data_can_be_written(data: object) -> None:
    json.dumps(whole(data), ensure_ascii=False).encode()


def test_what_is_whole_stays() -> None:
    data = {"a": [1, None, "\N{GRINNING FACE}\x1b"], "b": ("x", 1.5)}
    assert whole(data) == data


@pytest.mark.parametrize(
    "event",
    [
        Note(name="said", data={"key \ud800": ["\udfff", 1]}),
        Failed(error="RunError", message="the answer has \ud83d", hint=""),
    ],
)
def test_an_event_with_half_a_pair_is_recorded(event: Note | Failed) -> None:
    line = dump_event(event)
    line.encode()
    assert "\N{REPLACEMENT CHARACTER}" in line
    assert parse_event(line).type == event.type


def test_a_record_with_half_a_pair_is_kept() -> None:
    record = Record(id="a", text="x", scores={"format": ScoreRecord(value=0.0, detail="$['\ud800']: 5 is no text")})
    kept = Record.model_validate_json(as_json(record).encode())
    assert kept.scores["format"].detail == "$['\N{REPLACEMENT CHARACTER}']: 5 is no text"
    assert as_json(kept) == kept.model_dump_json(exclude_defaults=True)
