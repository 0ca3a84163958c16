"""What nodes are told, and tell, before weights load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from counterpoint.session import ModelShape
from counterpoint.settings import Sampling

if TYPE_CHECKING:
    from counterpoint.node import Node
    from counterpoint.store import ModelStore
    from counterpoint.store import Progress as StoreProgress
    from counterpoint.tokenizer import Tokenizer


@dataclass(frozen=True)
class Resources:
    """What a leaf model may use to find and load its weights."""

    store: ModelStore
    offline: bool = False
    progress: Callable[[StoreProgress], None] | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without its weights; what cannot be known yet is None."""

    key: str
    """Identity of the loaded weights: source, revision, dtype, device, adapter. Nodes with equal keys share them."""
    source: str
    download_bytes: int = 0
    """What must be fetched first; 0 when everything is here."""
    weight_bytes: int | None = None
    """Memory of the weights as they will be loaded."""
    shape: ModelShape | None = None
    context: int | None = None
    """Most tokens of prompt and response together."""
    has_chat_template: bool | None = None
    tokenizer: Tokenizer | None = None
    device: str = "cpu"
    dtype: str = ""
    cache_bytes: int | None = None
    """Memory that the cache takes as soon as the model is loaded; None where it grows with what it holds."""


@dataclass(frozen=True)
class Finding:
    """Something a plan has to say about a node."""

    level: Literal["error", "warning", "info"]
    node: str
    message: str
    hint: str = ""


@dataclass
class NodePlan:
    """One node's view of the plan, for :meth:`Node.check`."""

    path: str
    sampling: Sampling
    resolve: Callable[[str | Node], tuple[str, Node]]
    """Path and node of a reference."""
    facts: Callable[[str | Node], ModelFacts | None]
    """Facts of the leaf model behind a reference; None for compositions."""
    findings: list[Finding] = field(default_factory=list)

    def refuse(self, message: str, hint: str = "") -> None:
        """Reports a reason why the recipe cannot run."""
        self.findings.append(Finding("error", self.path, message, hint))

    def warn(self, message: str, hint: str = "") -> None:
        """Reports something the user should know."""
        self.findings.append(Finding("warning", self.path, message, hint))

    def want_same_vocabulary(self, draft: str | Node, target: str | Node) -> None:
        """Refuses two models with different vocabularies, when both are known (through a node that wraps one, too)."""
        node = self.resolve(draft)[1]
        if node.adapts is not None:
            draft = getattr(node, node.adapts)
        ours, theirs = self.facts(draft), self.facts(target)
        if ours is None or theirs is None or ours.tokenizer is None or theirs.tokenizer is None:
            return
        if ours.tokenizer.fingerprint != theirs.tokenizer.fingerprint:
            self.refuse(
                f"'{self.resolve(draft)[0]}' and '{self.resolve(target)[0]}' have different vocabularies "
                f"({ours.tokenizer.size} and {theirs.tokenizer.size} tokens), which nothing can bridge yet",
                "use models of one family; prompt_lookup drafts for any",
            )

    def inform(self, message: str) -> None:
        """Reports a prediction or a choice made."""
        self.findings.append(Finding("info", self.path, message))
