from __future__ import annotations

import pytest
import torch

from penstock.errors import ModelLoadFailed
from penstock.worker.device import resolve_device, use_threads

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a CUDA device")


def test_the_processor_is_always_there() -> None:
    assert resolve_device("cpu", 3) == "cpu"


@no_gpu
@pytest.mark.parametrize("wanted", ["auto", ""])
def test_without_a_gpu_the_processor_is_chosen(wanted: str) -> None:
    assert resolve_device(wanted, 1) == "cpu"


@no_gpu
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused_and_the_message_names_what_is(wanted: str) -> None:
    with pytest.raises(ModelLoadFailed, match=f"no device '{wanted}' on this host; there are: cpu$"):
        resolve_device(wanted, 0)


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "cuda:-1", "tpu:0", "cpu:0", "cuda:²"])
def test_an_unknown_device_is_refused(wanted: str) -> None:
    with pytest.raises(ModelLoadFailed, match="there is no device"):
        resolve_device(wanted, 0)


def test_threads_are_bounded_as_told() -> None:
    before = torch.get_num_threads()
    use_threads(1)
    assert torch.get_num_threads() == 1
    use_threads(0)
    assert torch.get_num_threads() >= 1
    torch.set_num_threads(before)
