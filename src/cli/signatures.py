"""What versions take and give, for `status NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .output import out

if TYPE_CHECKING:
    from ..client import Client, ModelStatus
    from ..signature import Signature, TensorSpec

Signatures = Mapping[tuple[str, int], "Signature"]
"""By model and version."""


def fetch_signatures(caller: Client, models: Sequence[ModelStatus]) -> Signatures:
    """Those of all versions that answer; another is asked for none, as it may never have been loaded."""
    answering = [(m.name, v.version) for m in models for v in m.versions if v.state == "AVAILABLE"]
    found = {key: caller.metadata(key[0], version=key[1]).signature for key in answering}
    return {key: signature for key, signature in found.items() if signature is not None}


def as_json(signature: Signature | None) -> dict[str, Any] | None:
    """For programs; None if it is not known."""
    if signature is None:
        return None
    inputs, outputs = ({s.name: str(s) for s in specs} for specs in (signature.inputs, signature.outputs))
    return {"inputs": inputs, "outputs": outputs, "batch": signature.batch}


def print_signatures(signatures: Signatures) -> None:
    """A line for each version."""
    for (name, version), signature in signatures.items():
        sides = f"takes {_side(signature.inputs)}; gives {_side(signature.outputs)}"
        joined = "" if signature.batch else "; its requests are not joined"
        out().print(f"{name} version {version} {sides}{joined}", markup=False)


def _side(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name}={spec}" for spec in specs)
