"""Runnable recipes that ship with Counterpoint, addressable by file name."""

from counterpoint.plugin import hookimpl


@hookimpl
def counterpoint_recipes() -> str:
    """This package: its ``*.yaml`` files are recipes."""
    return "counterpoint_recipes"
