"""What handlers written for TorchServe import as `ts`, where TorchServe itself is not installed.

Written anew after the behaviour of torchserve 0.12 (`torch_handler`, `context`, `utils`, and the parts of
`handler_utils`, `metrics` and `protocol` that handlers use). Known as `ts` only in a worker that serves a `.mar`
(`library.py`); nothing else of Penstock imports it, and it imports nothing of Penstock.
"""

from .version import __version__

__all__ = ["__version__"]
