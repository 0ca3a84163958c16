"""The delta model: cut from another one or random; and its logits together with the template's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig

from counterpoint.plugin import Unsupported
from counterpoint.training import EncodedPair
from counterpoint.training.learner import head_at, padded

if TYPE_CHECKING:
    from counterpoint_plugins.cross_model_training import CrossModelTraining


def make_delta(node: CrossModelTraining, path: str, seed: int, template: Any, start: Any | None) -> Any:
    """A new delta model in float32, on the template's device.

    Args:
        node: the trainer.
        path: its path, for errors.
        seed: of random weights.
        template: the template's module; a random δ has as many logits.
        start: the module it is cut from, or None.

    Raises:
        Unsupported: a model of this architecture cannot be cut by leaving out its upper layers.
    """
    config = _cut_config(start.config, node.layers) if start is not None else _random_config(node, template.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        delta = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    if start is not None:
        weights = start.state_dict()
        wanted = delta.state_dict()
        fitting = {name: weights[name] for name, own in wanted.items() if name in weights and weights[name].shape == own.shape}
        if set(fitting) != set(wanted):
            raise Unsupported(
                f"{path}: a {type(start).__name__} cannot be cut to its {node.layers} lower layers "
                f"(no weights for {', '.join(sorted(set(wanted) - set(fitting))[:3])})",
                hint="leave `start` out for random weights, or start from another model",
            )
        delta.load_state_dict(fitting)
        if node.damping != 1:
            _damp(delta, node.damping, path)
    delta.generation_config = copy.deepcopy(template.generation_config)  # it says which tokens end an answer
    # Dropout would be a draw that a resumed training does not repeat, and models of today have none: δ stays in this mode.
    return delta.eval().to(next(template.parameters()).device)


def _cut_config(config: Any, layers: int) -> Any:
    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = list(text.layer_types[:layers])
    return config


def _random_config(node: CrossModelTraining, template: Any) -> Any:
    text = template.get_text_config()
    return LlamaConfig(
        vocab_size=text.vocab_size,
        hidden_size=node.hidden,
        intermediate_size=4 * node.hidden,
        num_hidden_layers=node.layers,
        num_attention_heads=node.heads,
        num_key_value_heads=node.heads,
        max_position_embeddings=getattr(text, "max_position_embeddings", None) or node.max_length,
        tie_word_embeddings=True,
        bos_token_id=text.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id,
    )


@torch.no_grad()
def _damp(delta: Any, factor: float, path: str) -> None:
    """Scales the logits by the last norm's weight, since head and embeddings may be one matrix."""
    norm = getattr(delta.get_decoder(), "norm", None)
    if norm is None or not isinstance(getattr(norm, "weight", None), Tensor):
        raise Unsupported(f"{path}: a {type(delta).__name__} has no last norm to damp", hint="set damping to 1")
    one_plus = "gemma" in type(norm).__name__.lower()  # its norms multiply by 1 + weight
    norm.weight.copy_(norm.weight * factor + (factor - 1) * one_plus)


class Combination:
    """The frozen template and δ on the same text.

    Args:
        template: a causal language model of transformers.
        delta: another with the same vocabulary.
        vocabulary: size of the tokenizer; logits beyond it are padding of the weights.
        alpha: weight of δ's logits.
    """

    def __init__(self, template: nn.Module, delta: nn.Module, vocabulary: int, alpha: float) -> None:
        self.template = template
        self.delta = delta
        self._vocabulary = vocabulary
        self._alpha = alpha
        self._device = next(template.parameters()).device

    def losses(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy (natural log) over all answer tokens of some examples: of the combination, and, without
        gradient, of the template alone. Two scalars."""
        ids, wanted, targets = padded(pairs, self._device)
        with torch.no_grad():
            shared = torch.log_softmax(self._logits(self.template, ids, wanted), dim=-1)
            alone = nn.functional.nll_loss(shared, targets, reduction="sum")
        combined = torch.add(shared, self._logits(self.delta, ids, wanted), alpha=self._alpha)
        return nn.functional.cross_entropy(combined, targets, reduction="sum"), alone

    def _logits(self, model: nn.Module, ids: Tensor, wanted: tuple[Tensor, Tensor]) -> Tensor:
        """``[answer tokens, vocabulary]`` float32."""
        with head_at(model, wanted):
            logits = model(input_ids=ids, use_cache=False).logits
        return logits[0, :, : self._vocabulary].float()  # type: ignore[no-any-return]
