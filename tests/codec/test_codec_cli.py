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


def test_warnings_are_gathered_by_file_and_fail_nothing(tmp_path: Path) -> None:
    codecs = tmp_path / "vendors/acme/codecs"
    codecs.mkdir(parents=True)
    (codecs / "one.js").write_text("function decodeUplink(i) { return { data: { a: 1, b: 2 } } }")
    vectors = [
        {"name": f"v{n}", "input": {"bytes": [n], "fPort": 1}, "expected": {"data": {"b": 2, "a": 1}}} for n in range(3)
    ]
    (codecs / "test_decode_one.json").write_text(json.dumps(vectors))
    result = run("test", str(tmp_path))
    assert result.exit_code == 0
    warning, closing = result.stdout.splitlines()
    assert warning.startswith("WARN vendors/acme/codecs/test_decode_one.json: v0 and 2 more: key_order: ")
    assert closing == "3 passed, 0 failed"
    report = json.loads(run("test", str(tmp_path), "--json").stdout)
    assert (report["key_order"], report["script_failed"]) == (3, 0)
    assert report["warnings"][0]["vectors"] == ["v0", "v1", "v2"]
    assert [vector["module"]["output"] for vector in report["vectors"]] == ['{"data":{"a":1,"b":2}}'] * 3


def test_a_tree_without_vectors_says_so_and_closes_as_always(tmp_path: Path) -> None:
    result = run("test", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "0 passed, 0 failed\n")
    assert "there is no test_decode_" in result.stderr


def test_lint_tells_errors_and_exits_1(tree: Path) -> None:
    result = run("lint", str(tree))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith(" warnings")
    report = json.loads(run("lint", str(tree), "--json").stdout)
    assert report["errors"] == sum(finding["level"] == "error" for finding in report["findings"]) > 0
    assert run("lint", TREE).exit_code == 0


def test_decode_takes_time_variables_and_standard_input(tmp_path: Path) -> None:
    for folder in ("vendors/acme/devices", "vendors/acme/codecs", "quantities/acme"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "vendors/acme/devices/one.toml").write_text(
        '[device]\nname = "One"\n[[device.firmware]]\nversion = "1"\ncodec = "one.js"\n'
    )
    (tmp_path / "vendors/acme/codecs/one.js").write_text(
        "function decodeUplink(i) { return { data: { ms: i.recvTime.getTime(), site: i.variables.site } } }"
    )
    (tmp_path / "quantities/acme/one.toml").write_text('interval_s = 60\n[payload."one.js"]\n2 = [1]\n')
    question = ["decode", "acme/one", "-", "--port", "2", "--root", str(tmp_path), "--json"]
    asked = [*question, "--recv-time", "2025-01-01T00:00:00Z", "--variables", '{"site": "quay"}']
    result = CliRunner().invoke(profile_app, asked, input="0a\n")
    assert json.loads(result.stdout)["data"] == {"ms": 1735689600000, "site": "quay"}
    for wrong in (["--recv-time", "noon"], ["--variables", "[1]"], ["--variables", '{"a": 1}'], ["--variables", "{"]):
        assert CliRunner().invoke(profile_app, [*question, *wrong], input="0a").exit_code == 2
