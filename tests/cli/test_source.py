from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from penstock.cli.source import read_source
from penstock.config import BadSetting


@pytest.mark.parametrize(
    ("name", "format_"), [("m.pt2", "torch_export"), ("m.pt", "torchscript"), ("m.ts", "torchscript")]
)
def test_the_suffix_says_the_format(tmp_path: Path, name: str, format_: str) -> None:
    (tmp_path / name).write_bytes(b"weights")
    source = read_source(str(tmp_path / name))
    assert (source.format, source.entry, [f.path for f in source.files]) == (format_, name, [name])


def test_a_class_is_published_with_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "scale.py").write_text("")
    (tmp_path / "other.py").write_text("")
    source = read_source(f"{tmp_path / 'scale.py'}:Scale")
    assert (source.format, source.entry, [f.path for f in source.files]) == ("python", "scale.py:Scale", ["scale.py"])


def test_a_folder_is_published_with_all_its_files_but_caches(tmp_path: Path) -> None:
    for name in ("scale.py", "weights/a.bin", "__pycache__/scale.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    source = read_source(f"{tmp_path}:scale.py:Scale")
    assert (source.entry, [f.path for f in source.files]) == ("scale.py:Scale", ["scale.py", "weights/a.bin"])


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "scale.py").write_text("")
    (folder / "inside").symlink_to("scale.py")
    assert len(read_source(f"{folder}:scale.py:Scale").files) == 2
    (tmp_path / "secret").write_text("")
    (folder / "outside").symlink_to("../secret")
    with pytest.raises(BadSetting, match="outside"):
        read_source(f"{folder}:scale.py:Scale")


def test_declared_inputs_become_a_file_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"weights")
    source = read_source(str(tmp_path / "m.pt"), ["x=FP32[batch, 64]"])
    assert json.loads(b"".join(source.files[1].chunks())) == {"inputs": {"x": "FP32[batch, 64]"}}


def test_an_entry_has_the_size_and_digest_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "m.pt2").write_bytes(content)
    entry = read_source(str(tmp_path / "m.pt2")).files[0].entry()
    assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("source", "inputs", "message"),
    [
        ("m.pkl", (), "model.pt2"),
        ("m.pt2", (), "there is no file"),
        ("scale.py:Scale", (), "there is no file"),
        ("there.pt", ("x=[1]",), "not like x=FP32"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, inputs: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt").write_bytes(b"")
    with pytest.raises(BadSetting, match=message):
        read_source(source, inputs)


@pytest.mark.parametrize("name", ["tiny.mar", "tiny.tar.gz", "tiny.tgz"])
def test_an_archive_of_torchserve_is_published_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    source = read_source(str(tmp_path / name))
    assert (source.format, source.entry, [f.path for f in source.files]) == ("torchserve", name, [name])


def test_an_archive_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="there is no file"):
        read_source(str(tmp_path / "gone.mar"))


def test_the_fields_of_requests_to_an_archive_are_declared_as_inputs(tmp_path: Path) -> None:
    (tmp_path / "qa.mar").write_bytes(b"PK")
    source = read_source(str(tmp_path / "qa.mar"), ["question=BYTES[batch]"])
    assert json.loads(b"".join(source.files[1].chunks())) == {"inputs": {"question": "BYTES[batch]"}}


@pytest.mark.parametrize(
    ("marker", "format_"), [("MAR-INF/MANIFEST.json", "torchserve"), ("MLmodel", "mlflow")], ids=["mar", "mlflow"]
)
def test_a_folder_of_another_tool_is_known_by_its_manifest(tmp_path: Path, marker: str, format_: str) -> None:
    for name in (marker, "data/weights.pt", "__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    source = read_source(str(tmp_path))
    assert (source.format, source.entry) == (format_, marker)
    assert sorted(f.path for f in source.files) == sorted([marker, "data/weights.pt"])


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in a registry of MLflow's, in files; its run."""
    for name, value in (("DISABLE_TELEMETRY", "true"), ("ALLOW_FILE_STORE", "true"), ("REGISTRY_URI", "")):
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    (tmp_path / "code.py").write_text(
        "import mlflow\nclass M(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input): return model_input\n"
        "mlflow.models.set_model(M())\n"
    )
    import mlflow
    import mlflow.pyfunc

    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        mlflow.pyfunc.log_model(
            name="model", python_model=str(tmp_path / "code.py"), registered_model_name="tiny", pip_requirements=[]
        )
    mlflow.MlflowClient().set_registered_model_alias("tiny", "champion", "1")
    return str(run.info.run_id)


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_model_of_mlflow_is_downloaded_by_alias_version_or_run(tracked: str) -> None:
    for uri in ("models:/tiny@champion", "models:/tiny/1", f"runs:/{tracked}/model"):
        source = read_source(uri)
        assert (source.format, source.entry) == ("mlflow", "MLmodel")
        assert {"MLmodel", "code.py"} <= {file.path for file in source.files}
        assert all(file.entry().size > 0 for file in source.files if file.path == "MLmodel")
    for uri, message in (("models:/tiny@nobody", "cannot give"), ("models:/other/1", "cannot give")):
        with pytest.raises(BadSetting, match=message):
            read_source(uri)
