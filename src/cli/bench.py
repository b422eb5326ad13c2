"""`bench`: put load on a model, and say what its callers see."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.v1 import model_pb2

from ..config import BadSetting
from ..errors import FailedPrecondition
from .bench_report import facts, report, title, write_json, write_plot
from .options import Address, Alias, ApiKey, Format, Output, Version, client, settings
from .output import progress

if TYPE_CHECKING:
    from ..bench.question import Question

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Lane(StrEnum):
    """How requests are sent."""

    UNARY = "unary"
    STREAM = "stream"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(bench)


def bench(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    rate: Annotated[float | None, typer.Option(help="Open loop: requests per second, Poisson.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Closed loop: requests in flight. [default: 16]")] = None,
    duration: Annotated[str, typer.Option(help="How long is measured: 10, 10s.")] = "10s",
    warmup: Annotated[str, typer.Option(help="The same load before, not measured.")] = "1s",
    deadline: Annotated[str, typer.Option(help="For each request: 0.05, 50ms. [default: none]")] = "0",
    rows: Annotated[int, typer.Option(min=1, help="Rows of each request.")] = 1,
    lane: Annotated[Lane, typer.Option(help="unary: a call each. stream: PredictStream, coalesced.")] = Lane.UNARY,
    connections: Annotated[int, typer.Option(min=1, help="Connections of each generator.")] = 4,
    processes: Annotated[int, typer.Option(min=1, help="Generators among which the load is shared out.")] = 1,
    seed: Annotated[int, typer.Option(help="Of arrivals and values.")] = 0,
    input_: Annotated[list[str] | None, typer.Option("--input", help="NAME=@FILE.npy instead of made values.")] = None,
    size: Annotated[list[str] | None, typer.Option(help="DIMENSION=N for a free dimension.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures and settings here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG here.")] = None,
    version: Version = None,
    alias: Alias = None,
    address: Address = None,
    api_key: ApiKey = None,
    output: Output = Format.TABLE,
) -> None:
    """Put load on a model; latency counts from when a request was due, whatever the server did before."""
    from ..bench import plot as plots
    from ..bench.load import run
    from ..bench.plan import Plan
    from ..bench.probe import probe
    from ..bench.statistics import summarise

    if plot is not None:
        plots.require()
    question = _question(name, version, alias, rows, input_ or [], size or [], seed, address, api_key)
    chosen = settings(address=address, api_key=api_key)
    try:
        plan = Plan(
            address=chosen.address,
            bodies=question.bodies,
            lane=lane.value,
            rate=rate or 0.0,
            concurrency=(0 if rate else 16) if concurrency is None else concurrency,
            duration=_seconds("--duration", duration),
            warmup=_seconds("--warmup", warmup),
            deadline=_seconds("--deadline", deadline),
            seed=seed,
            connections=connections,
            headers=(("authorization", f"Bearer {chosen.api_key}"),) if chosen.api_key else (),
        )
        plan.split(processes)
    except ValueError as error:
        raise BadSetting(str(error)) from None
    probe(plan)
    with progress() as bar:
        task = bar.add_task(title(name, plan), total=plan.warmup + plan.duration)
        began = monotonic()
        samples = run(plan, processes, lambda: bar.update(task, completed=monotonic() - began))
    summary = summarise(samples, plan.deadline, question.rows)
    found = facts(name, plan, question, summary)
    if json_file is not None:
        write_json(found, json_file)
    if plot is not None:
        write_plot(samples, title(name, plan), plan.deadline, plot)
    raise typer.Exit(report(found, title(name, plan), question.rows, summary, output))


def _question(
    name: str,
    version: int | None,
    alias: str | None,
    rows: int,
    given: list[str],
    sizes: list[str],
    seed: int,
    address: str | None,
    api_key: str | None,
) -> Question:
    from ..bench.question import questions

    if version is not None and alias is not None:
        raise BadSetting("give --version or --alias, not both")
    with client(address, api_key) as caller:
        signature = caller.metadata(name, version=version, alias=alias).signature
    if signature is None:
        raise FailedPrecondition(f"no worker has loaded model {name!r} yet: what it takes is not known")
    try:
        wanted = {dim: int(number) for dim, number in (_pair("--size", text) for text in sizes)}
    except ValueError:
        raise BadSetting("--size takes DIMENSION=NUMBER") from None
    arrays = {key: _array(key, value) for key, value in (_pair("--input", text) for text in given)}
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        spec.version = version
    if alias is not None:
        spec.alias = alias
    return questions(spec, signature, rows=rows, sizes=wanted, given=arrays, seed=seed)


def _pair(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise BadSetting(f"{option} {text!r} is not NAME=VALUE")
    return key, value


def _array(name: str, value: str) -> Any:
    import numpy as np

    try:
        if value.startswith("@"):
            return np.load(value[1:], allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadSetting(f"{value[1:]} cannot be read as .npy: {error}") from None
    raise BadSetting(f"--input {name}={value} is not NAME=@FILE.npy")


def _seconds(option: str, text: str) -> float:
    """`50ms`, `2s`, `0.05`."""
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        return float(text.removesuffix(unit)) * _UNITS[unit or "s"]
    except ValueError:
        raise BadSetting(f"{option} {text!r} is no time: write 0.05, 50ms or 2s") from None
