from __future__ import annotations

import pytest

from penstock.cli.source import read_source
from penstock.config import BadSetting


@pytest.mark.parametrize(
    ("url", "entry", "format_", "loaded"),
    [
        ("s3://models/digits/digits.pt2", "", "torch_export", "digits.pt2"),
        ("https://h/my%20model.pt?token=a.b", "", "torchscript", "my model.pt"),
        ("gs://models/x/", "x.onnx", "onnx", "x.onnx"),
        ("az://models/x/", "scale.py:Scale", "python", "scale.py:Scale"),
        ("http://h/vision.mar#sha256=" + "ab" * 32, "", "torchserve", "vision.mar"),
    ],
)
def test_a_url_says_its_format_and_what_to_load(url: str, entry: str, format_: str, loaded: str) -> None:
    known = read_source(url, entry=entry)
    assert (known.format, known.entry, known.files, known.url) == (format_, loaded, (), url)


def test_what_the_command_line_says_of_the_inputs_is_sent_beside_it() -> None:
    known = read_source("s3://models/x.pt", ["x=FP32[batch,4]"])
    assert [file.path for file in known.files] == ["signature.json"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://models/x/", "--entry"),
        ("s3://models/x.bin", "no known format"),
        ("https://h/x/?token=secret", "--entry"),
        ("file:///etc/passwd", "not known"),
    ],
)
def test_one_that_does_not_say_it_is_refused_here(url: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message) as caught:
        read_source(url)
    assert "secret" not in str(caught.value)
