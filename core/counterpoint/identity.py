"""What decides the answers of a node: its kind and fields and those of all that stands below it, with no name in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from counterpoint.node import LeafModel, Node
from counterpoint.settings import Sampling

Play = Callable[[str | Node, type[Node]], tuple[str, Node]]
"""Path and node that play a role for a reference (:meth:`counterpoint.graph.Graph.target`)."""


def identity_of(reference: str | Node, role: type[Node], play: Play, weights: Callable[[str], str]) -> dict[str, Any]:
    """Plain data that two nodes have in common exactly when they do the same: names are replaced by what they refer to.

    Args:
        reference: the node.
        role: what it is asked for; a language model may be wrapped to play it.
        play: resolves references.
        weights: identity of the weights of the leaf model at a path.
    """
    path, node = play(reference, role)
    parts = {field: identity_of(target, wanted, play, weights) for field, wanted, target in node.references()}
    referring = {re.split(r"[.\[]", field)[0] for field in parts}
    fields = node.model_dump(mode="json", exclude={"kind", *referring})
    for name, value in node:
        if isinstance(value, Sampling):  # over other settings, one that is set says something even at its default value
            fields[name] = value.model_dump(mode="json", exclude_unset=True)
    found: dict[str, Any] = {"kind": node.kind, "fields": fields}
    if parts:
        found["parts"] = parts
    if isinstance(node, LeafModel):
        found["weights"] = weights(path)
    if content := node.content_key():
        found["content"] = content
    return found
