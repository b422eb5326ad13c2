"""Models that other tools have packed: archives of TorchServe, and models of MLflow, here or in its registry."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

from ..config import BadSetting

_ARCHIVES = (".mar", ".tar.gz", ".tgz")
_MANIFEST = "MAR-INF/MANIFEST.json"
_MLMODEL = "MLmodel"
_MLFLOW = ("models:/", "runs:/")
_SKIPPED = {"__pycache__", ".git"}


class Download:
    """A temporary folder, which goes when nobody holds this any more."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="penstock-mlflow-")
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Packaged:
    """What is to be published, and as what."""

    format: str
    entry: str
    files: tuple[tuple[str, Path], ...]
    """Each file's path in the version, and where it is."""
    download: Download | None = None


def read_packaged(source: str) -> Packaged | None:
    """Understand SOURCE, if it is `model.mar`, a folder that torch-model-archiver or MLflow made, or a URI of MLflow.

    Returns:
        None if it is something else.

    Raises:
        BadSetting: there is no such file, or MLflow is not installed or does not know it.
    """
    path = Path(source)
    if source.startswith(_MLFLOW):
        return _download(source)
    if (path / _MANIFEST).is_file():
        return Packaged("torchserve", _MANIFEST, _files(path))
    if (path / _MLMODEL).is_file():
        return Packaged("mlflow", _MLMODEL, _files(path))
    if not source.endswith(_ARCHIVES):
        return None
    if not path.is_file():
        raise BadSetting(f"there is no file {path}")
    return Packaged("torchserve", path.name, ((path.name, path),))


def _files(root: Path) -> tuple[tuple[str, Path], ...]:
    found = (path for path in root.rglob("*") if path.is_file() and not _SKIPPED & set(path.relative_to(root).parts))
    return tuple((path.relative_to(root).as_posix(), path) for path in sorted(found))


def _download(uri: str) -> Packaged:
    """What MLflow has under a URI; which MLflow that is, its own settings say (MLFLOW_TRACKING_URI, …)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow.artifacts
    except ModuleNotFoundError as error:
        raise BadSetting(
            f"{uri} is MLflow's, and {error.name} is not installed: pip install 'penstock[mlflow]'"
        ) from None
    folder = Download()
    try:
        root = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder.path))
    except Exception as error:  # of MLflow, or of whatever stores its artifacts
        folder.remove()
        raise BadSetting(f"MLflow cannot give {uri}: {str(error)[:300]}") from None
    if not (root / _MLMODEL).is_file():
        folder.remove()
        raise BadSetting(
            f"{uri} is no model: it has no file {_MLMODEL}; name the folder of a model, as in runs:/RUN/model"
        )
    return Packaged("mlflow", _MLMODEL, _files(root), folder)
