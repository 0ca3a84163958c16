"""Where in a YAML text something stands."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def line_of(tree: yaml.Node | None, path: Sequence[str | int]) -> int | None:
    """The line, from 0, of the value at a path of keys and indices, or of the nearest thing above it that there is.

    None where not even the first step is there.
    """
    line = None
    for step in path:
        if isinstance(tree, yaml.MappingNode):
            found = next((pair for pair in tree.value if pair[0].value == str(step)), None)
            if found is None:
                break
            line, tree = found[0].start_mark.line, found[1]
        elif isinstance(tree, yaml.SequenceNode) and isinstance(step, int) and step < len(tree.value):
            tree = tree.value[step]
            line = tree.start_mark.line
        else:
            break
    return line


def duplicate_key(tree: yaml.Node | None) -> tuple[str, int] | None:
    """The first key that a mapping gives twice, and the line, from 0, where it does."""
    if isinstance(tree, yaml.MappingNode):
        seen = set()
        for key, value in tree.value:
            if key.value in seen:
                return key.value, key.start_mark.line
            seen.add(key.value)
            if inner := duplicate_key(value):
                return inner
    elif isinstance(tree, yaml.SequenceNode):
        for item in tree.value:
            if inner := duplicate_key(item):
                return inner
    return None
