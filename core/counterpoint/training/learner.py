"""What learns of a model: all its weights, adapters beside them, or nothing but a head. Imports torch: import it inside methods."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from counterpoint.errors import Unsupported
from counterpoint.session import Backend
from counterpoint.training.pairs import EncodedPair
from counterpoint.training.supervised import FineTuning


def refuse_encoder(backend: Backend, path: str) -> None:
    """Refuses a model with an encoder, for a trainer that lays prompt and answer end to end. ``plan`` cannot, where the model is not
    here yet.

    Raises:
        Unsupported: it has one.
    """
    if backend.start_ids:
        raise Unsupported(
            f"{path}: trains causal models, and this one has an encoder that reads the prompt", hint="name a causal model"
        )


class Learner:
    """A language model of which ``full``, ``lora`` or nothing (``head``) learns. The engine's weights stay as they are.

    Args:
        node: the trainer; its fields ``learn``, ``lora_…`` and ``save`` say what learns and what is left of it.
        path: its path, for errors.
        seed: of the adapters' random weights.
        backend: of the model.
        encoders: whether the trainer can do with a model that has an encoder: one that asks :meth:`answer_logits` can.

    Attributes:
        module: the model as a module of transformers, without dropout; ``module(input_ids=ids, use_cache=False).logits``.
        parameters: what learns of it, by name, float32.

    Raises:
        Unsupported: quantised weights cannot learn in full; adapters do not fit the model, or the peft package is not here; the
            model has an encoder, and the trainer takes none.
    """

    def __init__(self, node: FineTuning, path: str, seed: int, backend: Backend, *, encoders: bool = False) -> None:
        if not encoders:
            refuse_encoder(backend, path)
        self._node = node
        self._start_ids = backend.start_ids
        self._peft: Any = None
        module: Any = backend.module()
        self._dtypes = {name: weight.dtype for name, weight in module.named_parameters()}
        self.bytes = sum(weight.numel() * weight.element_size() for weight in module.parameters())
        """Size of the model as it is."""
        if node.learn == "full":
            if not all(dtype.is_floating_point for dtype in self._dtypes.values()):
                raise Unsupported(
                    f"{path}: quantised weights cannot learn", hint="load the model unquantised, or learn by lora"
                )
            module = copy.deepcopy(module).float().requires_grad_(True)
        elif node.learn == "lora":
            module = self._with_adapters(module, path, seed)
        else:
            module.requires_grad_(False)
        # Dropout would be a draw that a resumed training does not repeat, and models of today have none: it stays in this mode.
        self.module: Any = module.eval()
        self.parameters: dict[str, Tensor] = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }

    def _with_adapters(self, module: Any, path: str, seed: int) -> Any:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise Unsupported(
                f"{path}: learn: lora needs the peft package", hint="pip install 'counterpoint[adapters]'"
            ) from None
        node = self._node
        config = LoraConfig(
            task_type="SEQ_2_SEQ_LM" if self._start_ids else "CAUSAL_LM",
            r=node.lora_rank,
            lora_alpha=node.lora_alpha,
            lora_dropout=0.0,
            target_modules=node.lora_modules if isinstance(node.lora_modules, str) else list(node.lora_modules),
        )
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
                warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for something by its old name
                torch.manual_seed(seed % 2**63)
                self._peft = get_peft_model(module, config)
        except (ValueError, re.error) as error:
            raise Unsupported(f"{path}: {error}", hint="see the field lora_modules") from error
        return self._peft.base_model.model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.module.parameters()).device  # type: ignore[no-any-return]

    def answer_logits(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """Logits that predict the tokens of answers, ``[answer tokens, vocabulary]``, and these tokens, ``[answer tokens]``, one
        answer after the other."""
        if self._start_ids:
            return self._decoded(pairs)
        ids, wanted, targets = padded(pairs, self.device)
        with head_at(self.module, wanted):
            return self.module(input_ids=ids, use_cache=False).logits[0], targets

    def _decoded(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """The same of a model with an encoder, whose padding it must not see."""
        prompts, answers = max(len(pair.prompt) for pair in pairs), max(len(pair.response) for pair in pairs)
        read = [[*pair.prompt, *[0] * (prompts - len(pair.prompt))] for pair in pairs]
        seen = [[at < len(pair.prompt) for at in range(prompts)] for pair in pairs]
        fed = [[*self._start_ids, *pair.response[:-1], *[0] * (answers - len(pair.response))] for pair in pairs]
        rows = [row for row, pair in enumerate(pairs) for _ in pair.response]
        columns = [len(self._start_ids) - 1 + at for pair in pairs for at in range(len(pair.response))]
        device = self.device
        with head_at(self.module, (torch.tensor(rows, device=device), torch.tensor(columns, device=device))):
            logits = self.module(
                input_ids=torch.tensor(read, device=device),
                attention_mask=torch.tensor(seen, dtype=torch.long, device=device),
                decoder_input_ids=torch.tensor(fed, device=device),
                use_cache=False,
            ).logits[0]
        return logits, torch.tensor([token_id for pair in pairs for token_id in pair.response], device=device)

    @property
    def artifact_bytes(self) -> int:
        """Size of what :meth:`save` writes beyond the parameters, for :func:`~counterpoint.training.loop.fit`."""
        return self.bytes if self._node.learn == "lora" and self._node.save == "merged" else 0

    def save(self, folder: Path, backend: Backend) -> None:
        """Writes what was learned: a whole model in the base's type with its tokenizer, the adapter alone, or nothing (``head``)."""
        if self._node.learn == "head":
            return
        with no_progress_bars():
            if self._peft is not None and self._node.save == "adapter":
                self._peft.save_pretrained(folder)
                return
            if self._peft is not None:
                model = merged(copy.deepcopy(self._peft))  # a copy: the base's weights are the engine's
            else:
                model = self.module
                for name, weight in model.named_parameters():
                    weight.data = weight.data.to(self._dtypes[name])
            model.save_pretrained(folder)
        backend.save_tokenizer(folder)


def merged(adapted: Any) -> Any:
    """A model with its adapters merged into its weights, in place."""
    base = adapted.get_base_model()
    tied = base.get_output_embeddings().weight is base.get_input_embeddings().weight
    said = base.config.tie_word_embeddings
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input and output embeddings are no longer tied", UserWarning)
        model = adapted.merge_and_unload()
    if not tied:  # peft takes the configuration for wrong, which of a T5 1.1 is always the same
        model.config.tie_word_embeddings = said
    return model


def padded(pairs: Sequence[EncodedPair], device: torch.device) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Pairs as one batch: ``ids`` [pairs, longest]; rows and columns of the positions that predict an answer's tokens, each
    [answer tokens]; and these tokens, [answer tokens].

    Padding follows the text, where causal attention does not see it, so that no mask is needed.
    """
    longest = max(map(len, pairs))
    ids = torch.tensor([[*pair.prompt, *pair.response, *[0] * (longest - len(pair))] for pair in pairs], device=device)
    rows = [row for row, pair in enumerate(pairs) for _ in pair.response]
    columns = [len(pair.prompt) - 1 + at for pair in pairs for at in range(len(pair.response))]
    wanted = (torch.tensor(rows, device=device), torch.tensor(columns, device=device))
    return ids, wanted, ids[wanted[0], wanted[1] + 1]


@contextlib.contextmanager
def head_at(model: Any, wanted: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Lets the output head see only some positions (rows, columns), so that logits are ``[1, positions, vocabulary]``: logits at
    every position of the prompt would cost more than the layers. What follows the head (a cap on logits, say) stays the model's
    own."""

    def only(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (given[0][wanted][None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(only)
    try:
        yield
    finally:
        hook.remove()


def hidden_at(model: Any, ids: Tensor, wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Hidden states at some positions (rows, columns) of a batch of ids, ``[positions, width]``: after the last norm, what the
    output head sees; the head itself computes nothing."""
    kept: list[Tensor] = []

    def keep(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        kept.append(given[0][wanted])
        return (given[0][:1, :0],)

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        model(input_ids=ids, use_cache=False)
    finally:
        hook.remove()
    return kept[0]


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Progress is an event here; transformers' bars would be drawn over the screen of whoever shows it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
