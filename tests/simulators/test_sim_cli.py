"""The command line: readable by people and by programs, refusing nonsense."""

import json

import pytest
import typer
from typer.testing import CliRunner

from simulators.cli import parse_broker, sim_app, speed_for
from simulators.commune import build_commune

runner = CliRunner()


def output(*arguments: str) -> str:
    result = runner.invoke(sim_app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", ["commune", "events", "run", "flood"])
def test_help_is_complete(command: str) -> None:
    assert command in output("--help")
    assert "Usage" in output(command, "--help")


def test_commune_as_json() -> None:
    value = json.loads(output("commune", "--json"))
    assert value["simulated"] is True
    assert len(value["devices"]) == 36
    assert len(value["units"]) == 8


def test_commune_as_text_says_that_it_is_simulated() -> None:
    text = output("commune")
    assert "simulated" in text
    assert len(text.splitlines()) == 38


def test_events_as_json_lines() -> None:
    lines = [json.loads(line) for line in output("events", "--hours", "0.5", "--json").splitlines()]
    assert {"publishAtMs", "gateway", "topic", "repeated", "payload"} == lines[0].keys()
    assert any(line["topic"].endswith("/event/up") for line in lines)
    assert lines[-1]["payload"]["deviceInfo"]["tags"]["simulated"] == "true"


def test_events_as_text_and_protobuf() -> None:
    assert "distance_mm=" in output("events", "--hours", "0.5")
    line = json.loads(output("events", "--hours", "0.5", "--json", "--protobuf").splitlines()[0])
    assert isinstance(line["payload"], str)


def test_same_command_same_output() -> None:
    arguments = ("events", "--hours", "1", "--seed", "3", "--loss", "0.2", "--json")
    assert output(*arguments) == output(*arguments)


def test_unknown_gateway_is_named() -> None:
    result = runner.invoke(sim_app, ["flood", "--broker", "127.0.0.1:1", "--gateway", "nowhere"])
    assert result.exit_code == 2
    assert "nowhere" in result.output


def test_unreachable_broker_ends_with_1() -> None:
    result = runner.invoke(sim_app, ["flood", "--broker", "127.0.0.1:1", "--count", "1"])
    assert result.exit_code == 1


@pytest.mark.parametrize(("text", "expected"), [("localhost:1883", ("localhost", 1883)), ("[::1]:1883", ("::1", 1883))])
def test_broker_address(text: str, expected: tuple[str, int]) -> None:
    assert parse_broker(text) == expected


@pytest.mark.parametrize("text", ["localhost", ":1883", "host:0", "host:99999", "host:x"])
def test_wrong_broker_address_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="HOST:PORT"):
        parse_broker(text)


def test_rate_chooses_the_speed() -> None:
    commune = build_commune(1)
    natural = sum(1 / device.interval_s for _, device in commune.devices())
    assert speed_for(commune, natural * 100, None) == pytest.approx(100)
    assert speed_for(commune, natural, "gw-sim-1") > 1
