"""The engine's limits and its mapping of what codecs do wrong."""

import pytest

from codec.engine import Engine, Limits
from codec.errors import DecodeError
from wire.reading import Undecoded


def engine(body: str, **limits: int) -> Engine:
    return Engine(f"function decodeUplink(input) {{ {body} }}", Limits(**limits))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("while (true) {}", Undecoded.CODEC_LIMIT),
        ("try { while (true) {} } catch (e) { while (true) {} }", Undecoded.CODEC_LIMIT),
        ("return /(a+)+$/.test('a'.repeat(40) + 'b')", Undecoded.CODEC_LIMIT),
        ("const all = []; for (;;) all.push(new Array(1000).fill(1))", Undecoded.CODEC_LIMIT),
        ("const f = () => f() + 1; return f()", Undecoded.CODEC_LIMIT),
        ("JSON.parse('['.repeat(1e5))", Undecoded.CODEC_LIMIT),
        ("throw { toString() { while (true) {} } }", Undecoded.CODEC_LIMIT),
        ("return { data: { toJSON() { while (true) {} } } }", Undecoded.CODEC_LIMIT),
        ("return { data: { x: 'x'.repeat(1e5) } }", Undecoded.BAD_OUTPUT),
        ("return 7", Undecoded.BAD_OUTPUT),
        ("return undefined", Undecoded.BAD_OUTPUT),
        ("return {}", Undecoded.BAD_OUTPUT),
        ("return { data: [] }", Undecoded.BAD_OUTPUT),
        ("return { data: {}, warnings: 'no list' }", Undecoded.BAD_OUTPUT),
        ("return { data: { x: 1n } }", Undecoded.CODEC_ERROR),
        ("throw null", Undecoded.CODEC_LIMIT),
        ("throw new Error('no')", Undecoded.CODEC_ERROR),
        ("undeclared = 1", Undecoded.CODEC_ERROR),  # strict: an ES module, as in ChirpStack
        ("return { data: {}, errors: ['no'] }", Undecoded.CODEC_ERROR),
        ("syntax error", Undecoded.CODEC_ERROR),
    ],
)
def test_a_codec_gone_wrong_is_a_decode_error_with_its_reason(body: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        engine(body).decode(b"\x01", 1, 0)
    assert caught.value.reason is reason
    assert len(caught.value.message) <= 400


def test_a_script_without_decode_uplink_is_a_codec_error() -> None:
    with pytest.raises(DecodeError) as caught:
        Engine("var nothing = 1", Limits()).decode(b"\x01", 1, 0)
    assert caught.value.reason is Undecoded.CODEC_ERROR


def test_the_input_carries_bytes_port_and_a_date() -> None:
    body = "return { data: { sum: input.bytes[0] + input.bytes[1], port: input.fPort, ms: input.recvTime.getTime() } }"
    decoded = engine(body).decode(b"\x00\xff", 7, 1_755_636_688_000)
    assert decoded.data == {"sum": 255, "port": 7, "ms": 1_755_636_688_000}


def test_every_frame_meets_the_codec_as_if_it_were_the_first() -> None:
    counting = Engine(
        "let n = 0; const seen = []; function decodeUplink(input) {"
        " n++; seen.push(1); decodeUplink.calls = (decodeUplink.calls || 0) + 1;"
        " if (input.bytes[0]) throw new Error('no');"
        " return { data: { n, seen: seen.length, calls: decodeUplink.calls } } }",
        Limits(),
    )
    first = {"n": 1, "seen": 1, "calls": 1}
    assert [counting.decode(b"\0", 1, 0).data for _ in range(2)] == [first, first]
    with pytest.raises(DecodeError):
        counting.decode(b"\1", 1, 0)
    assert counting.decode(b"\0", 1, 0).data == first
    assert not counting.alone


def test_a_leak_of_earlier_frames_does_not_fail_a_later_one() -> None:
    leaking = Engine(
        "const kept = []; function decodeUplink() {"
        " kept.push(new Array(1e5).fill(1)); return { data: { n: kept.length } } }",
        Limits(memory_bytes=8 << 20),
    )
    counts = [leaking.decode(b"\0", 1, 0).data["n"] for _ in range(30)]
    assert len(counts) == 30
    assert max(counts) < 30


def test_warnings_are_kept_short() -> None:
    decoded = engine("return { data: {}, warnings: new Array(100).fill('w'.repeat(500)) }").decode(b"\1", 1, 0)
    assert decoded.warnings == ("w" * 200,) * 8
