"""An example plugin for Counterpoint."""
