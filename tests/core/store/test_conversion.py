from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint.errors import ModelError, Unsupported
from counterpoint.store import ModelFiles, ModelStore, Progress, convert, gguf_tokenizer
from counterpoint.store.gguf_header import read_header

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def reports() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory, reports: list[Progress]) -> ModelFiles:
    """The tiny model, really converted, from the user's own file."""
    store = ModelStore(tmp_path_factory.mktemp("store"))
    return store.ensure(f"path:{tiny_gguf}", formats=("safetensors", "gguf"), progress=reports.append)


def test_the_conversion_reports_its_steps(converted: ModelFiles, reports: list[Progress]) -> None:
    steps = [report.done for report in reports if report.phase == "convert"]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1], reports[-1].phase) == (0, 5, "verify")


def test_the_weights_are_those_of_the_file_in_bfloat16(converted: ModelFiles, tiny_gguf: Path) -> None:
    import gguf
    import torch
    from safetensors.torch import load_file

    assert converted.directory is not None
    tensors = load_file(converted.directory / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_gguf).tensors}
    for name, original in {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
        "model.norm.weight": "output_norm.weight",
    }.items():
        expected = torch.tensor(source[original].data).to(torch.bfloat16)
        assert torch.equal(tensors[name], expected.reshape(tensors[name].shape)), name


def test_it_loads_and_stops_where_it_should(converted: ModelFiles) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(converted.directory)
    assert model.generation_config.eos_token_id == [2, 0]
    assert model.config.eos_token_id == [2, 0]
    assert (model.generation_config.bos_token_id, model.generation_config.pad_token_id) == (1, 2)
    assert not hasattr(model.config, "quantization_config")


def test_the_tokenizer_is_that_of_the_file(converted: ModelFiles) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(converted.directory)
    assert len(tokenizer) == 262, "rows that only pad the matrix are no tokens"
    assert tokenizer.chat_template.startswith("{% for m in messages %}")
    assert tokenizer.model_max_length == 128
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)

    def tokens(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert tokens("a") == ["<|im_start|>", "a"], "the file says that a begin token is added"
    assert tokens("a  1")[1:] == ["a", "ĠĠ", "1"], "digits are split off first, so the two spaces stay together"
    assert tokens(" a<|im_end|>")[1:] == ["Ġa", "<|im_end|>"]
    assert tokenizer.decode(tokenizer("é 12\n")["input_ids"], skip_special_tokens=True) == "é 12\n"


def test_a_moved_file_is_not_converted_again(converted: ModelFiles, tiny_gguf: Path, tmp_path: Path) -> None:
    assert converted.directory is not None
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    found = ModelStore(converted.directory.parents[2]).locate(f"path:{copy}")
    assert found is not None
    assert (found.directory, found.gguf) == (converted.directory, copy)
    assert found.licence == "mit"


def test_an_architecture_without_a_loader_is_unsupported(tmp_path: Path, make_gguf: Callable[..., None]) -> None:
    make_gguf(tmp_path / "x.gguf", architecture="llama4")
    store = ModelStore(tmp_path / "store")
    with pytest.raises(Unsupported, match="architecture 'llama4'"):
        store.ensure(f"path:{tmp_path / 'x.gguf'}")
    assert store.locate(f"path:{tmp_path / 'x.gguf'}") is not None, "llama.cpp may still read it"


# The rest replaces the conversion by a script, to see what the store does around it.


def test_another_version_of_the_conversion_is_made_anew(
    index: Any, fake_conversion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index.store.ensure("tiny")
    assert first.directory == index.home / "transformers"
    index.store.ensure("tiny")
    assert fake_conversion.read_text() == "x"
    monkeypatch.setattr("counterpoint.store.conversion.VERSION", 2)
    located = index.store.locate("tiny")
    assert located is not None
    assert located.directory is None
    index.store.ensure("tiny")
    assert fake_conversion.read_text() == "xx"


def failing(index: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        index.store.ensure("tiny")
    assert [path.name for path in index.home.iterdir()] == ["tiny.gguf"], "the verified file stays, nothing half-made does"
    return caught.value


def test_a_disk_that_fills_up(index: Any, converter: Callable[[str], Path]) -> None:
    converter(
        "(OUT / 'model.safetensors').write_bytes(b'half')\n"
        "say(step='write', done=3)\n"
        "say(error='disk', message='No space left on device', hint='')\nsys.exit(1)\n"
    )
    error = failing(index)
    assert "disk filled up" in error.message
    assert "COUNTERPOINT_HOME" in error.hint


def test_a_disk_that_is_full_when_the_result_is_checked(
    index: Any, fake_conversion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("counterpoint.store.conversion.record", full)
    assert "No space left" in failing(index).message


def test_a_disk_without_room_is_refused_before_converting(
    index: Any, fake_conversion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.store.ensure("tiny", formats=("gguf",))
    monkeypatch.setattr("counterpoint.store.files.shutil.disk_usage", lambda _: Usage(1, 1, 70 << 20))
    assert "convert tiny.gguf" in failing(index).message
    assert not fake_conversion.exists()


def test_a_killed_conversion(index: Any, converter: Callable[[str], Path]) -> None:
    converter("(OUT / 'x').write_text('x')\nos.kill(os.getpid(), 9)\n")
    error = failing(index)
    assert "status -9" in error.message
    assert "memory" in error.hint


def test_what_a_failing_conversion_said_is_shown(index: Any, converter: Callable[[str], Path]) -> None:
    converter(
        "print('noise')\nsys.stderr.write('the reason\\n')\nsay(error='other', message='it broke', hint='')\nsys.exit(1)\n"
    )
    error = failing(index)
    assert "it broke" in error.message
    assert "the reason" in error.message
    converter("say(error='unsupported', message='never', hint='do this')\nsys.exit(1)\n")
    error = failing(index)
    assert isinstance(error, Unsupported)
    assert error.hint == "do this"


def test_interrupting_the_caller_ends_the_conversion(index: Any, converter: Callable[[str], Path], tmp_path: Path) -> None:
    converter(
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\nsay(step='weights', done=1)\ntime.sleep(60)\n"
    )

    def interrupt(progress: Progress) -> None:
        if progress.phase == "convert" and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.store.ensure("tiny", progress=interrupt)
    assert [path.name for path in index.home.iterdir()] == ["tiny.gguf"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_conversion_ends_when_nobody_waits_for_it() -> None:
    start_up = "import time; from counterpoint.store import convert; convert._exit_with_parent()"
    code = f"{start_up}; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(convert.__file__).parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process:
        assert process.stdout.readline() == b"up\n"
        start = time.monotonic()
        process.stdin.close()
        assert process.wait(timeout=10) == 1
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), "disk"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk"),
        (Unsupported("no"), "unsupported"),
        (ModelError("no"), "model"),
        (ValueError("no"), "other"),
    ],
)
def test_failures_are_told_apart(error: Exception, kind: str) -> None:
    assert convert.failure(error)["error"] == kind


def test_an_error_inside_the_conversion_reaches_the_store_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert, "_exit_with_parent", lambda: None)
    monkeypatch.setattr(convert, "convert", full)
    assert convert.main(["a", "b"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "disk"


def test_unknown_rules_of_a_tokenizer_are_refused(tiny_gguf: Path) -> None:
    metadata = read_header(tiny_gguf, strings=True).metadata | {"tokenizer.ggml.pre": "something-new"}
    with pytest.raises(Unsupported, match="something-new"):
        gguf_tokenizer.correct({"model": {"vocab": {}}, "added_tokens": []}, metadata)


def test_a_tokenizer_that_differs_from_its_file_is_refused(converted: ModelFiles, tiny_gguf: Path) -> None:
    assert converted.directory is not None
    metadata = read_header(tiny_gguf, strings=True).metadata
    gguf_tokenizer.check(converted.directory / "tokenizer.json", metadata)
    tokens = ["<|changed|>", *metadata["tokenizer.ggml.tokens"][1:]]
    with pytest.raises(ModelError, match=r"id 0: '<\|changed\|>' became '<\|endoftext\|>'"):
        gguf_tokenizer.check(converted.directory / "tokenizer.json", metadata | {"tokenizer.ggml.tokens": tokens})
    types = [1, *metadata["tokenizer.ggml.token_type"][1:]]
    with pytest.raises(ModelError, match="should not be special"):
        gguf_tokenizer.check(converted.directory / "tokenizer.json", metadata | {"tokenizer.ggml.token_type": types})
