from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock.errors import ArchiveRefused, InvalidInput, ModelError, ModelLoadFailed, PenstockError
from penstock.tensors import Array
from penstock.worker.engine import ServiceTimes
from penstock.worker.executor import Executor
from penstock.worker.formats.torchserve.library import provide_ts
from penstock.worker.formats.torchserve.unpacking import unpack
from penstock.worker.loaded import Loaded, load
from penstock.worker.model_thread import ModelThread
from penstock.worker.warmup import prove, warm_up

from .archives import Maker, Shades, archiver, as_imagenet, picture
from .conftest import job, run

__all__ = ["archiver"]
VENDORED = Path(__file__).parents[1] / "vendored" / "torchserve"
LABELS = json.dumps({str(index): ["n0", f"shade {index}"] for index in range(7)})


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker that serves an archive changes its process for good."""
    known, folder = set(sys.modules), os.getcwd()
    yield
    os.chdir(folder)
    for name in [name for name in sys.modules if (name not in known and "." not in name) or name.startswith("ts.")]:
        sys.modules.pop(name, None)


class Served:
    """An archive as a worker has it: loaded, warmed up and proved."""

    def __init__(self, loaded: Loaded, executor: Executor, times: ServiceTimes) -> None:
        self.loaded, self.times = loaded, times
        self._executor = executor

    async def ask(self, *requests: Sequence[bytes]) -> list[Any]:
        """One batch of requests, each with some rows: their answers, or errors."""
        outcomes = await run(self._executor, *[job(column(rows)) for rows in requests])
        return [outcome if isinstance(outcome, PenstockError) else list(outcome[0]) for outcome in outcomes]  # type: ignore[index,arg-type]

    async def one(self, body: bytes) -> Any:
        [[answer]] = await self.ask([body])
        return answer


Serve = Callable[..., Any]


def column(rows: Sequence[bytes]) -> Array:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def open_(archive: Path) -> Loaded:
    return load("torchserve", archive.parent, archive.name, "cpu")


@pytest.fixture
def serve(thread: ModelThread) -> Serve:
    async def make(archive: Path, entry: str = "", rows: int = 8) -> Served:
        folder, entry = (archive, entry) if entry else (archive.parent, archive.name)
        loaded = await thread.call(lambda: load("torchserve", folder, entry, "cpu"))
        executor, times = Executor(loaded, "cpu", rows, thread, lambda: None), ServiceTimes()
        await warm_up(executor, loaded, rows, times, patience=0)
        await prove(executor, loaded)
        return Served(loaded, executor, times)

    return make


@pytest.mark.parametrize("form", ["default", "zip-store", "tgz", "no-archive"])
async def test_an_image_classifier_of_torchserve_by_its_name(archiver: Maker, serve: Serve, form: str) -> None:
    model = Shades()
    labels = archiver.write("index_to_name.json", LABELS)
    archive = archiver("image_classifier", form, serialized_file=archiver.script(model), extra_files=labels)
    entry = "MAR-INF/MANIFEST.json" if form == "no-archive" else ""
    served = await serve(archive, entry)
    pictures = [picture(1), picture(2, 500, 280), picture(3, 224, 224)]
    [answers] = await served.ask(pictures)
    probabilities = model(torch.stack([as_imagenet(one) for one in pictures])).softmax(1)
    assert len({answer for answer in answers}) == 3
    for answer, row in zip(answers, probabilities, strict=True):
        top = row.topk(5)
        told = json.loads(answer)
        assert list(told) == [f"shade {index}" for index in top.indices.tolist()]
        assert list(told.values()) == pytest.approx(top.values.tolist(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
async def test_a_handler_that_others_wrote_gives_what_it_gives_in_process(archiver: Maker, serve: Serve) -> None:
    handler = VENDORED / "densenet_handler.py"
    served = await serve(archiver(str(handler), serialized_file=archiver.script(Shades())), rows=1)
    assert served.loaded.default_rows == 1
    buffer = io.BytesIO()
    torch.save(torch.randn(3, 32, 32), buffer)
    answer = torch.load(io.BytesIO(await served.one(buffer.getvalue())), weights_only=True)

    spec = importlib.util.spec_from_file_location("as_it_is", handler)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    context = type("Context", (), {"metrics": type("Metrics", (), {"add_time": lambda *_: None})()})()
    context.manifest = {"model": {"serializedFile": "model.pt"}}
    context.system_properties = {"model_dir": str(archiver.folder), "gpu_id": None}
    alone = module.DenseNetHandler()
    alone.initialize(context)
    [expected] = alone.handle([{"data": bytearray(buffer.getvalue())}], context)
    torch.testing.assert_close(answer, expected, rtol=0, atol=0)


EAGER = """
import torch

class Doubling(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x * self.factor
"""
NUMBERS = """
import json
import numbers_beside
from abc import ABC
from pathlib import Path
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

class Numbers(BaseHandler, ABC):
    def preprocess(self, data):
        self.seen = [type(row["body"]).__name__ + type(row.get("data")).__name__ for row in data]
        return super().preprocess([[float(row["data"])] for row in data])

    def postprocess(self, data):
        properties = self.context.system_properties
        assert self.context.get_request_header(0, "nothing") is None
        assert len({self.context.get_request_id(index) for index in range(len(data))}) == len(data)
        self.context.metrics.add_counter("asked", len(data))
        self.context.metrics.add_metric_to_cache("more", "count", ["Level"]).add_or_update(1, ["Model"])
        return [
            {"value": value, "batch": len(data), "batch_size": properties["batch_size"], "gpu": properties["gpu_id"],
             "seen": seen, "said": self.model_yaml_config["handler"]["said"], "beside": numbers_beside.BESIDE,
             "name": self.manifest["model"]["modelName"], "file": Path("extra.txt").read_text()}
            for [value], seen in zip(super().postprocess(data), self.seen)
        ]
"""


async def test_a_handler_of_ones_own_with_an_eager_model_and_a_configuration(archiver: Maker, serve: Serve) -> None:
    torch.save({"factor": torch.full((1,), 2.0)}, archiver.folder / "weights.pt")
    archive = archiver(
        archiver.write("numbers_handler.py", NUMBERS),
        model_file=archiver.write("doubling.py", EAGER),
        serialized_file=str(archiver.folder / "weights.pt"),
        extra_files=",".join(
            [archiver.write("extra.txt", "more"), archiver.write("numbers_beside.py", "BESIDE = 'beside'")]
        ),
        config_file=archiver.write("model-config.yaml", "batchSize: 6\nmaxBatchDelay: 10\nhandler:\n  said: hello\n"),
    )
    served = await serve(archive)
    assert served.loaded.default_rows == 6
    answers = [json.loads(answer) for [answer] in await served.ask([b"1.5"], [b"-2"], [b"4"])]
    assert [answer.pop("value") for answer in answers] == [3.0, -4.0, 8.0]
    assert (
        answers
        == [
            {
                "batch": 3,
                "batch_size": 6,
                "gpu": None,
                "seen": "bytearraybytearray",
                "said": "hello",
                "beside": "beside",
                "name": "tiny",
                "file": "more",
            }
        ]
        * 3
    )


async def test_a_batch_that_raises_fails_those_at_fault_only(archiver: Maker, serve: Serve) -> None:
    served = await serve(
        archiver(archiver.write("floats.py", MODULE.format(body="[float(row['data']) for row in data]")))
    )
    answers = await served.ask([b"1"], [b"two"], [b"3", b"4"], [b"five"])
    assert answers[0] == [b"1.0"]
    assert answers[2] == [b"3.0", b"4.0"]
    assert isinstance(answers[1], ModelError)
    assert isinstance(answers[3], ModelError)
    assert "two" not in answers[1].message


MODULE = """
model = None

def handle(data, context):
    global model
    if data is None:
        model = context.system_properties["model_dir"]
        return None
    assert model
    return {body}
"""


def of_module(archiver: Maker, body: str) -> Path:
    return archiver(archiver.write("plain.py", MODULE.format(body=body)))


async def test_a_module_with_a_function_is_a_handler(archiver: Maker, serve: Serve) -> None:
    served = await serve(of_module(archiver, "[row['data'] for row in data]"))
    assert await served.ask([b"one"], [b"two", b"three"]) == [[b"one"], [b"two", b"three"]]
    assert served.times.predict(1) > 0


async def test_a_handler_may_ask_for_gradients(archiver: Maker, serve: Serve) -> None:
    gradient = "__import__('torch').autograd.grad(x * x, x)[0].item()"
    body = f"[{gradient} for row in data for x in [__import__('torch').tensor(float(row['data']), requires_grad=True)]]"
    assert await (await serve(of_module(archiver, body))).one(b"3") == b"6.0"


async def test_another_function_is_named_after_a_colon(archiver: Maker, serve: Serve) -> None:
    archiver.write("plain.py", MODULE.format(body="0") + MODULE.replace("handle", "other").format(body="['x']"))
    archive = archiver(f"{archiver.folder}/plain:other")
    assert await (await serve(archive, rows=1)).one(b"?") == b"x"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("b'raw'", b"raw"),
        ("bytearray(b'raw')", b"raw"),
        ("'text ä'", "text ä".encode()),
        ("1.5", b"1.5"),
        ("{'a': [1]}", b'{\n  "a": [\n    1\n  ]\n}'),
        ("[1, None]", b"[\n  1,\n  null\n]"),
        ("True", b"true"),
    ],
)
async def test_what_a_handler_gives_becomes_bytes(archiver: Maker, serve: Serve, answer: str, expected: bytes) -> None:
    served = await serve(of_module(archiver, f"[{answer} for _ in data]"))
    assert await served.one(b"?") == expected


@pytest.mark.parametrize("answers", ["[1] * (len(data) - 1)", "[1, 1, 1]", "'x'", "None"])
async def test_a_wrong_number_of_answers_is_the_models_error(archiver: Maker, serve: Serve, answers: str) -> None:
    served = await serve(of_module(archiver, f"{answers} if data[0]['data'] else [1] * len(data)"))
    first, second = await served.ask([b"1"], [b"2"])
    assert isinstance(first, ModelError)
    assert isinstance(second, ModelError)


async def test_what_is_neither_json_nor_bytes_is_the_models_error(archiver: Maker, serve: Serve) -> None:
    served = await serve(of_module(archiver, "[{1} if row['data'] else '' for row in data]"))
    [error] = await served.ask([b"1"])
    assert isinstance(error, ModelError)


STATUS = """
from ts.utils.util import PredictionException

def handle(data, context):
    for index, row in enumerate(data or ()):
        if row["data"] == b"teapot":
            context.set_response_status(418, "I am a teapot", index)
        elif row["data"] == b"broken":
            context.set_response_status(code=500, phrase="secret", idx=index)
        elif row["data"].startswith(b"raise"):
            raise PredictionException("said to the caller", int(row["data"][5:]))
    return ["fine" for _ in data or ()]
"""


async def test_a_status_is_an_error_of_its_own_request_only(archiver: Maker, serve: Serve) -> None:
    served = await serve(archiver(archiver.write("status.py", STATUS)))
    requests = [[body] for body in (b"a", b"teapot", b"b", b"broken", b"raise400", b"raise503", b"c", b"d")]
    fine, teapot, *_, broken, for_caller, internal, _, _ = await served.ask(*requests[:3], *requests[3:])
    assert fine == [b"fine"]
    assert isinstance(teapot, InvalidInput)
    assert "418 I am a teapot" in teapot.message
    assert type(broken) is type(internal) is ModelError
    assert isinstance(for_caller, InvalidInput)
    assert "said to the caller" in for_caller.message
    assert [await served.ask([b"b"]), await served.ask([b"c"], [b"d"])] == [[[b"fine"]], [[b"fine"]] * 2]


async def test_an_empty_request_is_refused_where_the_handler_cannot_take_it(archiver: Maker, serve: Serve) -> None:
    served = await serve(of_module(archiver, "[float(row['data']) for row in data]"))
    assert served.times.predict(1) == 0  # a refusal is not measured
    [error] = await served.ask([b""])
    assert isinstance(error, InvalidInput)
    first, second = await served.ask([b""], [b"1"])
    assert isinstance(first, InvalidInput)
    assert second == [b"1.0"]


async def test_other_fields_of_a_request_are_inputs(archiver: Maker, thread: ModelThread) -> None:
    archive = of_module(archiver, "[row['question'] + row.get('context') + bytes(len(row)) for row in data]")
    (archive.parent / "signature.json").write_text(
        json.dumps({"inputs": {"question": "BYTES[batch]", "context": "BYTES[batch]"}})
    )
    loaded = open_(archive)
    assert [spec.name for spec in loaded.signature.inputs] == ["question", "context"]
    [column_] = loaded.run([column([b"why"]), column([b"because"])])  # type: ignore[misc]
    assert column_.tolist() == [b"whybecause\0\0"]


class Bag(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = torch.nn.EmbeddingBag(9, 3)

    def forward(self, text: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        counted: torch.Tensor = self.embedding(text, offsets)
        return counted


async def test_a_text_classifier_of_torchserve_by_its_name(archiver: Maker, serve: Serve) -> None:
    words = ["i", "do", "not", "like", "cafe", "i do", "do not", "not like", "like cafe"]
    model = Bag()
    torch.save(dict(zip(words, range(9), strict=True)), archiver.folder / "source_vocab.pt")
    labels = archiver.write("index_to_name.json", json.dumps({"object_type_names": ["World", "Sports", "Business"]}))
    archive = archiver(
        "text_classifier",
        serialized_file=archiver.script(model),
        extra_files=f"{archiver.folder / 'source_vocab.pt'},{labels}",
    )
    answer = json.loads(await (await serve(archive, rows=1)).one("I <b>don't</b> like, café!".encode()))
    expected = model(torch.arange(9), torch.zeros(1, dtype=torch.int64)).softmax(1)[0]
    assert answer == pytest.approx(dict(zip(["World", "Sports", "Business"], expected.tolist(), strict=True)))


def test_the_segmenter_and_the_detector_of_torchserve() -> None:
    provide_ts()
    ts: Any = importlib.import_module
    segmenter = ts("ts.torch_handler.image_segmenter").ImageSegmenter()
    out = torch.randn(2, 4, 3, 3)
    found = torch.tensor(segmenter.postprocess({"out": out}))
    assert found.shape == (2, 3, 3, 2)
    assert torch.equal(found[..., 0].long(), out.argmax(1))
    detector = ts("ts.torch_handler.object_detector").ObjectDetector()
    detector.mapping = {"1": "cat", "2": "dog"}
    seen = {
        "boxes": torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2]]),
        "labels": torch.tensor([2, 1]),
        "scores": torch.tensor([0.75, 0.25]),
    }
    assert detector.postprocess([seen]) == [[{"dog": [0.0, 0.0, 1.0, 1.0], "score": 0.75}]]


def test_what_an_archive_may_not_hold_is_refused_and_nothing_is_written(archiver: Maker, tmp_path: Path) -> None:
    archive = of_module(archiver, "data")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../../../escaped.py", "x")
    with pytest.raises(ArchiveRefused, match="leaves the folder"):
        open_(archive)
    assert not list(tmp_path.rglob("escaped.py"))
    assert not list(tmp_path.rglob("plain.py"))[1:]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "must be like"),
        ({"model": {"modelName": "x"}}, "must be like"),
        ({"model": {"handler": 5}}, "must be like"),
        ({"runtime": "LSP", "model": {"handler": "plain.py"}}, "for the runtime 'lsp'"),
        ({"model": {"handler": "plain.py", "modelFile": "../x.py"}}, "not a path inside the archive"),
        ({"model": {"handler": "plain.py", "modelFile": "/etc/passwd"}}, "not a path inside the archive"),
        ({"model": {"handler": "plain.py", "serializedFile": "gone.pt"}}, "has no such file"),
        ({"model": {"handler": "plain.py", "configFile": "plain.py"}}, "plain.py is not YAML"),
        ({"model": {"handler": "gone.py"}}, "has no gone.py"),
        ({"model": {"handler": "os.path"}}, "has no os.path.py"),
        ({"model": {"handler": "nobody_knows"}}, "no handler of that name"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, manifest: Any, message: str) -> None:
    (tmp_path / "MAR-INF").mkdir()
    (tmp_path / "plain.py").write_text("{[")
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (tmp_path / "MAR-INF" / "MANIFEST.json").write_text(text)
    with pytest.raises(ModelLoadFailed, match=message):
        load("torchserve", tmp_path, "MAR-INF/MANIFEST.json", "cpu")


def test_an_archive_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.mar", "w") as file:
        file.writestr("handler.py", "")
    with pytest.raises(ModelLoadFailed, match="make it with torch-model-archiver"):
        open_(tmp_path / "x.mar")


@pytest.mark.parametrize(
    "config", ["batchSize: 0", "batchSize: many", "- 1", "a: [", "!!python/object/apply:os.getcwd []"]
)
def test_a_configuration_that_is_wrong_is_refused(archiver: Maker, config: str) -> None:
    archiver.write("plain.py", MODULE.format(body="data"))
    archive = archiver(f"{archiver.folder}/plain.py", config_file=archiver.write("model-config.yaml", config))
    with pytest.raises(ModelLoadFailed, match=r"model-config\.yaml"):
        open_(archive)


def test_what_is_not_installed_is_named_with_what_the_archive_wants(
    archiver: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    handler = archiver.write("needs.py", "import surely_not_installed")
    requirements = archiver.write("requirements.txt", "# comment\nsurely-not-installed==1.0\n")
    archive = archiver(handler, requirements_file=requirements)
    with pytest.raises(
        ModelLoadFailed, match=r"needs surely_not_installed, .*requirements: surely-not-installed==1\.0"
    ):
        open_(archive)
    assert "requirements are not installed" in caplog.text


def test_a_part_of_ts_that_is_not_there_is_said_so(archiver: Maker) -> None:
    archive = archiver(archiver.write("micro.py", "from ts.handler_utils.micro_batching import MicroBatching"))
    with pytest.raises(ModelLoadFailed, match=r"imports ts\.handler_utils\.micro_batching.*pip install torchserve"):
        open_(archive)


@pytest.mark.parametrize("code", ["", "class A:\n  pass", "class A:\n  def handle(s): 0\nclass B:\n  def handle(s): 0"])
def test_a_module_without_a_handler_is_refused(archiver: Maker, code: str) -> None:
    with pytest.raises(ModelLoadFailed, match="must define a function 'handle', or one class"):
        open_(archiver(archiver.write("nothing.py", code)))


def test_what_a_killed_process_has_unpacked_is_removed_and_what_a_living_one_has_stays(archiver: Maker) -> None:
    archive = of_module(archiver, "data")
    living = unpack(archive.parent, archive.name)
    left_behind = living.parents[1] / "left_behind"
    left_behind.mkdir()
    (left_behind / "weights.pt").touch()
    second = unpack(archive.parent, archive.name)
    assert not left_behind.exists()
    assert (living / "plain.py").is_file()
    assert (second / "plain.py").is_file()
    assert living.parents[1].name == f"{archive.parent.name}.unpacked"


def test_torchserve_itself_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ts").mkdir()
    (tmp_path / "ts" / "__init__.py").write_text("REAL = True")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelLoadFailed, match="not TorchServe's"):
        provide_ts()
    (tmp_path / "torchserve-9.dist-info").mkdir()
    (tmp_path / "torchserve-9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchserve\nVersion: 9\n"
    )
    importlib.invalidate_caches()
    provide_ts()
    assert importlib.import_module("ts").REAL
