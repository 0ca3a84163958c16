"""The engine in a process of its own: what decodes holds up nobody who types, and a screen that dies loses no run.

``python -m counterpoint_tui.worker`` reads commands and writes replies, one JSON object a line (:mod:`.protocol`); the
application talks to it through :class:`.client.WorkerClient`. Nothing here imports Textual.
"""
