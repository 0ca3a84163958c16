from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.errors import ModelNotFound
from counterpoint.store import Source, parse_source, same_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/name", Source("hf", "org/name")),
        ("hf:org/name@main", Source("hf", "org/name", "main")),
        ("hf:Org-1/na.me_2@refs/pr/1", Source("hf", "Org-1/na.me_2", "refs/pr/1")),
        ("path:/models/x.gguf", Source("path", "/models/x.gguf")),
        ("path:C:/models", Source("path", "C:/models")),
        ("pypi:gemma-3-270m", Source("pypi", "gemma-3-270m")),
        ("gemma-3-270m", Source("pypi", "gemma-3-270m")),
        (" artifact:head-1 ", Source("artifact", "head-1")),
    ],
)
def test_every_form_is_read_and_written_back(text: str, expected: Source) -> None:
    assert parse_source(text) == expected
    assert parse_source(str(expected)) == expected


NOT_A_SOURCE = ["", ":", "nothing", "http://x/y", "path:", "pypi:other", "artifact:", "artifact:../x", "artifact:a/b"]
NOT_A_SOURCE += ["hf:name", "hf:a/b/c", "hf:org/name@", "hf:org/name@../x", "hf:../x"]


@pytest.mark.parametrize("text", NOT_A_SOURCE)
def test_anything_else_is_refused_with_the_valid_forms(text: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        parse_source(text)
    for form in ("hf:ORG/NAME", "path:", "pypi:NAME", "artifact:NAME"):
        assert form in caught.value.hint


def test_a_misspelt_name_gets_the_nearest_ones() -> None:
    for text in ("qwen2.5-coder-1.5b", "pypi:qwen2.5-coder-1.5b-instuct", "hf:Qwen2.5-Coder-1.5B-Instruct"):
        with pytest.raises(ModelNotFound, match=r"did you mean qwen2\.5-coder-1\.5b-instruct"):
            parse_source(text)


def test_paths_start_at_the_working_directory_or_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_source("path:some/model").file == tmp_path / "some" / "model"
    assert parse_source("path:~/model").file == Path.home() / "model"


def test_two_texts_for_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert same_source("smollm2-135m-instruct", "pypi:smollm2-135m-instruct")
    assert same_source("path:./base", f"path:{tmp_path}/base")
    assert same_source("hf:a/b", "hf:a/b")
    assert same_source(None, None)
    assert same_source("what", "what")
    assert not same_source("hf:a/b", "hf:a/b@main")
    assert not same_source("path:base", "artifact:base")
    assert not same_source("artifact:base", None)
    assert not same_source("what", "hf:a/b")
