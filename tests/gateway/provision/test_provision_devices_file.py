"""The installer's list: what is read, what is refused with its place, and that no key is ever quoted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provision.devices_file import NO_JOIN_EUI, DevicesFileError, is_private, read_devices

KEY = "00112233445566778899aabbccddeeff"
OTHER_KEY = "ffeeddccbbaa99887766554433221100"
HEAD = "dev_eui,join_eui,app_key,model,name,place"


def written(tmp_path: Path, text: str, name: str = "devices.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str, name: str = "devices.csv") -> list[str]:
    with pytest.raises(DevicesFileError) as refused:
        read_devices(written(tmp_path, text, name))
    return refused.value.problems


def test_a_csv_list_is_read_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    row = f"A8-40-41-FF-FF-00-00-01;a84041 0000000100;{KEY.upper()};dragino/ldds75;Cống số 1;Thôn Đông"
    [device] = read_devices(written(tmp_path, "\ufeff" + HEAD.replace(",", ";") + "\r\n" + row + "\r\n;;;;;\r\n"))
    assert device.dev_eui == "a84041ffff000001"
    assert device.join_eui == "a840410000000100"
    assert device.app_key is not None
    assert device.app_key.hex == KEY
    assert (device.model, device.name, device.place) == ("dragino/ldds75", "Cống số 1", "Thôn Đông")


def test_a_toml_list_says_the_same(tmp_path: Path) -> None:
    text = f'[[device]]\ndev_eui = "A84041FFFF000001"\napp_key = "{KEY}"\nmodel = "dragino/ldds75"\ninterval_s = 600\n'
    [device] = read_devices(written(tmp_path, text, "devices.toml"))
    assert (device.dev_eui, device.interval_s, device.join_eui) == ("a84041ffff000001", 600.0, NO_JOIN_EUI)


def test_every_slip_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    rows = [
        f"A84041FFFF00001,,{KEY},dragino/ldds75,,",
        f"A84041FFFF000002,,{KEY[:-1]},dragino/ldds75,,",
        "A84041FFFF000003,,,,,",
        f"A84041FFFF000004,,{KEY},dragino/ldds75,,",
        f"A84041FFFF000004,,{OTHER_KEY},dragino/ldds75,,",
    ]
    found = problems(tmp_path, "\n".join([HEAD, *rows]))
    assert [problem.split(":")[0] for problem in found] == ["line 2", "line 3", "line 4", "line 6"]
    assert "is not 16 hex digits" in found[0]
    assert "app_key is not 32 hex digits (it has 31 characters)" in found[1]
    assert "model is empty" in found[2]
    assert "stands in line 5 already" in found[3]


def test_a_number_that_a_spreadsheet_made_is_explained(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, f"{HEAD}\n8.4E+15,,{KEY},dragino/ldds75,,")
    assert "format the column as text" in problem


def test_two_devices_with_one_key_are_a_copied_line(tmp_path: Path) -> None:
    rows = [f"A84041FFFF00000{n},,{KEY},dragino/ldds75,," for n in (1, 2)]
    [problem] = problems(tmp_path, "\n".join([HEAD, *rows]))
    assert "has the same app_key as a84041ffff000001" in problem


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "column 'dev_eui' is missing"),
        ("dev_eui,model,serial\n", "unknown column 'serial'"),
        ("dev_eui,model,model\n", "column 'model' stands there twice"),
        ("dev_eui,model\na,b,c\n", "line 2: 3 cells, the first line names 2"),
    ],
)
def test_a_file_that_is_no_list_says_what_is_wrong(tmp_path: Path, text: str, cause: str) -> None:
    assert cause in problems(tmp_path, text)[0]


@pytest.mark.parametrize("text", ["devices = 1", '[[device]]\nserial = "x"', "device = [1]", "[[device"])
def test_a_toml_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text, "devices.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevicesFileError, match="there is no such file"):
        read_devices(tmp_path / "none.csv")


@pytest.mark.parametrize("column", ["dev_eui", "join_eui", "model", "name", "place"])
def test_a_key_in_the_wrong_column_is_not_quoted(tmp_path: Path, column: str) -> None:
    fields = {"dev_eui": "A84041FFFF000001", "join_eui": "", "app_key": "", "model": "a/b", "name": "", "place": ""}
    [problem] = problems(tmp_path, f"{HEAD}\n{','.join((fields | {column: KEY}).values())}")
    assert KEY not in problem
    assert "is this the key" in problem


def test_a_device_and_its_key_print_without_the_key(tmp_path: Path) -> None:
    [device] = read_devices(written(tmp_path, f"{HEAD}\nA84041FFFF000001,,{KEY},dragino/ldds75,,"))
    shown = f"{device!r} {device.app_key} {device.app_key!r} {[device.app_key]}"
    assert KEY not in shown.lower()


def test_only_a_private_file_counts_as_private(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD)
    path.chmod(0o644)
    assert not is_private(path)
    path.chmod(0o600)
    assert is_private(path)


@given(text=st.text(max_size=300), toml=st.booleans())
def test_any_text_is_a_list_or_a_clear_refusal(tmp_path_factory: pytest.TempPathFactory, text: str, toml: bool) -> None:
    path = tmp_path_factory.mktemp("lists") / ("d.toml" if toml else "d.csv")
    path.write_bytes((HEAD + "\n" if not toml else "").encode() + text.encode("utf-8", "surrogatepass"))
    with suppress(DevicesFileError):  # any other exception would fail the test
        assert len(read_devices(path)) <= text.count("\n") + 1


def test_the_sample_list_is_read() -> None:
    sample = Path(__file__).parents[3] / "samples" / "devices.csv"
    assert [device.model for device in read_devices(sample)] == ["dragino/ldds75", "dragino/wqs-lb@1.3.1"]
