"""The `huggingface` backend: language models of the transformers library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import Backend, LeafModel, ModelFacts, Resources, hookimpl


class HuggingFaceModel(LeafModel):
    """A language model run by transformers: a causal one, or one with an encoder and a decoder (t5, mt5, umt5 and bart).

    Rows of different lengths share one pass without padding: the tokens of all rows are laid end to end, and only attention
    looks at each row's own slot of the cache. An encoder reads a prompt once, as a whole, in the pass that feeds the decoder's
    first token; slots then hold the decoder's tokens alone, and sessions on that prompt share what was read.

    A pass is charged the FLOPs that it executes: those of its new tokens, of the positions that they attend to (the prompt's, too,
    where an encoder has read it) and of its rows of logits; and, for a prompt that is read in it, those of the encoder and of the
    keys and values of cross-attention. :meth:`ModelShape.flops` and :meth:`EncoderShape.flops` are the formulas.
    """

    has_module: ClassVar[bool] = True
    has_hidden: ClassVar[bool] = True

    kind: Literal["huggingface"] = "huggingface"
    source: str = Field(
        description="Where the weights are: a catalogue name, `hf:org/name@revision`, `path:DIR_OR_GGUF`, `artifact:NAME`."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="Type of weights and activations; `auto` takes the one stored."
    )
    device: str = Field(
        default="auto",
        description="`cpu`, `cuda`, `cuda:1`, `mps`; `auto` takes a GPU when there is one; `balanced` spreads the layers over "
        'all devices (accelerate\'s device_map="auto").',
    )
    attention: Literal["sdpa", "eager"] = Field(
        default="sdpa", description="Attention kernel: PyTorch's fused one, or plain matrix products."
    )
    quantization: dict[str, Any] | None = Field(
        default=None,
        description="Passed to transformers: `{method: bitsandbytes, load_in_4bit: true}` becomes its BitsAndBytesConfig.",
    )
    adapter: str | None = Field(
        default=None, description="A peft adapter: a folder or `artifact:NAME` (needs the `adapters` extra)."
    )

    def inspect(self, resources: Resources) -> ModelFacts:
        from counterpoint_plugins.huggingface import loading

        return loading.inspect(self, resources)

    def load(self, resources: Resources) -> Backend:
        from counterpoint_plugins.huggingface import loading

        return loading.load(self, resources)


@hookimpl
def counterpoint_nodes() -> list[type[LeafModel]]:
    """The `huggingface` node."""
    return [HuggingFaceModel]
