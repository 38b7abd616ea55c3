"""`xom profile` as a person and as a program see it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import device_profiles
from codec.cli import profile_app

TREE = str(device_profiles.__path__[0])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(profile_app, list(arguments))


def test_the_bundled_tree_passes_its_vectors() -> None:
    result = run("test", TREE)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith(" passed, 0 failed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    codecs = tmp_path / "vendors/acme/codecs"
    codecs.mkdir(parents=True)
    (codecs / "one.js").write_text(
        "function decodeUplink(i) { return { data: { n: i.bytes.length, at: i.recvTime } } }"
        " function encodeDownlink(i) { return { bytes: [i.data.n], fPort: 1 } }"
    )
    vectors = [
        {"name": "good", "input": {"bytes": [1], "fPort": 1}, "expected": {"data": {"n": 1.0}}},
        {"name": "true is not 1", "input": {"bytes": [1], "fPort": 1}, "expected": {"data": {"n": True}}},
        {
            "name": "date",
            "input": {"bytes": [], "fPort": 1, "recvTime": "2025-01-01T00:00:00.000Z"},
            "expected": {"data": {"at": "2025-01-01T00:00:00.000Z", "n": 0}},
        },
    ]
    (codecs / "test_decode_one.json").write_text(json.dumps(vectors))
    encode = [{"name": "encode", "input": {"data": {"n": 3}}, "expected": {"fPort": 1, "bytes": [3]}}]
    (codecs / "test_encode_one.json").write_text(json.dumps(encode))
    (codecs / "test_decode_gone.json").write_text("[]")
    return tmp_path


def test_failures_are_told_and_exit_1(tree: Path) -> None:
    result = run("test", str(tree))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "3 passed, 2 failed"
    assert "true is not 1" in result.stdout


def test_the_report_as_json(tree: Path) -> None:
    report = json.loads(run("test", str(tree), "--json").stdout)
    assert (report["passed"], report["failed"]) == (3, 2)
    assert [Path(failure["file"]).name for failure in report["failures"]] == [
        "test_decode_gone.json",
        "test_decode_one.json",
    ]


def test_list_and_show() -> None:
    assert "dragino/wqs-lb@1.3.1" in run("list").stdout.splitlines()
    assert len(json.loads(run("list", "--json").stdout)["library_hash"]) == 64
    assert "water_distance" in run("show", "dragino/ldds75").stdout
    assert json.loads(run("show", "dragino/ldds75", "--json").stdout)["firmware"] == "1.0"
    assert run("show", "dragino/nothing").exit_code == 2


def test_decode_a_frame_by_hand() -> None:
    result = run("decode", "dragino/ldds75", "0d0a001400000001", "--port", "2", "--json")
    assert json.loads(result.stdout)["quantities"][0] == {
        "name": "water_distance",
        "unit": "mm",
        "value": None,
        "quality": "invalid",
    }
    assert "water_distance" in run("decode", "dragino/ldds75", "0d0a07e900000001", "--port", "2").stdout
    assert run("decode", "dragino/ldds75", "0d0a", "--port", "2").exit_code == 1
    assert run("decode", "dragino/ldds75", "zz", "--port", "2").exit_code == 2
