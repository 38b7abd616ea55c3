"""Profile files: names, identities, and errors that say where."""

import shutil
import tomllib
import uuid
from pathlib import Path

import pytest

import device_profiles
from codec.errors import ProfileError
from codec.profiles import ProfileLibrary, codec_id

TREE = Path(device_profiles.__path__[0])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part in ("vendors", "quantities"):
        shutil.copytree(TREE / part, tmp_path / part)
    return tmp_path


def test_the_last_firmware_is_the_default() -> None:
    library = ProfileLibrary()
    assert library.profile("dragino/wqs-lb").name == "dragino/wqs-lb@1.3.1"
    assert library.profile("dragino/wqs-lb@1.0").firmware == "1.0"


def test_every_bundled_profile_loads_with_a_codec_and_quantities() -> None:
    library = ProfileLibrary()
    assert len({name.partition("@")[0] for name in library.names()}) >= 20
    for name in library.names():
        profile = library.profile(name)
        vendor, codec = profile.codec.partition("@")[0].split("/")
        assert profile.codec == codec_id(vendor, codec, profile.script or "")
        assert profile.overlay.quantities or profile.device_map == "required"
        assert profile.interval_s > 0


def test_every_quantity_of_the_library_says_where_its_facts_come_from() -> None:
    library = ProfileLibrary()
    for name in library.names():
        for rule in library.profile(name).overlay.quantities:
            assert rule.source, (name, rule.name)
            assert not rule.calibration_days or rule.calibration, (name, rule.name)


def test_the_vendor_lists_name_exactly_the_devices_there_are() -> None:
    for path in sorted(TREE.glob("vendors/*/vendor.toml")):
        listed = tomllib.loads(path.read_text())["vendor"]["devices"]
        assert listed == sorted(file.name for file in path.parent.glob("devices/*.toml")), path


def test_every_identity_is_a_uuid_of_its_own_and_every_profile_is_of_this_country() -> None:
    seen: list[str] = []
    for path in [*TREE.glob("vendors/*/vendor.toml"), *TREE.glob("vendors/*/*/*.toml")]:
        table = next(iter(tomllib.loads(path.read_text()).values()))
        seen.append(str(uuid.UUID(table["id"])))
        assert path.parent.name != "profiles" or table["region"] == "AS923-2"
    assert len(seen) == len(set(seen))
    assert str(uuid.UUID(int=0)) not in seen


def test_membership_knows_devices_and_firmware() -> None:
    library = ProfileLibrary()
    assert "dragino/ldds75" in library
    assert "dragino/wqs-lb@1.2" in library
    assert "dragino/wqs-lb@9" not in library
    assert "dragino/nothing" not in library


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("quantities/dragino/ldds75.toml", "interval_s", "interval_sec", "interval_sec"),
        ("quantities/dragino/ldds75.toml", "absent_if", "absent_iff", "absent_iff"),
        ("quantities/dragino/ldds75.toml", '"no_sensor"', '"nosensor"', "quality"),
        ("quantities/dragino/ldds75.toml", "2 = [8]", "two = [8]", "payload"),
        ("quantities/dragino/ldds75.toml", "2 = [8]", "2 = [", "ldds75.toml"),
        ("quantities/dragino/ldds75.toml", '"ldds75.js"', '"other.js"', 'payload."ldds75.js"'),
        ("vendors/dragino/devices/ldds75.toml", "version", "versoin", "versoin"),
        ("vendors/dragino/devices/ldds75.toml", '"ldds75.js"', '"missing.js"', "missing.js"),
        ("vendors/dragino/devices/ldds75.toml", 'name = "LDDS75"', "name = 75", "name"),
    ],
)
def test_a_bad_file_is_an_error_naming_file_and_key(tree: Path, file: str, old: str, new: str, says: str) -> None:
    edit(tree / file, old, new)
    with pytest.raises(ProfileError) as caught:
        ProfileLibrary(tree).profile("dragino/ldds75")
    assert "ldds75.toml" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["", "ldds75", "../x/y", "dragino/../ldds75", "dragino/", "a/b/c", "dragino/ldds75@7"])
def test_a_name_that_is_no_profile_is_refused(name: str) -> None:
    with pytest.raises(ProfileError):
        ProfileLibrary().profile(name)


def test_the_library_hash_changes_with_any_codec_or_quantity(tree: Path) -> None:
    before = ProfileLibrary(tree).library_hash
    assert before == ProfileLibrary(TREE).library_hash
    edit(tree / "quantities/dragino/ldds75.toml", "max = 7500", "max = 7501")
    after = ProfileLibrary(tree).library_hash
    assert after != before
    edit(tree / "vendors/dragino/codecs/ldds75.js", "1000", "1001")
    assert ProfileLibrary(tree).library_hash not in {before, after}


def test_check_finds_a_bad_file_before_its_first_frame(tree: Path) -> None:
    edit(tree / "quantities/dragino/ldds75.toml", "interval_s", "interval")
    library = ProfileLibrary(tree)
    library.check(["dragino/wqs-lb"])
    with pytest.raises(ProfileError):
        library.check()
