"""Nodes: what they refer to, the roles they play, and how they are written down."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, ValidationError

from counterpoint.node import Drafter, Generator, LanguageModel, LeafModel, Node, Ref, Trainer, Verifier, roles_of, wanted_role
from counterpoint.testing import FakeModel
from counterpoint_plugins.sample import Sample
from counterpoint_plugins.speculative import Speculative
from counterpoint_plugins.weak_to_strong import Never


def test_references_of_every_shape() -> None:
    class Shapes(Node):
        kind: Literal["shapes"] = "shapes"
        one: Ref[LanguageModel]
        perhaps: Ref[Drafter] | None = None
        several: tuple[Ref[Generator], ...] = ()
        listed: list[Ref[Verifier]] = Field(default_factory=list)
        named: dict[str, Ref[Trainer]] = Field(default_factory=dict)
        either: Ref[Drafter] | tuple[Ref[Drafter], ...] = ()
        text: str = "x"

    model = FakeModel()
    node = Shapes(one=model, several=("a", "b"), listed=["c"], named={"k": "d"}, either="e")
    assert [(name, role.__name__, target) for name, role, target in node.references()] == [
        ("one", "LanguageModel", model),
        ("several[0]", "Generator", "a"),
        ("several[1]", "Generator", "b"),
        ("listed[0]", "Verifier", "c"),
        ("named.k", "Trainer", "d"),
        ("either", "Drafter", "e"),
    ]
    assert wanted_role(Shapes.model_fields["text"]) is None
    assert node.plain() == {
        "kind": "shapes", "one": {"kind": "fake"}, "several": ["a", "b"], "listed": ["c"], "named": {"k": "d"}, "either": "e",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [3, None, ["a"], {"a": "b"}, {"seed": 3}])
def test_what_is_no_reference_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="expected the name of a node, or a node with a `kind`"):
        Sample(model=wrong)  # type: ignore[arg-type]


def test_roles() -> None:
    assert roles_of(FakeModel) == ("LanguageModel",)
    assert roles_of(Speculative) == ("Generator",)
    assert roles_of(Never) == ("SwitchCriterion",)
    assert roles_of(type("Both", (Generator, Verifier), {})) == ("Generator", "Verifier")
    assert issubclass(FakeModel, LeafModel)


def test_nodes_are_frozen_and_know_their_fields() -> None:
    node = FakeModel()
    with pytest.raises(ValidationError):
        node.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        FakeModel(sed=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="abstract"):
        Generator(kind="x")  # type: ignore[abstract]


def test_every_built_in_parameter_is_described() -> None:
    """They become the schema, `counterpoint nodes show` and forms."""
    from counterpoint.registry import load_plugins

    for entry in load_plugins().kinds():
        assert entry.summary, entry.kind
        for name, field in entry.node.model_fields.items():
            assert name == "kind" or field.description, f"{entry.kind}.{name}"
