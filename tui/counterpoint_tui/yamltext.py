"""Plain data as YAML text, on one line or as a block. (PyYAML on its own folds line breaks of Unicode into spaces.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml


class _OneLine(yaml.SafeDumper):
    """Writes texts with line breaks in quotes; PyYAML folds those of Unicode into spaces otherwise."""


class _Block(yaml.SafeDumper):
    """Writes texts with line breaks as blocks."""


def _breaks(style: str) -> Callable[[yaml.SafeDumper, str], yaml.ScalarNode]:
    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        found = '"' if any(mark in text for mark in "\x85\u2028\u2029") else style if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=found)

    return represent


_OneLine.add_representer(str, _breaks('"'))
_Block.add_representer(str, _breaks("|"))


def flow(value: Any) -> str:
    """A value on one line, as it can stand within braces, too."""
    text = yaml.dump(value, Dumper=_OneLine, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    return text.removesuffix("\n...\n").strip()


def block(data: Any) -> str:
    """Data as the text of a file."""
    return yaml.dump(data, Dumper=_Block, sort_keys=False, allow_unicode=True, width=120)
