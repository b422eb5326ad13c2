"""The base of handlers: loads a model, and answers by preprocess, inference and postprocess."""

from __future__ import annotations

import importlib
import logging
import os
import time
import warnings
from typing import Any

import torch

from ..handler_utils.timer import timed
from ..utils.util import check_valid_pt2_backend, list_classes_from_module, load_label_mapping

logger = logging.getLogger(__name__)


class BaseHandler:
    """Loads what the manifest names: `modelFile` with a state dict, or TorchScript, or ONNX."""

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: dict[str, str] | None = None
        self.device: Any = None
        self.initialized: bool | None = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: Any = None
        self.map_location: str | None = None
        self.explain = False
        self.target = 0
        self.profiler_args: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Load the model and the labels.

        Raises:
            RuntimeError: the archive holds no model that can be loaded.
        """
        self.model_yaml_config = context.model_yaml_config or {}
        properties = context.system_properties
        gpu = properties.get("gpu_id") if torch.cuda.is_available() else None
        self.map_location = "cpu" if gpu is None else "cuda"
        self.device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
        self.manifest = context.manifest
        model_dir = properties.get("model_dir")
        said = self.manifest["model"]
        self.model_pt_path = os.path.join(model_dir, said["serializedFile"]) if "serializedFile" in said else None
        self.model = self._load(model_dir, said.get("modelFile", ""))
        self._compile()
        self.mapping = load_label_mapping(os.path.join(model_dir, "index_to_name.json"))
        self.initialized = True

    def _load(self, model_dir: str, model_file: str) -> Any:
        path = self.model_pt_path or ""
        if model_file:
            model = self._load_pickled_model(model_dir, model_file, self.model_pt_path)
            return model.to(self.device).eval()
        if path.endswith(".pt"):
            return self._load_torchscript_model(path).eval()
        if path.endswith(".onnx"):
            return self._load_onnx_model(path)
        raise RuntimeError("No model weights could be loaded")

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        load: Any = torch.jit.load  # untyped upstream
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # upstream's note that TorchScript is deprecated
            return load(model_pt_path, map_location=self.device)

    def _load_onnx_model(self, path: str) -> Any:
        onnxruntime = importlib.import_module("onnxruntime")
        preferred = ["CUDAExecutionProvider"] if self.map_location == "cuda" else []
        return onnxruntime.InferenceSession(path, providers=[*preferred, "CPUExecutionProvider"])

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        """The only class of a module, filled from a state dict (which is read with weights_only)."""
        if not os.path.isfile(os.path.join(model_dir, model_file)):
            raise RuntimeError("Missing the model.py file")
        classes = list_classes_from_module(importlib.import_module(model_file.split(".")[0]))
        if len(classes) != 1:
            raise ValueError(f"Expected only one class as model definition. {classes}")
        model: Any = classes[0]()
        if model_pt_path:
            model.load_state_dict(torch.load(model_pt_path, map_location=self.device, weights_only=True))
        return model

    def _compile(self) -> None:
        """As `pt2` in model-config.yaml says. What torch.compile does not take runs as it is."""
        options = _compile_options(self.model_yaml_config.get("pt2"))
        if options is None or not check_valid_pt2_backend(options.get("backend", "inductor")):
            return
        try:
            self.model = torch.compile(self.model, **options)
        except Exception:
            logger.warning("torch.compile refuses %s; proceeding without it", options, exc_info=True)

    @timed
    def preprocess(self, data: Any) -> Any:
        """A request's data as a tensor."""
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """What the model says."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> Any:
        """One answer for each request."""
        return data.tolist()

    def handle(self, data: Any, context: Any) -> Any:
        """Answer a batch: a list of dicts, one for each request, gives a list as long."""
        began = time.time()
        self.context = context
        if self._is_describe():
            output: Any = [self.describe_handle()]
        else:
            prepared = self.preprocess(data)
            if self._is_explain():
                output = self.explain_handle(prepared, data)
            else:
                output = self.postprocess(self.inference(prepared))
        context.metrics.add_time("HandlerTime", round((time.time() - began) * 1000, 2), None, "ms")
        return output

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        """Ask `get_insights` of handlers that have it about the first request."""
        row = raw_data[0]
        inputs, target = None, 0
        if isinstance(row, dict):
            inputs, target = row.get("data") or row.get("body"), row.get("target") or 0
        return self.get_insights(data_preprocess, inputs, target)

    def get_insights(self, tensor_data: Any, raw: Any, target: Any = 0) -> Any:
        """For handlers that explain their answers."""
        raise NotImplementedError(f"{type(self).__name__} explains nothing")

    def _is_explain(self) -> bool:
        self.explain = self.explain or self._is_asked("explain")
        return self._is_asked("explain")

    def _is_describe(self) -> bool:
        return self._is_asked("describe")

    def _is_asked(self, header: str) -> bool:
        return bool(self.context and self.context.get_request_header(0, header) == "True")

    def describe_handle(self) -> Any:
        """For handlers that describe themselves."""

    def get_device(self) -> Any:
        """Where the model is."""
        return self.device


def _compile_options(said: Any) -> dict[str, Any] | None:
    """From `{compile: {enable: true, backend: inductor}}`, a backend's name, or options; None: not asked for."""
    if not said:
        return None
    if isinstance(said, str):
        return {"backend": said}
    if not isinstance(said, dict):
        raise ValueError("pt2 should be str or dict")
    if "export" in said:
        return None
    options = dict(said.get("compile", said))
    return options if options.pop("enable", "compile" not in said) else None
