from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from penstock.config import BadSetting, Origin, Settings, load, to_environment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "penstock.toml"
    path.write_text('grpc_port = 1\nhost = "file"\nlog_level = "debug"\n')
    return path


def test_defaults_are_used_when_nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings, origins = load({}, {})
    assert settings == Settings()
    assert {origin.source for origin in origins.values()} == {"default"}


def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(file: Path) -> None:
    environment = {"PENSTOCK_GRPC_PORT": "2", "PENSTOCK_HOST": "environment"}
    settings, origins = load({"grpc_port": 3, "host": None}, environment, file)
    assert (settings.grpc_port, settings.host, settings.log_level) == (3, "environment", "debug")
    assert origins["grpc_port"] == Origin(3, "flag")
    assert origins["host"] == Origin("environment", "environment")
    assert origins["log_level"] == Origin("debug", str(file))
    assert origins["gateways"] == Origin(1, "default")


def test_the_file_of_the_working_directory_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert load({}, {})[0].host == "file"


def test_the_environment_may_name_the_file(file: Path) -> None:
    assert load({}, {"PENSTOCK_CONFIG": str(file)})[0].host == "file"


@pytest.mark.parametrize("text", ["true", "1", "yes", "TRUE"])
def test_the_environment_says_yes_in_several_ways(text: str) -> None:
    assert load({}, {"PENSTOCK_INSECURE": text})[0].insecure is True


@pytest.mark.parametrize("text", ["false", "0", "no"])
def test_and_no(text: str) -> None:
    assert load({}, {"PENSTOCK_SPARE": text})[0].spare is False


@pytest.mark.parametrize(
    ("flags", "environment", "parts"),
    [
        ({}, {"PENSTOCK_GRPC_PORT": "many"}, ["PENSTOCK_GRPC_PORT", "grpc_port", "int", "'many'"]),
        ({"trace_ratio": "x"}, {}, ["--trace-ratio", "float"]),
        ({}, {"PENSTOCK_SPARE": "perhaps"}, ["PENSTOCK_SPARE", "bool"]),
        ({"gateways": 0}, {}, ["gateways", "at least 1", "flag"]),
        ({"grace": -1.0}, {}, ["grace", "at least 0"]),
        ({"grace": float("nan")}, {}, ["grace", "at least 0"]),
        ({"auth": "maybe"}, {}, ["auth", "off, keys", "maybe"]),
        ({}, {"PENSTOCK_BALANCER": "random"}, ["balancer", "round_robin", "environment"]),
        ({"grpc_port": 70000}, {}, ["grpc_port", "at most 65535"]),
        ({"trace_ratio": 1.5}, {}, ["trace_ratio", "at most 1"]),
        ({"grace": float("inf")}, {}, ["grace", "finite"]),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_where_it_stands(
    flags: dict[str, Any], environment: dict[str, str], parts: list[str]
) -> None:
    with pytest.raises(BadSetting) as refused:
        load(flags, environment)
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("grpc_prot = 1", ["grpc_prot", "did you mean 'grpc_port'"]),
        ("zzz = 1", ["unknown setting 'zzz'"]),
        ("grpc_port = 'x'", ["grpc_port", "int"]),
        ("grpc_port = true", ["grpc_port", "int"]),
        ("grpc_port = 1.5", ["grpc_port", "int"]),
        ("host = 5", ["host", "str"]),
        ("spare = 1", ["spare", "bool"]),
        ("[gateway]\nport = 1", ["unknown setting 'gateway'"]),
        ("grpc_port = ", ["cannot be read"]),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadSetting) as refused:
        load({}, {}, file)
    for part in [str(file), *parts]:
        assert part in str(refused.value)


def test_a_whole_number_is_a_number_of_seconds(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text("grace = 5")
    assert load({}, {}, file)[0].grace == 5.0


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"there is no file .*gone\.toml"):
        load({}, {}, tmp_path / "gone.toml")
    with pytest.raises(BadSetting, match=r"gone\.toml"):
        load({}, {"PENSTOCK_CONFIG": str(tmp_path / "gone.toml")})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadSetting, match="cannot be read"):
        load({}, {}, file)


def test_what_was_set_goes_on_to_children_and_is_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings, origins = load({"grpc_port": 7, "spare": False, "data_dir": Path("/x"), "grace": 2.5}, {})
    environment = to_environment(settings, origins)
    assert environment.keys() == {f"PENSTOCK_{k}" for k in ("GRPC_PORT", "SPARE", "DATA_DIR", "GRACE")}
    assert load({}, environment)[0] == settings


def test_every_setting_says_what_it_is() -> None:
    assert all(field.metadata["about"] for field in fields(Settings))
