"""The model class of the harness whose answers and likelihoods come from a recipe."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from pydantic import ValidationError
from tqdm import tqdm

import counterpoint as cp
from counterpoint.cli.backend import with_backend
from counterpoint.plugin import LanguageModel, LeafModel
from counterpoint_plugins.lm_eval.likelihood import NOTHING, Likelihood

NUM_CONCURRENT = 32
"""Requests in flight together when nothing is said."""
MAX_GEN_TOKS = 256
"""Most tokens of an answer when neither the task nor the model arguments say, as in the harness's own models."""
_SAMPLING = ("top_k", "top_p", "min_p", "repetition_penalty")
_log = logging.getLogger("lm_eval.counterpoint")  # below the harness's own logger, so that it is shown like the others


class ChatContext(str):
    """A context made of chat messages, as JSON text: each model of the recipe renders them in its own way."""

    __slots__ = ()

    def prompt(self) -> cp.Prompt:
        """The messages; where the last one is the assistant's, it is the start of the answer."""
        messages = json.loads(self)
        prefix = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
        return cp.Prompt.model_validate({"messages": messages, "prefix": prefix})


class CounterpointLM(LM):  # type: ignore[misc]
    """A recipe as a model of the lm-evaluation-harness.

    Args:
        recipe: a name, a path, plain data or a recipe.
        backend: the kind of node that runs the recipe's models, instead of what the recipe says.
        num_concurrent: requests in flight together, which share passes; by default 32.
        max_gen_toks: most tokens of an answer when a task does not say.
        prefix_token_id: the token that stands before a text with nothing before it, where likelihoods are measured.
        engine: what runs the recipe; by default one of its own.
        batch_size: the harness's option of that name; above 1 it is ``num_concurrent`` when that is not given.
        max_batch_size: not used.
        device: not used; the recipe's models say where they run.
        settings: changes to the recipe by their keys, such as ``large.dtype`` or ``seed``.

    Raises:
        CounterpointError: the recipe does not hold together.
    """

    def __init__(
        self,
        recipe: str | Path | Mapping[str, Any] | cp.Recipe | None = None,
        *,
        backend: str | None = None,
        num_concurrent: int | None = None,
        max_gen_toks: int = MAX_GEN_TOKS,
        prefix_token_id: int | None = None,
        engine: cp.Engine | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if recipe is None:
            raise cp.RecipeError("lm-eval: no recipe is named", hint="say which: --model_args recipe=NAME (or a path)")
        self.engine = engine or cp.Engine()
        registry = self.engine.registry
        self.recipe = with_backend(self.engine.recipe(recipe, settings.items()), backend, registry, _log.warning)
        self.engine.plan(self.recipe).check()
        self.max_gen_toks = _at_least_one("max_gen_toks", max_gen_toks)
        if num_concurrent is None:
            num_concurrent = _above_one(batch_size) or NUM_CONCURRENT
        self._together = _at_least_one("num_concurrent", num_concurrent)
        self._prefix_token_id = prefix_token_id
        # The harness says with its option --apply_chat_template whether a context is chat. One that is not is fed as it is.
        leaves = [kind.kind for kind in registry.kinds() if issubclass(kind.node, LeafModel)]
        self._raw = self.engine.recipe(_raw(self.recipe.to_dict(), leaves))

    # --- requests -----------------------------------------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers, each up to a stop string of its request.

        A request that comes several times (``repeats`` of a task) is answered by different samples.

        Raises:
            Unsupported: a request asks for something that sampling has no setting for.
            CounterpointError: a run failed.
        """
        rows: Counter[str] = Counter()
        jobs = []
        for request in requests:
            context, wanted = request.args[:2]
            key = json.dumps([context, wanted], sort_keys=True, default=str)
            jobs.append(self._generation(context, self._sampling(wanted), rows[key]))
            rows[key] += 1
        texts = [""] * len(requests)
        for index, result in self._results(jobs, "Running generate_until requests", disable_tqdm):
            texts[index] = result.text
            self.cache_hook.add_partial("generate_until", requests[index].args, result.text)
        return texts

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each context and continuation: the continuation's log-probability, and whether greedy decoding gives it.

        The continuations of one context are scored in one run.

        Raises:
            Unsupported: the recipe's output is no language model.
            CounterpointError: a run failed.
        """
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.args[0], []).append(index)
        jobs = [self._scoring(context, [requests[index].args[1] for index in group]) for context, group in groups.items()]
        members = list(groups.values())
        found = [(0.0, False)] * len(requests)
        cut = 0
        for job, result in self._results(jobs, "Running loglikelihood requests, by context", disable_tqdm):
            for index, score in zip(members[job], result.scores, strict=True):
                found[index] = (float(score), bool(score.data["greedy"]))
                cut += score.data["left_out"] > 0
                self.cache_hook.add_partial("loglikelihood", requests[index].args, found[index])
        if cut:
            _log.warning("%d requests do not fit the model: the beginning of their context was left out", cut)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text, in windows where it does not fit the model's context.

        Raises:
            Unsupported: the recipe's output is no language model.
            CounterpointError: a run failed.
        """
        texts = [request.args[0] for request in requests]
        found = [0.0] * len(texts)
        jobs = [self._verification(self._raw, NOTHING, [text], "itself") for text in texts]
        for index, result in self._results(jobs, "Running loglikelihood_rolling requests", disable_tqdm):
            found[index] = float(result.scores[0])
            self.cache_hook.add_partial("loglikelihood_rolling", (texts[index],), found[index])
        return found

    # --- chat ---------------------------------------------------------------------------------------------------------

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages as they are: every model of the recipe renders them by its own ``prompt_format``."""
        return ChatContext(json.dumps(chat_history, ensure_ascii=False))

    def chat_template(self, chat_template: bool | str = False) -> str:
        """No template of the harness's.

        Raises:
            Unsupported: one is asked for by name.
        """
        if isinstance(chat_template, str):
            raise cp.Unsupported(
                f"{self.recipe.name}: chat template '{chat_template}' cannot be chosen here",
                hint="use --apply_chat_template without a name: a model's prompt_format in the recipe says how it is prompted",
            )
        return ""

    @property
    def tokenizer_name(self) -> str:
        """What tells the harness's request caches apart."""
        return f"counterpoint-{self.recipe.name}"

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into its results: the recipe."""
        return {"recipe": self.recipe.to_dict()}

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _asked(self, context: str) -> tuple[cp.Recipe, cp.Prompt]:
        """The recipe and the prompt for a context of the harness."""
        if isinstance(context, ChatContext):
            return self.recipe, context.prompt()
        return self._raw, cp.Prompt(text=context)

    def _generation(self, context: str, sampling: cp.Sampling, row: int) -> Callable[[], cp.RunStream]:
        if not context.strip():
            raise cp.Unsupported(
                f"{self.recipe.name}: a task wants an answer to an empty context", hint="a recipe needs a prompt to answer"
            )
        recipe, prompt = self._asked(context)
        return lambda: self.engine.stream(recipe, prompt, sampling=sampling, row=row)

    def _scoring(self, context: str, answers: Sequence[str]) -> Callable[[], cp.RunStream]:
        if not context.strip():  # white space counts to the continuation
            return self._verification(self._raw, NOTHING, [context + answer for answer in answers], "nothing")
        recipe, prompt = self._asked(context)
        return self._verification(recipe, prompt, answers, "prompt")

    def _verification(
        self, recipe: cp.Recipe, prompt: cp.Prompt, answers: Sequence[str], after: Literal["prompt", "nothing", "itself"]
    ) -> Callable[[], cp.RunStream]:
        output = recipe.nodes[recipe.output]
        if not isinstance(output, LanguageModel):
            models = [name for name, node in recipe.nodes.items() if isinstance(node, LanguageModel)]
            raise cp.Unsupported(
                f"{recipe.name}: output '{recipe.output}' ({output.kind}) is no language model, so it has no likelihoods",
                hint="run tasks that generate"
                + (f", or add output=NODE to --model_args: {', '.join(models)}" if models else ""),
            )
        scorer = Likelihood(model=recipe.output, after=after, prefix_token_id=self._prefix_token_id)
        scored = recipe.model_copy(update={"nodes": {**recipe.nodes, scorer.kind: scorer}, "output": scorer.kind})
        return lambda: self.engine.verify(scored, prompt, answers)

    def _results(
        self, jobs: Sequence[Callable[[], cp.RunStream]], title: str, quiet: bool
    ) -> Iterator[tuple[int, cp.RunResult]]:
        """Runs all jobs, some of them in flight together, and gives results as they come; the first failure ends them all."""
        streams: set[cp.RunStream] = set()

        def result(index: int) -> tuple[int, cp.RunResult]:
            stream = jobs[index]()
            streams.add(stream)
            try:
                return index, stream.result()
            finally:
                streams.discard(stream)

        with ThreadPoolExecutor(self._together) as pool, tqdm(total=len(jobs), desc=title, disable=quiet) as bar:
            futures = [pool.submit(result, index) for index in range(len(jobs))]
            try:
                for future in as_completed(futures):
                    bar.update()
                    yield future.result()
            except BaseException:  # an interrupt too, which would else wait for what is in flight
                pool.shutdown(wait=False, cancel_futures=True)
                for stream in tuple(streams):
                    stream.cancel()
                raise

    def _sampling(self, given: Mapping[str, Any]) -> cp.Sampling:
        """The sampling settings of a request."""
        wanted = dict(normalize_gen_kwargs(dict(given), self.max_gen_toks))
        stop = [text for text in wanted.pop("until") if text]
        settings: dict[str, Any] = {"max_tokens": wanted.pop("max_gen_toks"), "stop": (*self.recipe.sampling.stop, *stop)}
        sample, temperature = wanted.pop("do_sample"), wanted.pop("temperature", 1.0)
        settings["temperature"] = temperature if sample else 0.0
        for name in _SAMPLING:
            value = wanted.pop(name, None)
            if value is not None and (settings["temperature"] > 0 or name == "repetition_penalty"):
                settings[name] = value
        if wanted:
            raise cp.Unsupported(
                f"{self.recipe.name}: a request asks for {', '.join(sorted(wanted))}, for which there is no setting",
                hint=f"what there is: until, max_gen_toks, do_sample, temperature, {', '.join(_SAMPLING)}",
            )
        try:
            return cp.Sampling.model_validate(settings)
        except ValidationError as error:
            raise cp.Unsupported(
                f"{self.recipe.name}: a request's generation settings cannot be met: {error.errors()[0]['msg']}",
                hint="change them with --gen_kwargs",
            ) from None


def _raw(value: Any, leaves: Sequence[str]) -> Any:
    """A recipe's data whose models are all prompted with plain text as it is."""
    if isinstance(value, list):
        return [_raw(one, leaves) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _raw(one, leaves) for name, one in value.items()}
    return {**changed, "prompt_format": "raw"} if value.get("kind") in leaves else changed


def _above_one(batch_size: int | str | None) -> int | None:
    """A batch size that says something: the harness's default is 1, and `auto` leaves the choice to the model."""
    text = str(batch_size)
    return int(text) if text.isdigit() and int(text) > 1 else None


def _at_least_one(name: str, value: Any) -> int:
    """A model argument, which is whatever stood on the command line."""
    if not isinstance(value, int) or value < 1:
        raise cp.RecipeError(f"lm-eval: {name}={value!r} is no whole number above 0", hint=f"for example {name}=16")
    return value
