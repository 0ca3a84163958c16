"""Lines that are kept: found by key, safe under kills and beside others, and never those of another recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint import paths
from counterpoint.errors import RunError
from counterpoint.keeping import KeptLines, candidates_file, canonical, key_of

HEADER = {"kind": "fake", "fields": {"seed": 1, "stop": []}}


def kept(path: Path, **fields: object) -> KeptLines:
    return KeptLines(path, {**HEADER, **fields}, "node")


def test_lines_are_found_again(tmp_path: Path) -> None:
    one = kept(tmp_path / "deep" / "k.jsonl")
    assert one.find("a") is None
    one.add("a", {"text": "hello\n“there”"})
    one.add("b", {"text": "b"})
    assert one.find("a") == {"key": "a", "text": "hello\n“there”"}
    other = kept(tmp_path / "deep" / "k.jsonl")
    assert other.find("b") == {"key": "b", "text": "b"}
    other.add("c", {"text": "c"})
    assert one.find("c") == {"key": "c", "text": "c"}, "what others append is seen"
    header, *lines = (tmp_path / "deep" / "k.jsonl").read_text().splitlines()
    assert json.loads(header)["of"] == HEADER
    assert [json.loads(line)["key"] for line in lines] == ["a", "b", "c"]


def test_the_first_line_with_a_key_stands(tmp_path: Path) -> None:
    one, other = kept(tmp_path / "k.jsonl"), kept(tmp_path / "k.jsonl")
    assert other.find("a") is None
    one.add("a", {"text": "first"})
    other.add("a", {"text": "second"})
    assert [keeper.find("a") for keeper in (one, other)] == [{"key": "a", "text": "first"}] * 2
    assert len((tmp_path / "k.jsonl").read_text().splitlines()) == 2


@given(cut=st.integers(min_value=0))
def test_a_line_that_was_being_written_is_left_out(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever a kill cuts the file, whole lines are found, and what is appended later is whole."""
    path = tmp_path_factory.mktemp("cut") / "k.jsonl"
    writer = kept(path)
    for key in "abc":
        writer.add(key, {"text": key * 20})
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    whole = {json.loads(line).get("key") for line in path.read_bytes().split(b"\n")[1:-1]}
    fresh = kept(path)
    assert {key for key in "abc" if fresh.find(key) is not None} == whole
    for reader in (fresh, writer):
        reader.add("d", {"text": "d"})
        assert reader.find("d") == {"key": "d", "text": "d"}
    again = kept(path)
    assert {key for key in "abcd" if again.find(key) is not None} == whole | {"d"}
    assert path.read_bytes().endswith(b"\n")


def test_a_file_that_goes_is_missed(tmp_path: Path) -> None:
    one = kept(tmp_path / "k.jsonl")
    one.add("a", {"text": "a"})
    (tmp_path / "k.jsonl").unlink()
    assert one.find("a") is None
    one.add("b", {"text": "b"})
    assert (one.find("a"), one.find("b")) == (None, {"key": "b", "text": "b"})


def test_what_another_recipe_made_is_refused(tmp_path: Path) -> None:
    kept(tmp_path / "k.jsonl").add("a", {"text": "a"})
    before = (tmp_path / "k.jsonl").read_bytes()
    other = kept(tmp_path / "k.jsonl", fields={"seed": 2, "stop": []})
    for call in (lambda: other.find("a"), lambda: other.add("a", {}), other.check):
        with pytest.raises(RunError, match=r"node: .*k\.jsonl holds .*differs in fields\.seed: 1 there, 2 here"):
            call()
    assert (tmp_path / "k.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", [b"dear diary", b"dear diary\n", b'{"prompt": "a"}\n', b'{"counterpoint"', b"\x00"])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k.jsonl"
    path.write_bytes(content)
    if content == b'{"counterpoint"':  # a header that a killed process was writing begins so
        assert kept(path).find("a") is None
        return
    for _ in range(2):
        with pytest.raises(RunError, match="is a file of another kind"):
            kept(path).add("a", {"text": "a"})
    assert path.read_bytes() == content


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    kept(path).add("a", {"text": "a"})
    with path.open("a") as file:
        file.write("oops\n")
    with pytest.raises(RunError, match="none of what it keeps: 'oops'") as caught:
        kept(path).find("a")
    assert "remove that line" in caught.value.hint
    newer = path.read_text().replace('"schema":1', '"schema":2').replace("oops\n", "")
    path.write_text(newer)
    with pytest.raises(RunError, match=r"format of .* is 2, and this Counterpoint reads 1"):
        kept(path).find("a")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be read or written"):
        kept(tmp_path / "file" / "k.jsonl").add("a", {})


PROGRAM = """
import sys
from pathlib import Path
from counterpoint.keeping import KeptLines
keeper = KeptLines(Path(sys.argv[1]), {"kind": "fake"}, "node")
for number in range(60):
    keeper.add(f"{number}", {"by": sys.argv[2], "text": "x" * 3000})
"""


def test_several_processes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(number)]) for number in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert sorted(int(line["key"]) for line in lines) == list(range(60)), "each once, and whole"


def test_keys_depend_on_content_alone() -> None:
    assert canonical({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
    assert candidates_file(HEADER).parent == paths.candidates() == paths.home() / "candidates"


def test_lines_that_others_have_moved_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    mine, others = (KeptLines(path, {"of": "this"}, "n") for _ in range(2))
    for key in ("cow", "dog"):
        mine.add(key, {"says": f"{key}'s"})
    header, cow, dog = path.read_text().splitlines()
    assert len(cow) == len(dog)
    with path.open("r+") as file:  # in place, so that the file is the same one
        file.truncate(0)
        file.write(f"{header}\n{dog}\n")
    others.add("cow", {"says": "cow's"})
    assert [mine.find(key) for key in ("cow", "dog", "fox")] == [
        {"key": "cow", "says": "cow's"},
        {"key": "dog", "says": "dog's"},
        None,
    ]


def test_lines_of_other_lengths_in_the_place_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    mine, others = (KeptLines(path, {"of": "this"}, "n") for _ in range(2))
    for key in ("cow", "dog"):
        mine.add(key, {"says": key})
    assert mine.find("dog") is not None  # so that all has been looked at
    header, _, dog = path.read_text().splitlines()
    with path.open("r+") as file:
        file.truncate(0)
        file.write(f"{header}\n{dog}\n")
    others.add("elephant", {"says": "a good deal more than either of them did"})
    assert mine.find("cow") is None
    mine.add("cow", {"says": "moo"})
    for kept in (mine, others):
        found = [kept.find(key) for key in ("cow", "dog", "elephant")]
        assert [line and line["key"] for line in found] == ["cow", "dog", "elephant"]


def test_what_was_deleted_is_kept_again(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    mine = KeptLines(path, {"of": "this"}, "n")
    for key in ("cow", "dog"):
        mine.add(key, {"says": key})
    header, _, dog = path.read_text().splitlines()
    with path.open("r+") as file:
        file.truncate(0)
        file.write(f"{header}\n{dog}\n{dog}\n")  # as long as before
    mine.add("cow", {"says": "moo"})
    assert (mine.find("cow") or {}).get("says") == "moo"
