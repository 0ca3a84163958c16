"""What trainers that learn from examples have in common: the fields of the loop, and what can be refused before weights load."""

from __future__ import annotations

import importlib.util
from typing import Literal

from pydantic import Field

from counterpoint.errors import EvaluationError
from counterpoint.node import LeafModel, Node, Trainer
from counterpoint.planning import NodePlan
from counterpoint.training.pairs import find_data


class SupervisedTraining(Trainer):
    """A trainer that runs :func:`counterpoint.training.loop.fit`. A subclass says what it learns from, and of which loss."""

    artifact: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Name of what is made; other recipes load it as `artifact:NAME`.",
    )
    held_out: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the examples that is only measured; 0 trains on all, without early stopping.",
    )
    held_out_file: str | None = Field(
        default=None, description="A file of examples that are only measured, instead of a share."
    )
    max_length: int = Field(default=1024, ge=8, description="Most tokens of prompt and answer together.")
    too_long: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to longer examples: an error that names the first, or they are left out, counted.",
    )
    epochs: int = Field(default=3, ge=1, le=1000, description="How many times every example is seen.")
    max_steps: int | None = Field(default=None, ge=1, description="Most steps, whatever the epochs.")
    batch: int = Field(default=64, ge=1, le=65536, description="Examples a step.")
    micro_batch: int = Field(
        default=4,
        ge=1,
        le=4096,
        description="Examples a pass: gradients of a step are accumulated over passes. More needs memory.",
    )
    learning_rate: float = Field(
        default=2e-4, gt=0, le=1, description="Peak learning rate of AdamW; it then falls as a cosine to 0."
    )
    warmup: float = Field(default=0.03, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    max_gradient: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="Of the passes of what learns; its weights and the optimizer's moments are float32 in any case.",
    )
    evaluate_every: int = Field(default=50, ge=1, description="Steps between two measurements of the held-out loss.")
    patience: int = Field(
        default=3,
        ge=1,
        description="Training ends after so many measurements without a lower held-out loss; the best weights are kept.",
    )
    checkpoint_every: int = Field(default=50, ge=1, description="Steps between two checkpoints: what a kill can cost.")
    minutes: float | None = Field(
        default=None, gt=0, description="About how long it takes on two cores; told where the artifact is missed."
    )

    def check(self, plan: NodePlan) -> None:
        if self.held_out == 0 and self.held_out_file is None:
            plan.warn("nothing is held out, so that training neither stops early nor tells whether it overfits")

    def check_trainable(self, plan: NodePlan, model: str | Node, *, encoders: bool = False) -> None:
        """Refuses a model that gives no torch module, and, unless the trainer can do with ``encoders``, one that has an encoder."""
        path, node = plan.resolve(model)
        if not isinstance(node, LeafModel) or not node.has_module:
            plan.refuse(
                f"'{path}' ({node.kind}) cannot be trained with: it gives no torch module",
                "use a huggingface model, which takes the same sources",
            )
        facts = plan.facts(model)
        if not encoders and facts is not None and facts.shape is not None and facts.shape.encoder is not None:
            plan.refuse(
                f"'{path}' has an encoder that reads the prompt, and '{self.kind}' trains causal models", "name a causal model"
            )

    def check_length(self, plan: NodePlan, model: str | Node, name: str) -> None:
        """Refuses a ``max_length`` beyond the context of a model, which errors call ``name``."""
        facts = plan.facts(model)
        if facts is not None and facts.context is not None and self.max_length > facts.context:
            plan.refuse(
                f"max_length is {self.max_length}, and the context of {name} holds {facts.context} tokens",
                f"set max_length to {facts.context} or less",
            )

    def check_files(self, plan: NodePlan, *files: str | None) -> None:
        """Refuses data files that are not there."""
        for file in files:
            try:
                if file is not None:
                    find_data(file)
            except EvaluationError as error:
                plan.refuse(error.message, error.hint)


class FineTuning(SupervisedTraining):
    """A trainer that adapts a model with :class:`counterpoint.training.learner.Learner`: all of it, or by LoRA.

    A kind whose models have no head beside the weights narrows ``learn`` to ``Literal["lora", "full"]``.
    """

    learn: Literal["lora", "full", "head"] = Field(
        default="lora",
        description="What learns: `lora`, low-rank adapters beside frozen weights (needs the `adapters` extra); `full`, all "
        "weights, in a float32 copy; `head`, the head alone, on the frozen model.",
    )
    lora_rank: int = Field(default=16, ge=1, le=1024, description="Rank of the adapters.")
    lora_alpha: int = Field(default=32, ge=1, description="Scale of the adapters: they are weighed by alpha / rank.")
    lora_modules: str | tuple[str, ...] = Field(
        default="all-linear", description="Which modules have adapters: `all-linear`, a pattern, or a list of names' ends."
    )
    save: Literal["merged", "adapter"] = Field(
        default="merged",
        description="What a training by `lora` leaves: a whole model in the base's type, or the adapter alone, which a "
        "huggingface model loads with `adapter: artifact:NAME`.",
    )

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        if self.learn == "lora" and importlib.util.find_spec("peft") is None:
            plan.refuse(
                "learn: lora needs the peft package", "pip install 'counterpoint[adapters]', or set learn to another value"
            )
        if self.learn != "lora" and self.save == "adapter":
            plan.warn(f"save: adapter says nothing where learn is {self.learn}", "leave it out, or set learn to lora")

    def check_trainable(self, plan: NodePlan, model: str | Node, *, encoders: bool = False) -> None:
        """Refuses, besides, a new adapter beside one that the model has: whoever loaded the new one would miss the other."""
        super().check_trainable(plan, model, encoders=encoders)
        path, node = plan.resolve(model)
        if self.learn == "lora" and self.save == "adapter" and (had := getattr(node, "adapter", None)):
            plan.refuse(
                f"'{path}' has the adapter {had} already, and a model is loaded with one",
                "set save to merged: the artifact then holds both",
            )
