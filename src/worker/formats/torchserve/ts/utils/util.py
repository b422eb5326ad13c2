"""Labels, classes of a module, model-config.yaml."""

from __future__ import annotations

import enum
import inspect
import itertools
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

CLEANUP_REGEX = re.compile("<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")
"""What HTML leaves in a text."""

PT2Backend = enum.Enum(  # type: ignore[misc]
    "PT2Backend",
    {
        name.upper(): name
        for name in (
            *("eager", "aot_eager", "inductor", "nvfuser", "aot_nvfuser", "aot_cudagraphs", "ofi", "fx2trt"),
            *("onnxrt", "ipex", "torchxla_trace_once", "openvino", "tensorrt", "hpu_backend"),
        )
    },
    type=str,
)
"""What torch.compile may be told in model-config.yaml."""


class PredictionException(Exception):
    """A handler's answer to a request that it cannot serve. Below 500 the message is for the caller."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        self.message = message
        self.error_code = error_code
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type]:
    """The classes that a module defines, not those that it imports."""
    found = inspect.getmembers(module, lambda one: inspect.isclass(one) and one.__module__ == module.__name__)
    return [cls for _, cls in found if parent_class is None or issubclass(cls, parent_class)]


def check_valid_pt2_backend(backend: str) -> bool:
    """Whether it is one of PT2Backend."""
    if backend in [member.value for member in PT2Backend]:
        return True
    logger.warning("%s is not a supported backend", backend)
    return False


def load_label_mapping(mapping_file_path: str) -> dict[str, str] | None:
    """`index_to_name.json`: by index a label, or a list whose last element is the label; None without the file."""
    if not os.path.isfile(mapping_file_path):
        logger.warning("%r is missing. Inference output will not include class name.", mapping_file_path)
        return None
    with open(mapping_file_path) as file:
        mapping = json.load(file)
    if not isinstance(mapping, dict):
        raise Exception('index->name JSON mapping should be in "class": "label" format.')
    if isinstance(mapping.get("object_type_names"), list):
        return {str(index): name for index, name in enumerate(mapping["object_type_names"])}
    return {key: _label(value) for key, value in mapping.items()}


def _label(value: Any) -> str:
    label = value[-1] if isinstance(value, list) else value
    if not isinstance(label, str):
        raise Exception("labels in index->name mapping must be either str or List[str]")
    return label


def map_class_to_label(
    probs: list[Any], mapping: dict[str, str] | None = None, lbl_classes: Iterable[Any] | None = None
) -> list[dict[str, Any]]:
    """For each row the probabilities by label; by index where there is no mapping."""
    if not isinstance(probs, list):
        raise Exception("Convert classes to list before doing mapping")
    if mapping is not None and not isinstance(mapping, dict):
        raise Exception("Mapping must be a dict")
    if lbl_classes is None:
        lbl_classes = itertools.repeat(range(len(probs[0])), len(probs))
    return [
        {mapping[str(index)] if mapping is not None else str(index): prob for index, prob in zip(*row, strict=False)}
        for row in zip(lbl_classes, probs, strict=False)
    ]


def get_yaml_config(yaml_file_path: str) -> Any:
    """The file's content."""
    import yaml

    with open(yaml_file_path) as file:
        return yaml.safe_load(file)


def deprecated(version: str, replacement: str = "", klass: type[Warning] = PendingDeprecationWarning) -> Any:
    """A decorator that warns whoever calls."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            text = f"{function.__name__} is deprecated in {version} and moved to {replacement}"
            warnings.warn(text, klass, stacklevel=2)
            return function(*args, **kwargs)

        return call

    return decorate
