"""The `llama_cpp` backend: GGUF models, quantised, run by llama.cpp."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from counterpoint.plugin import Backend, LeafModel, ModelFacts, Resources, hookimpl


class LlamaCppModel(LeafModel):
    """A GGUF model run by llama.cpp as it is, without unpacking its weights.

    Every row is one of llama.cpp's sequences in a cache that all rows share; rows with a common beginning share its cells.
    """

    kind: Literal["llama_cpp"] = "llama_cpp"
    source: str = Field(description="Where the weights are: a catalogue name, or `path:FILE.gguf`.")
    context: int = Field(
        default=8192,
        ge=16,
        description="Tokens the cache holds, of all rows together; one row holds at most these, and what the model was trained for.",
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="Threads of a pass; by default one per physical core.")
    gpu_layers: int = Field(
        default=-1, ge=-1, description="Layers computed on a GPU where llama.cpp was built for one; -1 is all of them."
    )
    batch_size: int = Field(
        default=512, ge=8, le=8192, description="Most tokens computed at once; more of a pass follow in turn."
    )
    kv_type: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] = Field(
        default="f16", description="Type of the cache's keys and values; the smaller ones are less exact."
    )

    def inspect(self, resources: Resources) -> ModelFacts:
        from counterpoint_plugins.llama_cpp import loading

        return loading.inspect(self, resources)

    def load(self, resources: Resources) -> Backend:
        from counterpoint_plugins.llama_cpp import loading

        return loading.load(self, resources)


@hookimpl
def counterpoint_nodes() -> list[type[LeafModel]]:
    """The `llama_cpp` node."""
    return [LlamaCppModel]
