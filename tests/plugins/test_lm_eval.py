"""Recipes as models of the lm-evaluation-harness, on the fake model and against the harness's own on tiny real ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
from counterpoint.cli import ERROR, OK, main
from counterpoint.node import LeafModel
from counterpoint.testing import fake, save_tiny_model
from counterpoint_plugins.lm_eval import harness_arguments

EXAMPLE = Path(__file__).parents[2] / "examples" / "lm_eval"
FAKE = {"nodes": {"m": {"kind": "fake"}}, "output": "m"}
TALE = "once upon a time there was a model. it sang all day, and the other one listened.\n"
Generate = dict[str, Any]

needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra lm-eval is not installed")


@pytest.fixture
def engine() -> Iterator[cp.Engine]:
    with cp.Engine(registry=cp.load_plugins([fake]), offline=True) as made:
        yield made
        assert all(host.slots == 0 for host in made.hosts()), "a session was left open"


@pytest.fixture
def model(engine: cp.Engine) -> Callable[..., Any]:
    """A model of the harness on a recipe."""

    def make(recipe: Any = FAKE, **arguments: Any) -> Any:
        from counterpoint_plugins.lm_eval.model import CounterpointLM

        return CounterpointLM(recipe, engine=engine, **arguments)

    return make


def request(kind: str, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def generate(lm: Any, *asked: tuple[str, Generate]) -> list[str]:
    found: list[str] = lm.generate_until([request("generate_until", *one) for one in asked], disable_tqdm=True)
    return found


def likelihoods(lm: Any, *pairs: tuple[str, str]) -> list[tuple[float, bool]]:
    found: list[tuple[float, bool]] = lm.loglikelihood([request("loglikelihood", *pair) for pair in pairs], disable_tqdm=True)
    return found


def rolling(lm: Any, *texts: str) -> list[float]:
    found: list[float] = lm.loglikelihood_rolling([request("loglikelihood_rolling", text) for text in texts], disable_tqdm=True)
    return found


# --- without the harness --------------------------------------------------------------------------------------------------


def test_the_plugin_loads_without_the_harness() -> None:
    code = (
        "import sys, counterpoint_plugins.lm_eval\n"
        "print([name for name in ('lm_eval', 'torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_absent_harness_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.models", None)
    assert main(["lm-eval", "ls", "tasks"]) == ERROR
    said = capsys.readouterr().err
    assert "lm-evaluation-harness cannot be imported" in said
    assert "pip install 'counterpoint[lm-eval]'" in said


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm-eval", "--help"]) == OK
    assert "--model_args recipe=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--tasks", "t"], ["run", "--model", "counterpoint", "--tasks", "t"]),
        (["run", "--tasks", "t"], ["run", "--model", "counterpoint", "--tasks", "t"]),
        (["--tasks", "t", "--model", "hf"], ["run", "--tasks", "t", "--model", "hf"]),
        (["--model=hf", "--tasks", "t"], ["run", "--model=hf", "--tasks", "t"]),
        (["run", "-M", "hf"], ["run", "-M", "hf"]),
        (["--config", "c.yaml"], ["run", "--config", "c.yaml"]),
        (["run", "--help"], ["run", "--help"]),
        (["ls", "tasks"], ["ls", "tasks"]),
        (["run"], ["run"]),
    ],
)
def test_the_default_model_is_ours(given: list[str], passed: list[str]) -> None:
    assert harness_arguments(given) == passed


# --- registration ---------------------------------------------------------------------------------------------------------


@needs_harness
def test_the_harness_knows_the_model() -> None:
    from lm_eval.api.registry import get_model

    from counterpoint_plugins.lm_eval import register
    from counterpoint_plugins.lm_eval.model import CounterpointLM

    register()
    register()
    assert get_model("counterpoint") is CounterpointLM
    (declared,) = [entry for entry in entry_points(group="lm_eval.models") if entry.name == "counterpoint"]
    assert declared.load() is CounterpointLM


@needs_harness
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": None}, "no recipe is named"),
        ({"recipe": "sampel"}, "no recipe named 'sampel'"),
        ({"pretrained": "gpt2"}, "cannot set 'pretrained'"),
        ({"backend": "gpu"}, "no backend is called 'gpu'"),
        ({"num_concurrent": 0}, "num_concurrent=0 is no whole number above 0"),
        ({"max_gen_toks": "many"}, "max_gen_toks='many'"),
    ],
)
def test_wrong_arguments_are_said(model: Callable[..., Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.RecipeError) as caught:
        model(**{"recipe": FAKE, **arguments})
    assert message in caught.value.message
    assert caught.value.hint


@needs_harness
def test_arguments_come_as_the_command_line_gives_them(engine: cp.Engine, tmp_path: Path) -> None:
    from counterpoint_plugins.lm_eval.model import CounterpointLM

    (tmp_path / "fake.yaml").write_text("nodes: {m: {kind: fake}}\noutput: m\n")
    given = {"recipe": str(tmp_path / "fake.yaml"), "m.context": 99, "seed": 3, "engine": engine}
    lm = CounterpointLM.create_from_arg_obj(given, {"batch_size": "8", "max_batch_size": None, "device": "cuda:0"})
    assert lm.recipe.seed == 3
    assert lm.recipe.nodes["m"].context == 99
    assert lm._together == 8
    assert CounterpointLM(FAKE, engine=engine, batch_size=1)._together == 32
    assert CounterpointLM(FAKE, engine=engine, batch_size="auto", num_concurrent=5)._together == 5


# --- generation -----------------------------------------------------------------------------------------------------------


@needs_harness
def test_answers_are_those_of_the_recipe(model: Callable[..., Any], engine: cp.Engine) -> None:
    prompts = [f"prompt {letter}" for letter in "abcdef"]
    answers = generate(model(num_concurrent=3), *((prompt, {"until": ["x"], "max_gen_toks": 12}) for prompt in prompts))
    raw = {"nodes": {"m": {"kind": "fake", "prompt_format": "raw"}}, "output": "m"}
    sampling = cp.Sampling(max_tokens=12, temperature=0, stop=("x",))
    assert answers == [engine.run(raw, prompt, sampling=sampling).text for prompt in prompts]
    assert all("x" not in answer for answer in answers)


@needs_harness
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"temperature": 0, "max_tokens": 256, "stop": ()}),
        ({"until": "\n", "max_new_tokens": 5}, {"temperature": 0, "max_tokens": 5, "stop": ("\n",)}),
        ({"until": ["a", "", "b"]}, {"temperature": 0, "max_tokens": 256, "stop": ("a", "b")}),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.9}, {"temperature": 0, "max_tokens": 256, "stop": ()}),
        ({"temperature": 0.7}, {"temperature": 0.7, "max_tokens": 256, "stop": ()}),
        ({"do_sample": True}, {"temperature": 1, "max_tokens": 256, "stop": ()}),
        (
            {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.2},
            {"temperature": 0.5, "max_tokens": 256, "stop": (), "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.2},
        ),
    ],
)
def test_generation_settings_become_sampling(model: Callable[..., Any], given: Generate, expected: Generate) -> None:
    assert model()._sampling(given) == cp.Sampling.model_validate(expected)


@needs_harness
def test_the_recipe_keeps_what_the_task_does_not_set(model: Callable[..., Any]) -> None:
    lm = model({**FAKE, "sampling": {"repetition_penalty": 1.3, "stop": ["e"]}})
    assert lm._sampling({"until": ["x"]}).stop == ("e", "x")
    merged = lm.recipe.sampling.merged(lm._sampling({}))
    assert merged.repetition_penalty == 1.3


@needs_harness
def test_what_sampling_cannot_do_is_refused(model: Callable[..., Any]) -> None:
    with pytest.raises(cp.Unsupported) as caught:
        generate(model(), ("hello", {"until": [], "num_beams": 4}))
    assert "num_beams" in caught.value.message
    assert "max_gen_toks" in caught.value.hint
    with pytest.raises(cp.Unsupported, match="cannot be met"):
        generate(model(), ("hello", {"do_sample": True, "temperature": 1.0, "top_p": 7}))
    with pytest.raises(cp.Unsupported, match="empty context"):
        generate(model(), ("", {"until": []}))


@needs_harness
def test_repeats_are_different_samples(model: Callable[..., Any]) -> None:
    one = request("generate_until", "hello", {"do_sample": True, "temperature": 1.0, "max_gen_toks": 20})
    first, second = model().generate_until([one, one], disable_tqdm=True)
    assert first != second
    assert model().generate_until([one], disable_tqdm=True) == [first]


@needs_harness
def test_chat_is_rendered_by_every_model_itself(model: Callable[..., Any], engine: cp.Engine) -> None:
    lm = model()
    history = [{"role": "system", "content": "sing"}, {"role": "user", "content": "hello"}]
    asked = lm.apply_chat_template(history)
    assert json.loads(asked) == history
    begun = lm.apply_chat_template([*history, {"role": "assistant", "content": "once"}], add_generation_prompt=False)
    found = generate(lm, (asked, {"max_gen_toks": 10}), (begun, {"max_gen_toks": 10}))
    sampling = cp.Sampling(max_tokens=10)
    assert found == [
        engine.run(FAKE, history, sampling=sampling).text,
        engine.run(FAKE, {"messages": history, "prefix": "once"}, sampling=sampling).text,
    ]
    assert lm.chat_template(True) == ""
    with pytest.raises(cp.Unsupported, match="cannot be chosen"):
        lm.chat_template("other")


@needs_harness
def test_the_first_failure_ends_the_rest(model: Callable[..., Any], engine: cp.Engine) -> None:
    lm = model({"nodes": {"m": {"kind": "fake", "context": 64}}, "output": "m"}, num_concurrent=2)
    with pytest.raises(cp.ModelError, match="context"):
        generate(lm, *((letter * 100, {"max_gen_toks": 9}) for letter in "abcdefgh"))


# --- likelihoods ----------------------------------------------------------------------------------------------------------


@needs_harness
def test_a_recipe_that_only_generates_has_no_likelihoods(model: Callable[..., Any]) -> None:
    recipe = {"nodes": {"m": {"kind": "fake"}, "s": {"kind": "sample", "model": "m"}}, "output": "s", "name": "plain"}
    for ask in (lambda lm: likelihoods(lm, ("a", "b")), lambda lm: rolling(lm, "a")):
        with pytest.raises(cp.Unsupported) as caught:
            ask(model(recipe))
        assert "plain: output 's' (sample) is no language model" in caught.value.message
        assert "output=NODE" in caught.value.hint
        assert "m" in caught.value.hint.split(": ")[-1]
    assert likelihoods(model(recipe, output="m"), ("a", "b"))


@needs_harness
def test_likelihoods_are_those_of_the_rows(model: Callable[..., Any]) -> None:
    """Of a session's rows, by hand; white space at the end of a context counts to the answer."""
    import torch

    from counterpoint.session import Step
    from counterpoint.testing import FakeModel
    from counterpoint.testing.fake import FakeBackend

    backend = FakeBackend(FakeModel())

    def by_hand(text: str, answer: str) -> tuple[float, bool]:
        ids, count = backend.tokenizer.encode(text + answer), len(answer)
        rows = backend.forward([Step(backend.new_slot(), ids[:-1], count)])[0].rows
        picked = torch.tensor(ids[-count:])
        total = torch.log_softmax(rows, -1).gather(1, picked[:, None]).sum()
        return float(total), bool((rows.argmax(-1) == picked).all())

    lm = model(num_concurrent=2)
    best = generate(lm, ("hello", {"max_gen_toks": 3}))[0]
    found = likelihoods(lm, ("hello", " yes"), ("good day", "no."), ("hello", " no, never"), ("hello ", "me"), ("hello", best))
    wanted = [by_hand("hello", " yes"), by_hand("good day", "no."), by_hand("hello", " no, never"), by_hand("hello", " me")]
    wanted.append(by_hand("hello", best))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in wanted], abs=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    assert found[-1][1], "what greedy decoding gave is greedy"


@needs_harness
def test_continuations_of_a_context_are_scored_in_one_run(
    model: Callable[..., Any], engine: cp.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    verify = engine.verify
    monkeypatch.setattr(
        engine, "verify", lambda recipe, prompt, answers: calls.append(answers) or verify(recipe, prompt, answers)
    )
    likelihoods(model(), ("one", " a"), ("two", " a"), ("one", " b"), ("one", " c"))
    assert calls == [[" a", " b", " c"], [" a"]]


@needs_harness
def test_likelihoods_after_chat(model: Callable[..., Any]) -> None:
    """The fake model's template writes `user. hello` and a line break; the context's tokens are the rendered prompt's."""
    lm = model({"nodes": {"m": {"kind": "fake", "memory": 99}}, "output": "m"})
    chat = lm.apply_chat_template([{"role": "user", "content": "hello"}])
    begun = lm.apply_chat_template([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}])
    (whole,) = likelihoods(lm, ("user. hello", "\nyes."))
    (line,) = likelihoods(lm, ("user. hello", "\n"))
    (first,), (rest,) = likelihoods(lm, (chat, "yes")), likelihoods(lm, (begun, "."))
    assert first[0] + rest[0] == pytest.approx(whole[0] - line[0], abs=1e-4)


@needs_harness
def test_a_model_without_a_prefix_token_says_so(model: Callable[..., Any]) -> None:
    """The fake model's end token has a text that is not one token."""
    with pytest.raises(cp.Unsupported) as caught:
        likelihoods(model(), ("", "yes"))
    assert "'<end>'" in caught.value.message
    assert "prefix_token_id=" in caught.value.hint
    dot = 27
    lm = model(prefix_token_id=dot)
    assert likelihoods(lm, ("", "yes"), (" ", "yes")) == likelihoods(lm, (".", "yes"), (".", " yes"))
    assert rolling(lm, "yes") == [likelihoods(lm, (".", "yes"))[0][0]]
    assert rolling(lm, "") == [0.0]


@needs_harness
def test_a_context_too_long_is_cut_from_the_left(model: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    recipe = {"nodes": {"m": {"kind": "fake", "context": 16, "memory": 30}}, "output": "m"}
    lm = model(recipe, prefix_token_id=27)
    long = TALE[:40]
    (found,) = likelihoods(lm, (long, "hello"))
    assert "do not fit" in caplog.text
    (whole,) = likelihoods(lm, ("." + long.rstrip()[-11:], "hello"))
    assert found == whole
    fits = likelihoods(lm, (long[:15], "he"))  # the last token is not fed: 17 tokens in a context of 16
    assert fits
    assert rolling(lm, TALE[:16])[0] == pytest.approx(likelihoods(lm, ("", TALE[:16]))[0][0], abs=1e-5)


# --- against the harness's own model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without padding rows, which the harness would count as tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", layers=1)
    weights = AutoModelForCausalLM.from_pretrained(folder)
    weights.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
    weights.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own(tiny: Path) -> Any:
    """The harness's own model class on it."""
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny), dtype="float32", device="cpu", batch_size=4)


def of(folder: Path) -> dict[str, Any]:
    return {"nodes": {"m": {"kind": "huggingface", "source": f"path:{folder}", "dtype": "float32"}}, "output": "m"}


@needs_harness
def test_likelihoods_are_those_of_the_harness(model: Callable[..., Any], tiny: Path, own: Any) -> None:
    ours = model(of(tiny))
    pairs = [
        ("Q: What is a canon?\nA:", " A piece in which voices follow one another."),
        ("Q: What is a canon?\nA:", " A gun."),
        ("Q: What is a canon? \n", "Größe – ½"),
        ("", "From nothing."),
        ("one", " two"),
        ("same", "e"),
        ("x " * 300, " and more"),  # longer than the context of 512 is not: 600 bytes are
    ]
    theirs = likelihoods(own, *pairs)
    mine = likelihoods(ours, *pairs)
    # The last one is cut: the harness leaves the first tokens out, and here the prefix token stands in their place.
    assert [value for value, _ in mine[:-1]] == pytest.approx([value for value, _ in theirs[:-1]], abs=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
    assert mine[-1][0] == pytest.approx(theirs[-1][0], abs=2)


@needs_harness
def test_rolling_likelihoods_are_those_of_the_harness(model: Callable[..., Any], tiny: Path, own: Any) -> None:
    texts = [TALE, "short", TALE * 6, (TALE * 10)[:512]]
    assert max(map(len, texts)) == 512
    assert rolling(model(of(tiny)), *texts) == pytest.approx(rolling(own, *texts), abs=2e-3, rel=1e-6)
    (longer,) = rolling(model(of(tiny)), TALE * 12)
    assert longer == pytest.approx(rolling(own, TALE * 12)[0], rel=0.01)


@needs_harness
def test_greedy_answers_are_those_of_the_harness(model: Callable[..., Any], tiny: Path, own: Any) -> None:
    asked = [(prompt, {"until": ["\x00"], "max_gen_toks": 16, "do_sample": False}) for prompt in ("Once", TALE, "a b c")]
    assert generate(model(of(tiny)), *asked) == generate(own, *asked)


# --- tasks ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's tasks on tiny files, in a data folder of the test."""
    data = tmp_path / "data"
    data.mkdir()
    sums = [{"question": f"what is {n} and {n}", "answer": f"they are\n#### {2 * n}"} for n in range(8)]
    for name in ("gsm8k_train_2000.jsonl", "gsm8k_test_200.jsonl"):
        (data / name).write_text("".join(json.dumps(row) + "\n" for row in sums))
    asked = {
        "question": "do models sing",
        "best_answer": "no",
        "correct_answers": "no; they do not",
        "incorrect_answers": "yes; all day",
    }
    (data / "truthfulqa_400.jsonl").write_text(json.dumps(asked) + "\n" + json.dumps({**asked, "question": "who sings"}) + "\n")
    monkeypatch.setenv("COUNTERPOINT_DATA", str(data))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fake.yaml").write_text("nodes: {m: {kind: fake, context: 8192}}\noutput: m\n")
    shutil.copytree(EXAMPLE, tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@needs_harness
def test_the_command_runs_real_tasks(tasks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Their prompts, filters and metrics are the harness's own; only the data are ours."""
    registry = cp.load_plugins([fake])
    monkeypatch.setattr("counterpoint.engine.load_plugins", lambda: registry)
    arguments = f"--model_args recipe={tasks / 'fake.yaml'},num_concurrent=4 --include_path {tasks / 'tasks'}"
    names = "--tasks local_gsm8k,local_truthfulqa_mc1,local_truthfulqa_mc2 --limit 2 --gen_kwargs max_gen_toks=8"
    status = main(["lm-eval", *f"{arguments} {names} --output_path {tasks / 'out'} --log_samples".split()])
    assert status == OK
    said = capsys.readouterr().out
    for task in ("gsm8k", "truthfulqa_mc1", "truthfulqa_mc2"):
        assert re.search(rf"{task} *\|", said)
    (results,) = (tasks / "out").rglob("results*.json")
    found = json.loads(results.read_text())
    assert 0 < found["results"]["truthfulqa_mc2"]["acc,none"] < 1
    assert found["config"]["model"] == "counterpoint"
    assert found["config"]["recipe"]["nodes"]["m"]["kind"] == "fake"
    (samples,) = (tasks / "out").rglob("samples_gsm8k*.jsonl")
    shown = json.loads(samples.read_text().splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
    assert shown.count("Question:") == 6, "five examples and the question"


@needs_harness
@pytest.mark.slow
def test_real_tasks_on_a_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(__file__).parents[2].parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the data sets are not there")
    monkeypatch.setenv("COUNTERPOINT_DATA", str(data))
    arguments = f"--model_args recipe=smollm2 --include_path {EXAMPLE} --tasks local_gsm8k,local_truthfulqa_mc2 --limit 5"
    status = main(["lm-eval", *f"{arguments} --gen_kwargs max_gen_toks=64 --output_path {tmp_path}".split()])
    assert status == OK
    (results,) = tmp_path.rglob("results*.json")
    found = json.loads(results.read_text())["results"]
    assert 0.2 < found["truthfulqa_mc2"]["acc,none"] < 0.95
    assert 0 <= found["gsm8k"]["exact_match,flexible-extract"] <= 1


def test_leaves_are_found_by_their_class() -> None:
    """The raw recipe of plain contexts reaches inline models as well."""
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    from counterpoint_plugins.lm_eval.model import _raw

    registry = cp.load_plugins([fake])
    leaves = [kind.kind for kind in registry.kinds() if issubclass(kind.node, LeafModel)]
    recipe = {"nodes": {"s": {"kind": "speculative", "target": {"kind": "fake"}, "draft": [{"kind": "prompt_lookup"}]}}}
    assert _raw(recipe, leaves)["nodes"]["s"] == {
        "kind": "speculative",
        "target": {"kind": "fake", "prompt_format": "raw"},
        "draft": [{"kind": "prompt_lookup"}],
    }
