"""Which release of TorchServe this behaves like."""

__version__ = "0.12.0"
