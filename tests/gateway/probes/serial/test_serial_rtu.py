"""Frames: what a line's bytes are, whatever stands around them, and however they come in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.probes.serial.rtu import Request, crc16, hear

ASKED = Request(address=7, function=3, register=16, count=2)
GOOD = bytes.fromhex("07030402c8011d")
GOOD += crc16(GOOD).to_bytes(2, "little")


def test_the_crc_is_that_of_the_standard() -> None:
    # Modbus over serial line V1.02, 6.2.2 (appendix B): 02 07 gives 41 12 on the wire.
    assert crc16(bytes.fromhex("0207")).to_bytes(2, "little") == bytes.fromhex("4112")


@given(st.integers(0, len(GOOD) - 1))
def test_a_beginning_is_never_an_answer(size: int) -> None:
    heard = hear(GOOD[:size], ASKED)
    assert not heard.frames
    assert heard.cut == (size > 0)


@given(st.integers(0, 8 * len(GOOD) - 1))
def test_a_flipped_bit_is_never_an_answer(bit: int) -> None:
    raw = bytearray(GOOD)
    raw[bit // 8] ^= 1 << bit % 8
    assert not hear(bytes(raw), ASKED).answers(ASKED)


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_the_answer_is_found_in_noise(before: bytes, behind: bytes) -> None:
    heard = hear(before + GOOD + behind, ASKED)
    assert [frame.data.hex() for frame in heard.answers(ASKED)] == ["02c8011d"]


@given(st.binary(max_size=600))
def test_noise_alone_never_raises(raw: bytes) -> None:
    assert hear(raw, ASKED).noise <= len(raw)


def test_our_own_echo_is_no_answer() -> None:
    heard = hear(ASKED.frame, ASKED)
    assert (heard.echo, heard.frames, heard.noise) == (True, (), 0)


def test_two_answers_are_both_there() -> None:
    assert len(hear(GOOD + GOOD, ASKED).answers(ASKED)) == 2
