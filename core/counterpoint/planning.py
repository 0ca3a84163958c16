"""What nodes are told, and tell, before weights load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from counterpoint.errors import BridgeError
from counterpoint.settings import Sampling
from counterpoint.shape import ModelShape

if TYPE_CHECKING:
    from counterpoint.bridge import Bridges, Mapping, TokenizerBridge
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
    """Most tokens of prompt and response together; of each of them, where an encoder reads the prompt."""
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
    play: Callable[[str | Node, type[Node]], tuple[str, Node]]
    """Path and node that play a role for a reference: the node itself, or what wraps it."""
    bridges: Bridges
    """Between vocabularies."""
    findings: list[Finding] = field(default_factory=list)

    def refuse(self, message: str, hint: str = "") -> None:
        """Reports a reason why the recipe cannot run."""
        self.findings.append(Finding("error", self.path, message, hint))

    def warn(self, message: str, hint: str = "") -> None:
        """Reports something the user should know."""
        self.findings.append(Finding("warning", self.path, message, hint))

    def tokenizer(self, reference: str | Node) -> Tokenizer | None:
        """The vocabulary of a model, of a composition or of what wraps one; None while it is not known."""
        node = self.resolve(reference)[1]
        while (field := node.adapts or node.speaks_as) is not None:
            reference = getattr(node, field)
            node = self.resolve(reference)[1]
        facts = self.facts(reference)
        return None if facts is None else facts.tokenizer

    def identity(self, reference: str | Node, role: type[Node]) -> dict[str, Any] | None:
        """What :meth:`counterpoint.running.Run.identity` will be; None while a model below is not here to be looked at."""
        from counterpoint.identity import identity_of

        missing = False

        def weights(path: str) -> str:
            nonlocal missing
            facts = self.facts(path)
            missing = missing or facts is None or facts.weight_bytes is None
            return "" if facts is None else facts.key

        found = identity_of(reference, role, self.play, weights)
        return None if missing else found

    def bridge(self, outer: str | Node, inner: str | Node, mapping: Mapping = "auto") -> TokenizerBridge | None:
        """The bridge between two models' vocabularies, when both are known: refused where they do not allow the mapping, and
        what is lost is told."""
        ours, theirs = self.tokenizer(outer), self.tokenizer(inner)
        if ours is None or theirs is None:
            return None
        bridge = self.bridges.between(ours, theirs)
        names = f"'{self.resolve(inner)[0]}' and '{self.resolve(outer)[0]}'"
        try:
            covered = bridge.covered(mapping)
        except BridgeError as error:
            self.refuse(f"{names}: {error.message}", error.hint)
            return None
        if not bridge.exact:
            self.inform(
                f"{names} have different vocabularies: {covered:.0%} of {bridge.words:,} tokens have an image "
                f"({bridge.coverage:.0%} an equal one)"
            )
        return bridge

    def inform(self, message: str) -> None:
        """Reports a prediction or a choice made."""
        self.findings.append(Finding("info", self.path, message))
