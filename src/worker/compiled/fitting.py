"""Whether a package that was compiled somewhere runs here. Decisions only.

A package holds instructions for one kind of processor; a processor that lacks one of them kills the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NEEDS = {
    "AVX2": ("avx2", "fma"),
    "AVX512": ("avx512f", "avx512dq", "avx512vl", "avx512bw"),
    "AVX512_VNNI": ("avx512_vnni",),
    "AVX512_BF16": ("avx512_bf16",),
    "AMX_TILE": ("amx_tile",),
    "AMX_FP16": ("amx_fp16",),
}
"""What AOTInductor's words for instruction sets mean in the system's words."""


@dataclass(frozen=True, slots=True)
class Host:
    """What decides which code runs here."""

    platform: str
    """`linux`."""
    machine: str
    """`x86_64`, `aarch64`."""
    cpu_flags: frozenset[str]
    """The system's names of the processor's instruction sets; empty: not known."""
    device: str
    """`cpu` or `cuda`."""
    capability: str
    """Of a GPU: `90`."""
    torch: str
    """Its version."""


def misfit(package: Mapping[str, str], host: Host) -> str:
    """Why a package does not run on a host, for a person; empty if it should.

    Args:
        package: what AOTInductor wrote into it (`AOTI_MACHINE`, …); what is not said is believed.
        host: this one.
    """
    device = package.get("AOTI_DEVICE_KEY", host.device)
    if device != host.device:
        return f"it was compiled for {device}, and this worker runs on {host.device}"
    for key, here in (("AOTI_PLATFORM", host.platform), ("AOTI_MACHINE", host.machine)):
        if package.get(key, here) != here:
            return f"it was compiled for {package[key]}, and this is {here}"
    capability = package.get("AOTI_COMPUTE_CAPABILITY") or host.capability
    if host.device == "cuda" and capability != host.capability:
        return f"it was compiled for GPUs of compute capability {capability}, and this one has {host.capability}"
    for name in package.get("AOTI_CPU_ISA", "").split():
        missing = [flag for flag in _NEEDS.get(name, ()) if flag not in host.cpu_flags]
        if host.cpu_flags and missing:
            return f"it was compiled for processors with {name}, and this one lacks {', '.join(missing)}"
    return ""
