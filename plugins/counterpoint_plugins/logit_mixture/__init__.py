"""The `logit_mixture` language model and its named forms: several models' next-token distributions made into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from counterpoint.plugin import LanguageModel, Mapping, Node, NodePlan, Prompt, Ref, Run, Session, hookimpl

Unmapped = Literal["base", "impossible"]
"""What a model says of tokens that it does not have: what the base says, or that they cannot be."""

_MAPPING = (
    "How tokens find their image in another model's vocabulary: `same` (refused where the two differ), `shared` (tokens of equal "
    "bytes), `pm_mined` (an equal token, else the nearest that begins with it or that it begins with). `auto`: `same` where that "
    "holds, else `shared`."
)
_UNMAPPED = (
    "Tokens without an image: `base`, the model is taken to agree with the base about them; `impossible`, they cannot be drawn."
)


class LogitMixture(LanguageModel):
    """A weighted sum of the log-probabilities of several models, among the tokens that the base finds plausible.

    The next token's score is Σ wᵢ·log pᵢ, and its distribution the softmax of that: a product of experts (Hinton 2002), with
    weights of either sign. `contrastive`, `proxy_tuning` and `ensemble` are named forms of it.
    """

    kind: Literal["logit_mixture"] = "logit_mixture"
    speaks_as: ClassVar[str | None] = "base"
    base: Ref[LanguageModel] = Field(description="The model in whose vocabulary tokens are drawn.")
    others: tuple[Ref[LanguageModel], ...] = Field(min_length=1, description="The models mixed with it.")
    weights: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        description="The factor of each model's log-probabilities, the base's first. A model of weight 0 is not run, but for the base."
    )
    alpha: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Plausibility: only tokens at least this many times as probable as the base's most probable one; 0 keeps all.",
    )
    mapping: Mapping = Field(default="auto", description=_MAPPING)
    unmapped: Unmapped = Field(default="base", description=_UNMAPPED)

    @field_validator("weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if (others := info.data.get("others")) is not None:
            _check_count(weights, 1 + len(others))
        return weights

    def check(self, plan: NodePlan) -> None:
        _check_models(plan, self.base, self.others, self.mapping)
        if not any(self.weights):
            plan.refuse("all weights are 0, which leaves nothing to draw from", "give the base a weight of 1")

    async def open(self, prompt: Prompt, run: Run) -> Session:
        return await _open(self.base, self.others, self.weights, prompt, run, self.mapping, self.unmapped, alpha=self.alpha)


class Contrastive(LanguageModel):
    """Contrastive decoding: what an expert finds more probable than an amateur does, among the tokens plausible to the expert.

    Li et al. 2023 (arXiv 2210.15097); the form `logits` is that of O'Brien and Lewis 2023 (arXiv 2309.09117).
    """

    kind: Literal["contrastive"] = "contrastive"
    speaks_as: ClassVar[str | None] = "expert"
    expert: Ref[LanguageModel] = Field(description="The larger model, in whose vocabulary tokens are drawn.")
    amateur: Ref[LanguageModel] = Field(description="The smaller model, whose faults are to be avoided.")
    form: Literal["logits", "log_ratio"] = Field(
        default="logits",
        description="The score of a plausible token: `logits`, (1+β)·z_expert − β·z_amateur; `log_ratio`, log p_expert − log p_amateur.",
    )
    beta: float = Field(
        default=0.5,
        ge=0,
        allow_inf_nan=False,
        description="β, how much the amateur counts in the form `logits`; 0 leaves the expert alone.",
    )
    alpha: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Plausibility: only tokens at least this many times as probable as the expert's most probable one; 0 keeps all.",
    )
    mapping: Mapping = Field(default="auto", description=_MAPPING)
    unmapped: Unmapped = Field(
        default="base",
        description="Tokens without an image: `base`, the amateur is taken to agree with the expert about them; `impossible`, they "
        "cannot be drawn.",
    )

    def check(self, plan: NodePlan) -> None:
        _check_models(plan, self.expert, [self.amateur], self.mapping)
        if self.form == "log_ratio" and self.beta != type(self).model_fields["beta"].default:
            plan.warn("beta counts in the form logits only", "remove it, or set form: logits")
        if self.form == "log_ratio" and self.alpha == 0:
            plan.warn(
                "without a plausibility mask the log-ratio favours the least probable tokens",
                "set alpha, say to 0.1, the papers' own",
            )

    async def open(self, prompt: Prompt, run: Run) -> Session:
        weights = (1.0, -1.0) if self.form == "log_ratio" else (1 + self.beta, -self.beta)
        return await _open(self.expert, [self.amateur], weights, prompt, run, self.mapping, self.unmapped, alpha=self.alpha)


class ProxyTuning(LanguageModel):
    """A base model moved by what tuning has changed in a small one: z_base + α·(z_expert − z_anti_expert).

    Proxy-tuning, Liu et al. 2024 (arXiv 2401.08565); DExperts, Liu et al. 2021 (arXiv 2105.03023).
    """

    kind: Literal["proxy_tuning"] = "proxy_tuning"
    speaks_as: ClassVar[str | None] = "base"
    base: Ref[LanguageModel] = Field(description="The model to be moved, in whose vocabulary tokens are drawn.")
    expert: Ref[LanguageModel] = Field(description="The small model after tuning.")
    anti_expert: Ref[LanguageModel] = Field(description="The small model before tuning.")
    alpha: float = Field(
        default=1.0,
        allow_inf_nan=False,
        description="α, how far the base is moved; 0 is the base alone, less than 0 moves it the other way.",
    )
    mapping: Mapping = Field(default="auto", description=_MAPPING)
    unmapped: Unmapped = Field(default="base", description=_UNMAPPED)

    def check(self, plan: NodePlan) -> None:
        _check_models(plan, self.base, [self.expert, self.anti_expert], self.mapping, distinct=False)
        path, other = (plan.resolve(model)[0] for model in (self.expert, self.anti_expert))
        if path == other:
            plan.warn(f"expert and anti_expert are both '{path}', and cancel out", "name the model before and after tuning")

    async def open(self, prompt: Prompt, run: Run) -> Session:
        small = [self.expert, self.anti_expert]
        weights = (1.0, self.alpha, -self.alpha)
        return await _open(self.base, small, weights, prompt, run, self.mapping, self.unmapped)


class Ensemble(LanguageModel):
    """The average of several models' next-token distributions, all of them asked at every position or only where one is unsure."""

    kind: Literal["ensemble"] = "ensemble"
    speaks_as: ClassVar[str | None] = "base"
    base: Ref[LanguageModel] = Field(description="The leading model, in whose vocabulary tokens are drawn.")
    others: tuple[Ref[LanguageModel], ...] = Field(min_length=1, description="The models that have a say beside it.")
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        default=None,
        description="The share of each model, the base's first; they are scaled to a sum of 1. By default all count alike.",
    )
    average: Literal["probabilities", "logits"] = Field(
        default="probabilities",
        description="What is averaged: `probabilities`, so that a token needs one model that wants it; `logits` (log-probabilities: "
        "the geometric mean), so that every model can prevent one.",
    )
    gate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The others are asked only where the base's most probable token has less than this probability; elsewhere the "
        "base decides alone, and their passes are not made.",
    )
    mapping: Mapping = Field(default="auto", description=_MAPPING)
    unmapped: Unmapped = Field(default="base", description=_UNMAPPED)

    @field_validator("weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        if weights is not None and (others := info.data.get("others")) is not None:
            _check_count(weights, 1 + len(others))
        if weights is not None and not any(weights):
            raise ValueError("all weights are 0, and a share of nothing is undefined")
        return weights

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, with a sum of 1."""
        weights = self.weights or (1.0,) * (1 + len(self.others))
        return tuple(weight / sum(weights) for weight in weights)

    def check(self, plan: NodePlan) -> None:
        _check_models(plan, self.base, self.others, self.mapping)

    async def open(self, prompt: Prompt, run: Run) -> Session:
        return await _open(
            self.base,
            self.others,
            self.shares,
            prompt,
            run,
            self.mapping,
            self.unmapped,
            arithmetic=self.average == "probabilities",
            gate=self.gate,
        )


def _check_count(weights: Sequence[float], models: int) -> None:
    if len(weights) != models:
        raise ValueError(f"{len(weights)} weight(s) for {models} models: give one for each, that of the base first")


def _check_models(
    plan: NodePlan,
    base: str | LanguageModel,
    others: Sequence[str | LanguageModel],
    mapping: Mapping,
    *,
    distinct: bool = True,
) -> None:
    """Whether every model's vocabulary can be brought into the base's; and whether each is there once."""
    for other in others:
        plan.bridge(base, other, mapping)
    paths = [plan.resolve(model)[0] for model in (base, *others)]
    for path in dict.fromkeys(path for path in paths if paths.count(path) > 1) if distinct else ():
        plan.warn(
            f"'{path}' is mixed with itself, which only scales its log-probabilities", "name another model, or set a weight"
        )


async def _open(
    base: str | LanguageModel,
    others: Sequence[str | LanguageModel],
    weights: Sequence[float],
    prompt: Prompt,
    run: Run,
    mapping: Mapping,
    unmapped: Unmapped,
    *,
    alpha: float = 0.0,
    arithmetic: bool = False,
    gate: float | None = None,
) -> Session:
    """A session on the mixture; on the base itself where nothing is mixed with it, so that its rows are the very same."""
    from counterpoint.composition import Component
    from counterpoint_plugins.logit_mixture.mixing import GatedSession, Mix, MixtureSession

    heard = [(other, weight) for other, weight in zip(others, weights[1:], strict=True) if weight != 0]
    if not heard and weights[0] == 1 and alpha == 0:
        return await run.open(base, prompt)
    leader = await Component.open(base, prompt, run)
    parts = [await Component.open(other, prompt, run, like=leader.session, mapping=mapping) for other, _ in heard]
    mix = Mix((weights[0], *(weight for _, weight in heard)), alpha, unmapped, arithmetic)
    if gate is None:
        return MixtureSession(run.path, [leader, *parts], run, mix)
    return GatedSession(run.path, [leader, *parts], run, mix, gate)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `logit_mixture`, `contrastive`, `proxy_tuning` and `ensemble` nodes."""
    return [LogitMixture, Contrastive, ProxyTuning, Ensemble]
