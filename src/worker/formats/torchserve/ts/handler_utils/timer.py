"""`@timed` on a handler's methods: their time becomes a metric if model-config.yaml says `handler: {profile: true}`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def timed(func: Callable[..., Any]) -> Callable[..., Any]:
    """Measure a method, when asked to."""

    @wraps(func)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = (self.context.model_yaml_config or {}) if self.context else {}
        if not (config.get("handler") or {}).get("profile"):
            return func(self, *args, **kwargs)
        _wait_for_device()
        began = time.time()
        result = func(self, *args, **kwargs)
        _wait_for_device()
        self.context.metrics.add_time(f"ts_handler_{func.__name__}", (time.time() - began) * 1000)
        return result

    return call


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
