"""Models on this machine: where they come from, fetching, checking, converting, and where their files are.

    store = ModelStore()
    files = store.ensure("qwen2.5-coder-0.5b-instruct", progress=print)
    files.directory   # for transformers
    files.gguf        # for llama.cpp

Importing this package loads neither torch nor transformers.
"""

from counterpoint.store.catalogue import Catalogue, Entry, Part, builtin_catalogue, load_catalogue
from counterpoint.store.kinds import Format, ModelFiles, State, StoredModel
from counterpoint.store.manifest import Problem
from counterpoint.store.progress import Progress, ProgressCallback
from counterpoint.store.sources import Source, parse_source, same_source
from counterpoint.store.store import ModelStore

__all__ = [
    "Catalogue",
    "Entry",
    "Format",
    "ModelFiles",
    "ModelStore",
    "Part",
    "Problem",
    "Progress",
    "ProgressCallback",
    "Source",
    "State",
    "StoredModel",
    "builtin_catalogue",
    "load_catalogue",
    "parse_source",
    "same_source",
]
