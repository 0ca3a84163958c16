"""transformers' own generation, plain and assisted, on the weights that our systems use."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.store import ModelStore


class Transformers:
    """A large model and a draft model for it; of another vocabulary, it assists universally (by re-encoded text)."""

    def __init__(self, large: str, small: str) -> None:
        store = ModelStore()
        folders = [store.ensure(name).directory for name in (large, small)]
        assert None not in folders
        self.tokenizer, other = (AutoTokenizer.from_pretrained(folder) for folder in folders)
        self.large, self.small = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, disable_mmap=True).eval() for folder in folders
        )
        self._assistant: dict[str, Any] = {"assistant_model": self.small}
        if other.get_vocab() != self.tokenizer.get_vocab():
            self._assistant |= {"tokenizer": self.tokenizer, "assistant_tokenizer": other}

    @torch.inference_mode()
    def generate(self, prompt: str, tokens: int, assisted: bool) -> dict[str, Any]:
        """Greedy tokens and the time they took."""
        inputs = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        started = time.perf_counter()
        output = self.large.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=tokens,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            **(self._assistant if assisted else {}),
        )
        seconds = time.perf_counter() - started
        ids = output[0, inputs["input_ids"].shape[1] :].tolist()
        return {"seconds": seconds, "tokens": len(ids), "ids": ids}
