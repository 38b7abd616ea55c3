"""`xom profile lint`: each trap of ChirpStack's importer, in a tree that is right but for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import device_profiles
from codec.lint import Finding, lint_tree

TREE = Path(device_profiles.__path__[0])
DEVICE = "vendors/dragino/devices/ldds75.toml"
VENDOR = "vendors/dragino/vendor.toml"
PROFILE = "vendors/dragino/profiles/AS923-2_1_0_3.toml"
QUANTITIES = "quantities/dragino/ldds75.toml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part in ("vendors", "quantities"):
        shutil.copytree(TREE / part, tmp_path / part)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def rules(findings: list[Finding], level: str) -> set[tuple[str, str]]:
    return {(finding.file, finding.rule) for finding in findings if finding.level == level}


KNOWN = rules(lint_tree(TREE), "warning")


def test_our_own_tree_has_no_error() -> None:
    assert rules(lint_tree(TREE), "error") == set()
    assert {rule for _, rule in KNOWN} <= {"uplink_interval"}


NIL = "00000000-0000-0000-0000-000000000000"
EDITS: list[tuple[str, str, str, tuple[str, str, str]]] = [
    (DEVICE, "id =", "#", ("error", DEVICE, "no_id")),
    (DEVICE, '"2cb2f3ad-8f8d-40a0-8549-2658bdc3cf8f"', '"2cb2"', ("error", DEVICE, "bad_id")),
    (
        DEVICE,
        "2cb2f3ad-8f8d-40a0-8549-2658bdc3cf8f",
        "00000000-0000-0000-0000-000000000000",
        ("error", DEVICE, "no_id"),
    ),
    (VENDOR, "id =", "#", ("error", VENDOR, "no_id")),
    (PROFILE, "id =", "#", ("error", PROFILE, "no_id")),
    (VENDOR, '"ldds75.toml",', "", ("warning", VENDOR, "device_unlisted")),
    (VENDOR, '"ldds75.toml",', '"ldds75.toml", "x.toml",', ("error", VENDOR, "device_missing")),
    (VENDOR, "a84041", "a8404", ("error", VENDOR, "oui")),
    (VENDOR, "vendor_id = 0", 'vendor_id = "0"', ("error", VENDOR, "unreadable")),
    (DEVICE, "[device]", "[device", ("error", DEVICE, "unreadable")),
    (DEVICE, '"ldds75.js"', '"x.js"', ("error", DEVICE, "codec_missing")),
    (DEVICE, 'codec = "ldds75.js"', "", ("warning", DEVICE, "no_codec")),
    (DEVICE, '["AS923-2_1_0_3.toml"]', '["x.toml"]', ("error", DEVICE, "profile_missing")),
    (DEVICE, '["AS923-2_1_0_3.toml"]', "[]", ("error", DEVICE, "no_profile")),
    (DEVICE, '["AS923-2_1_0_3.toml"]', '["AS923-2_1_0_3.toml", "again.toml"]', ("error", DEVICE, "region_twice")),
    (PROFILE, 'region = "AS923-2"', 'region = "AS924"', ("error", PROFILE, "region")),
    (PROFILE, 'region = "AS923-2"', 'region = "EU868"', ("warning", DEVICE, "no_as923_2")),
    (PROFILE, '"1.0.3"', '"1.0.9"', ("error", PROFILE, "mac_version")),
    (PROFILE, '"RP002-1.0.0"', '"C"', ("error", PROFILE, "reg_params_revision")),
    (PROFILE, "rx1_delay = 0", "rx1_delay = 16", ("error", PROFILE, "unreadable")),
    (PROFILE, "supports_class_b = false", "supports_class_b = true", ("warning", PROFILE, "ping_slot")),
    (PROFILE, "max_eirp = 16", "max_eirp = 20", ("warning", PROFILE, "max_eirp")),
    (QUANTITIES, 'unit = "mm"', 'unit = "millimetre"', ("error", QUANTITIES, "unit")),
    (QUANTITIES, 'field = "distance_mm"', 'field = "distance"', ("warning", QUANTITIES, "field_without_quantity")),
    (QUANTITIES, "interval_s", "interval", ("error", DEVICE, "quantities")),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), EDITS, ids=[f"{e[3][2]} {e[2][:12]}" for e in EDITS])
def test_each_trap_is_found(tree: Path, file: str, old: str, new: str, expected: tuple[str, str, str]) -> None:
    again = (tree / PROFILE).read_text().replace("e05b0a8e", "e05b0a8f")
    (tree / PROFILE).with_name("again.toml").write_text(again)
    edit(tree / file, old, new)
    level, *where = expected
    assert tuple(where) in rules(lint_tree(tree), level) - KNOWN


def without(name: str) -> Callable[[Path], None]:
    return lambda tree: (tree / name).unlink()


def twice(tree: Path) -> None:
    text = (tree / "vendors/dragino/devices/wqs-lb.toml").read_text().splitlines()[1]
    edit(tree / DEVICE, next(line for line in (tree / DEVICE).read_text().splitlines() if " id =" in line), text)


def encoder(tree: Path) -> None:
    path = tree / "vendors/dragino/codecs/ldds75.js"
    path.write_text(path.read_text() + "\nfunction encodeDownlink(input) { return { bytes: [] }; }\n")


def stray(tree: Path) -> None:
    (tree / "vendors/other/devices").mkdir(parents=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without("vendors/dragino/codecs/test_decode_ldds75.json"),
         ("warning", "vendors/dragino/codecs/ldds75.js", "no_vectors")),
        (without("vendors/dragino/codecs/ldds75.js"),
         ("error", "vendors/dragino/codecs/test_decode_ldds75.json", "vectors")),
        (without(DEVICE), ("warning", QUANTITIES, "no_device")),
        (without("vendors/decentlab/devices/dl-mbx.toml"),
         ("warning", "vendors/decentlab/codecs/dl-mbx.js", "codec_unused")),
        (twice, ("error", "vendors/dragino/devices/wqs-lb.toml", "id_twice")),
        (encoder, ("warning", "vendors/dragino/codecs/ldds75.js", "no_encode_vectors")),
        (stray, ("error", "vendors/other", "no_vendor_file")),
    ],
)  # fmt: skip
def test_missing_and_doubled_files_are_found(
    tree: Path, change: Callable[[Path], None], expected: tuple[str, str, str]
) -> None:
    change(tree)
    level, *where = expected
    assert tuple(where) in rules(lint_tree(tree), level) - KNOWN


def test_a_vendor_tree_alone_is_not_asked_for_our_quantities(tree: Path) -> None:
    shutil.rmtree(tree / "quantities")
    edit(tree / PROFILE, 'region = "AS923-2"', 'region = "EU868"')
    assert lint_tree(tree) == []
    assert lint_tree(tree / "vendors") == []


def test_the_example_vendor_is_passed_over_as_by_the_importer(tree: Path) -> None:
    shutil.move(tree / "vendors/dragino", tree / "vendors/example-vendor")
    shutil.rmtree(tree / "quantities")
    (tree / "vendors/example-vendor/vendor.toml").write_text("[vendor")
    assert rules(lint_tree(tree), "error") == set()
