from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from counterpoint.errors import ModelError, ModelNotFound, Unsupported
from counterpoint.store import ModelStore, Progress

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub with one repository, in place of the client's two calls that reach the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.down = False

    def model_info(self, _api: object, name: str, *, revision: str | None, **_: object) -> SimpleNamespace:
        self.calls.append(f"info {name} {revision}")
        if self.down:
            raise ConnectionError("no route to host")
        siblings = [
            SimpleNamespace(rfilename=path.name, size=path.stat().st_size, blob_id=self.blob(path), lfs=self.lfs(path))
            for path in sorted(self.folder.iterdir())
        ]
        return SimpleNamespace(sha=COMMIT, siblings=siblings, card_data={"license": "mit"})

    def snapshot_download(self, name: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> str:
        self.calls.append(f"download {name} {revision}")
        local_dir.mkdir(parents=True, exist_ok=True)
        for file in allow_patterns:
            (local_dir / file).write_bytes((self.folder / file).read_bytes())
        (local_dir / ".cache").mkdir()
        return str(local_dir)

    def blob(self, path: Path) -> str:
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def lfs(self, path: Path) -> SimpleNamespace | None:
        is_large = path.suffix == ".safetensors"
        return SimpleNamespace(sha256=hashlib.sha256(path.read_bytes()).hexdigest()) if is_large else None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_folder: Callable[..., Path]) -> Hub:
    folder = make_folder(tmp_path / "remote")
    for name in ("README.md", "modeling.py", "pytorch_model.bin"):
        (folder / name).write_text("not wanted")
    hub = Hub(folder)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: hub.model_info(*args, **options))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_snapshot_is_fetched_checked_and_used_offline(hub: Hub, store: ModelStore) -> None:
    reports: list[Progress] = []
    size = sum((hub.folder / name).stat().st_size for name in ("config.json", "model.safetensors", "tokenizer.json"))
    assert store.download_size("hf:org/name") == size
    files = store.ensure("hf:org/name", progress=reports.append)
    assert files.directory is not None
    assert files.key == f"hf:org/name@{COMMIT}"
    assert files.licence == "mit"
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "counterpoint.json"}
    assert {path.name for path in files.directory.iterdir()} == wanted
    assert {report.phase for report in reports} == {"download", "verify"}

    hub.down = True
    hub.calls.clear()
    assert store.ensure("hf:org/name") == files
    assert store.ensure(f"hf:org/name@{COMMIT}", offline=True) == files
    assert store.download_size("hf:org/name") == 0
    assert store.verify("hf:org/name") == []
    assert hub.calls == []
    assert [(model.name, model.state) for model in store.list()][-1] == ("hf:org/name", "converted")
    assert store.remove("hf:org/name") >= size
    assert not (store.root / "hf" / "org--name").exists()
    with pytest.raises(ModelNotFound):
        store.remove("hf:org/name")


def test_two_revisions_at_one_commit_share_a_snapshot(hub: Hub, store: ModelStore) -> None:
    store.ensure("hf:org/name")
    assert store.locate("hf:org/name@v1") is None
    assert store.ensure("hf:org/name@v1") == store.ensure("hf:org/name")
    assert len([call for call in hub.calls if call.startswith("download")]) == 1


def test_without_a_network_the_source_is_named(hub: Hub, store: ModelStore) -> None:
    hub.down = True
    assert store.locate("hf:org/name@v1") is None
    assert store.download_size("hf:org/name@v1") is None
    with pytest.raises(ModelNotFound) as caught:
        store.ensure("hf:org/name@v1")
    assert "hf:org/name@v1" in caught.value.message
    assert "no route to host" in caught.value.message
    assert "path:FOLDER" in caught.value.hint
    with pytest.raises(ModelNotFound, match="network is not to be used"):
        store.ensure("hf:org/name@v1", offline=True)


def test_a_broken_off_download_leaves_nothing_in_place(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object, **__: object) -> None:
        raise ConnectionError("reset")

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", break_off)
        with pytest.raises(ModelNotFound, match="reset"):
            store.ensure("hf:org/name")
    assert store.locate("hf:org/name") is None
    store.ensure("hf:org/name")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_arrives_damaged_is_refused(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def damage(*args: Any, **options: Any) -> None:
        hub.snapshot_download(*args, **options)
        path = options["local_dir"] / name
        path.write_bytes(path.read_bytes()[:-1] + b" ")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", damage)
    with pytest.raises(ModelError, match=f"{name} of hf:org/name arrived damaged"):
        store.ensure("hf:org/name")
    assert store.locate("hf:org/name") is None


def test_a_repository_without_safetensors_is_unsupported(hub: Hub, store: ModelStore) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match="no safetensors"):
        store.ensure("hf:org/name")


def test_gguf_is_not_to_be_had_from_a_snapshot(hub: Hub, store: ModelStore) -> None:
    with pytest.raises(Unsupported, match="gguf"):
        store.ensure("hf:org/name", formats=("gguf",))
    assert hub.calls == []


def test_a_changed_snapshot_is_repaired(hub: Hub, store: ModelStore) -> None:
    files = store.ensure("hf:org/name")
    assert files.directory is not None
    weights = files.directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    (problem,) = store.verify("hf:org/name")
    assert problem.file == weights
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors is cut short"):
        store.locate("hf:org/name")
    assert store.download_size("hf:org/name") == 0, "here, if damaged"
    assert store.ensure("hf:org/name", repair=True) == files
    assert store.verify("hf:org/name") == []


def test_a_missing_repository_and_a_gated_one_are_told_apart(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    for kind, words in (
        (RepositoryNotFoundError, "does not exist"),
        (GatedRepoError, "terms accepted"),
        (RevisionNotFoundError, "no such revision"),
    ):
        error = kind.__new__(kind)
        Exception.__init__(error, "404")

        def refuse(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
        with pytest.raises(ModelNotFound, match=words):
            store.ensure("hf:org/name")
