"""The bundled codecs against their vectors, and their promises for every byte string."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import device_profiles
from codec.engine import Decoded, Engine, Limits
from codec.errors import DecodeError
from codec.profiles import ProfileLibrary
from codec.quantities import check_payload, read_history, read_quantities
from codec.vectors import Outcome, run_tree, same
from wire.reading import Undecoded

TREE = Path(device_profiles.__path__[0])
LIBRARY = ProfileLibrary()
NAMES = LIBRARY.names()
OUTCOMES = list(run_tree(TREE))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: f"{Path(outcome.file).stem}: {outcome.name}")
def test_vector(outcome: Outcome) -> None:
    assert outcome.problem == ""


def test_every_codec_has_vectors() -> None:
    codecs = {path.stem for path in TREE.glob("vendors/*/codecs/*.js")}
    assert codecs == {Path(outcome.file).stem.removeprefix("test_decode_") for outcome in OUTCOMES}


@pytest.mark.parametrize("path", sorted(TREE.glob("vendors/*/codecs/*.js")), ids=lambda path: path.stem)
def test_a_codec_gives_the_same_as_sloppy_script(path: Path) -> None:
    import _quickjs

    context = _quickjs.Context()
    context.eval(path.read_text() + ";var call = (text) => JSON.stringify(decodeUplink(JSON.parse(text)));")
    call = context.get("call")
    for vector in json.loads(path.with_name(f"test_decode_{path.stem}.json").read_text()):
        assert same(json.loads(call(json.dumps(vector["input"]))), vector["expected"]), vector["name"]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_the_vectors_is_a_quantity_or_declared_metadata(name: str) -> None:
    profile = LIBRARY.profile(name)
    vendor, codec = profile.codec.partition("@")[0].split("/")
    known = {rule.field for rule in profile.overlay.quantities}
    vectors = TREE / "vendors" / vendor / "codecs" / f"test_decode_{codec}.json"
    for vector in json.loads(vectors.read_text()):
        data = vector["expected"].get("data", {})
        past = [field for record in data.get("history", []) for field in record["data"]]
        for field in [*data, *past]:
            assert field in known or LIBRARY.is_metadata(name, field), field


@pytest.mark.parametrize("name", NAMES)
def test_the_lengths_of_the_quantities_file_allow_every_vector_that_decodes(name: str) -> None:
    profile = LIBRARY.profile(name)
    vendor, codec = profile.codec.partition("@")[0].split("/")
    vectors = TREE / "vendors" / vendor / "codecs" / f"test_decode_{codec}.json"
    for vector in json.loads(vectors.read_text()):
        if "data" in vector["expected"]:
            check_payload(bytes(vector["input"]["bytes"]), vector["input"]["fPort"], profile.overlay)


PASSED_ON = {"dragino/rs485-lb", "dragino/sdi-12-lb", "dragino/lht65n"}
ENGINES = {name: Engine(LIBRARY.profile(name).script or "", Limits()) for name in NAMES}


def decode_or_refusal(engine: Engine, raw: bytes, f_port: int) -> Decoded | DecodeError:
    try:
        return engine.decode(raw, f_port, 0)
    except DecodeError as error:
        return error


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=60), f_port=st.sampled_from([1, 2, 3, 5, 7, 85]))
def test_no_bytes_crash_a_codec_or_yield_a_number_that_is_none(name: str, raw: bytes, f_port: int) -> None:
    check_promises(name, raw, f_port)


def good_frames(name: str) -> list[tuple[int, bytes]]:
    """The port and bytes of every vector of a profile's codec."""
    vendor, codec = LIBRARY.profile(name).codec.partition("@")[0].split("/")
    vectors = json.loads((TREE / "vendors" / vendor / "codecs" / f"test_decode_{codec}.json").read_text())
    return [(vector["input"]["fPort"], bytes(vector["input"]["bytes"])) for vector in vectors]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_mixture_of_its_own_frames_makes_a_codec_stumble(name: str, data: st.DataObject) -> None:
    """Random bytes seldom get past the first item: these are joined, cut and changed from frames that are known."""
    frames = good_frames(name)
    f_port = data.draw(st.sampled_from(sorted({port for port, _ in frames})))
    raw = bytearray(b"".join(data.draw(st.lists(st.sampled_from([raw for _, raw in frames]), min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(0, 3)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check_promises(name, bytes(raw[: data.draw(st.integers(0, len(raw)))]), f_port)


def check_promises(name: str, raw: bytes, f_port: int) -> None:
    """A codec refuses by its own words, or gives finite numbers; records of its memory too."""
    decoded = decode_or_refusal(ENGINES[name], raw, f_port)
    if isinstance(decoded, DecodeError):
        assert decoded.reason is Undecoded.CODEC_ERROR  # the codec refused by its own words
        assert "Error" not in decoded.message  # and did not stumble
        return
    overlay = LIBRARY.profile(name).overlay
    quantities, _ = read_quantities(decoded.data, overlay)
    past = read_history(decoded.data, overlay, 4_000_000_000_000)
    for quantity in [*quantities, *(quantity for record in past for quantity in record.quantities)]:
        assert (quantity.value is not None) == quantity.quality.has_value
        assert quantity.value is None or math.isfinite(quantity.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_of_a_good_frame_is_refused_or_is_a_frame_of_its_own(name: str) -> None:
    profile = LIBRARY.profile(name)
    vendor, codec = profile.codec.partition("@")[0].split("/")
    vectors = TREE / "vendors" / vendor / "codecs" / f"test_decode_{codec}.json"
    for vector in json.loads(vectors.read_text()):
        whole = vector["expected"].get("data")
        if whole is None:
            continue
        for size in range(len(vector["input"]["bytes"])):
            raw = bytes(vector["input"]["bytes"][:size])
            try:
                part = ENGINES[name].decode(raw, vector["input"]["fPort"], 0)
            except DecodeError:
                continue
            # Only items that describe themselves, and what a bridge passes on, have shorter frames that are whole.
            assert name.startswith(("milesight/", "sensecap/")) or name.partition("@")[0] in PASSED_ON
            assert set(part.data) <= {*whole, "payload_text"}
