from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import yaml

from counterpoint.errors import ModelError
from counterpoint.store import builtin_catalogue, load_catalogue

NAMES = ["gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct", "smollm2-135m-instruct"]


def raw() -> dict[str, dict[str, dict[str, object]]]:
    text = resources.files("counterpoint.store").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    data: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(text)
    return data


def test_the_four_models_are_there() -> None:
    models = builtin_catalogue().models
    assert sorted(models) == NAMES
    assert [len(models[name].parts) for name in NAMES] == [4, 6, 22, 1]
    assert "Gemma Terms of Use" in models["gemma-3-270m"].notice
    for entry in models.values():
        assert entry.licence
        assert entry.notice.endswith(".")
        assert "\n" not in entry.notice


def test_an_unknown_field_a_wrong_sum_and_a_wrong_type_are_located(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    for field, value in (("license", "MIT"), ("bytes", 12), ("sha256", "abc"), ("bytes", "98362432")):
        data = raw()
        data["models"]["smollm2-135m-instruct"][field] = value
        path.write_text(yaml.safe_dump(data))
        with pytest.raises(ModelError, match=r"smollm2-135m-instruct"):
            load_catalogue(path)


def test_a_missing_or_unreadable_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.yaml"):
        load_catalogue(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ModelError, match=r"bad\.yaml"):
        load_catalogue(tmp_path / "bad.yaml")
