from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.worker.compiled.fitting import Host, misfit

CPU = Host("linux", "x86_64", frozenset({"avx2", "fma", "avx512f"}), "cpu", "", "2.13.0")
GPU = replace(CPU, device="cuda", capability="90")
FROM = {"AOTI_PLATFORM": "linux", "AOTI_MACHINE": "x86_64", "AOTI_CPU_ISA": "AVX2", "AOTI_COMPUTE_CAPABILITY": ""}


@pytest.mark.parametrize(
    ("package", "host"),
    [
        ({}, CPU),
        (FROM | {"AOTI_DEVICE_KEY": "cpu"}, CPU),
        (FROM | {"AOTI_CPU_ISA": "INVALID_VEC_ISA"}, CPU),
        (FROM | {"AOTI_CPU_ISA": "AVX512"}, replace(CPU, cpu_flags=frozenset())),
        (FROM | {"AOTI_DEVICE_KEY": "cuda", "AOTI_COMPUTE_CAPABILITY": "90"}, GPU),
    ],
)
def test_what_fits_is_loaded(package: dict[str, str], host: Host) -> None:
    assert misfit(package, host) == ""


@pytest.mark.parametrize(
    ("package", "host", "said"),
    [
        ({"AOTI_DEVICE_KEY": "cuda"}, CPU, "it was compiled for cuda, and this worker runs on cpu"),
        ({"AOTI_DEVICE_KEY": "cpu"}, GPU, "it was compiled for cpu, and this worker runs on cuda"),
        ({"AOTI_PLATFORM": "win32"}, CPU, "it was compiled for win32, and this is linux"),
        ({"AOTI_MACHINE": "aarch64"}, CPU, "it was compiled for aarch64, and this is x86_64"),
        ({"AOTI_CPU_ISA": "AVX512 AVX512_VNNI"}, CPU, "AVX512, and this one lacks avx512dq, avx512vl, avx512bw"),
        ({"AOTI_CPU_ISA": "AVX2 AMX_TILE"}, CPU, "processors with AMX_TILE, and this one lacks amx_tile"),
        ({"AOTI_COMPUTE_CAPABILITY": "80"}, GPU, "compute capability 80, and this one has 90"),
    ],
)
def test_what_does_not_says_what_it_was_compiled_for(package: dict[str, str], host: Host, said: str) -> None:
    assert said in misfit(package, host)
