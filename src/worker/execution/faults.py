"""What a caller is told when a model raises. The cause stays in the log."""

from __future__ import annotations

import logging

import torch

from ...errors import DeviceOutOfMemory, InvalidInput, ModelError, PenstockError, WorkerLost

log = logging.getLogger("penstock.worker")


def as_model_error(error: BaseException) -> PenstockError:
    """The error for callers; says the cause to the log, once."""
    if isinstance(error, InvalidInput):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return DeviceOutOfMemory("the device has not enough memory for this request; send fewer rows")
    if "CUDA error" in str(error):
        log.critical("the CUDA context is broken; this worker ends", exc_info=error)
        return WorkerLost("the device of the worker failed")
    log.error("the model raised", exc_info=error)
    return model_raised()


def model_raised() -> ModelError:
    """For those who are not to know more."""
    return ModelError("the model raised an error; the worker's log has the cause")
