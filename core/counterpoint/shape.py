"""What the cost of a model's passes depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderShape:
    """What it costs that an encoder reads a prompt: once for all sessions that share it."""

    parameters: int
    """Weights that each token of the prompt is multiplied with: the encoder's, and those that make of what it gives the keys and
    values of the decoder's cross-attention; embeddings left out."""
    layers: int
    heads: int
    head_dim: int

    def flops(self, tokens: int) -> float:
        """FLOPs as executed: 2·parameters·tokens + 4·layers·heads·head_dim·tokens², for every token attends to all."""
        return 2.0 * self.parameters * tokens + 4.0 * self.layers * self.heads * self.head_dim * tokens**2


@dataclass(frozen=True)
class ModelShape:
    """What the cost of a pass depends on. Where there is an encoder, all but ``encoder`` is about the decoder."""

    parameters: int
    """Weights in matrix multiplications, embeddings and the output head left out."""
    layers: int
    heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    kv_bytes: int
    """Bytes of KV cache per token, those of a prompt that an encoder reads included: cross-attention keeps as much for each."""
    encoder: EncoderShape | None = None
    """The part that reads prompts, in a model with an encoder and a decoder."""

    def flops(self, tokens: int, context: int, logits_rows: int, prompt: int = 0) -> float:
        """FLOPs as executed: 2·parameters·tokens + 4·layers·heads·head_dim·Σcontext + 2·hidden·vocabulary·rows.

        Args:
            tokens: new ones; of the decoder, where there is an encoder.
            context: positions that they attend to, summed; to the prompt's, too, by cross-attention.
            logits_rows: rows of logits.
            prompt: tokens that the encoder reads, whose FLOPs (:meth:`EncoderShape.flops`) are added.
        """
        total = (
            2.0 * self.parameters * tokens
            + 4.0 * self.layers * self.heads * self.head_dim * context
            + 2.0 * self.hidden * self.vocabulary * logits_rows
        )
        return total + self.encoder.flops(prompt) if prompt and self.encoder is not None else total
