"""Our Buffer against a table of Node's answers, and against Python's own idea of bytes."""

import base64
import json
import math
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.contexts import Limits, Native, furnish, new_context

TABLE: list[tuple[str, str]] = [
    (expression, answer) for expression, answer in json.loads(Path(__file__).with_name("buffer_table.json").read_text())
]
NODE = shutil.which("node")

# What an expression gives, as text: JSON, "undefined", or "throws" and the kind of error.
ANSWER = """(expression) => {
  try {
    const value = (0, eval)(expression);
    return value === undefined ? "undefined" : JSON.stringify(value);
  } catch (error) {
    return "throws " + error.name;
  }
}"""


def with_buffer() -> Native:
    context = new_context(Limits(cpu_s=5.0))
    furnish(context, "Buffer")
    return context


CONTEXT = with_buffer()
ANSWER_OF = CONTEXT.eval(ANSWER)


def test_every_answer_is_that_of_node() -> None:
    wrong = [(expression, answer, ANSWER_OF(expression)) for expression, answer in TABLE]
    assert [entry for entry in wrong if entry[1] != entry[2]] == []
    assert len(TABLE) > 300


@pytest.mark.skipif(NODE is None, reason="node is not installed: the table is not compared with it today")
def test_the_table_is_what_node_says() -> None:
    script = (
        f"const answer = {ANSWER}; console.log(JSON.stringify({json.dumps([one for one, _ in TABLE])}.map(answer)))"
    )
    done = subprocess.run([NODE or "", "--no-deprecation", "-e", script], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [answer for _, answer in TABLE]


def value(expression: str) -> object:
    return json.loads(str(ANSWER_OF(expression)))


def listed(raw: bytes) -> str:
    return f"Buffer.from({list(raw)})"


@given(st.binary(max_size=40))
def test_text_and_back(raw: bytes) -> None:
    made = listed(raw)
    assert value(f"{made}.toString('hex')") == raw.hex()
    assert value(f"{made}.toString('base64')") == base64.b64encode(raw).decode()
    assert value(f"{made}.toString()") == raw.decode("utf-8", "replace")
    assert value(f"{made}.toString('latin1')") == raw.decode("latin-1")
    for encoding, text in (("hex", raw.hex().upper()), ("base64", base64.b64encode(raw).decode())):
        assert value(f"[...Buffer.from({json.dumps(text)}, '{encoding}')]") == list(raw)


@given(st.text(max_size=20))
def test_utf8_as_python_writes_it(text: str) -> None:
    assert value(f"[...Buffer.from({json.dumps(text)})]") == list(text.encode())


@given(st.binary(min_size=1, max_size=12), st.data())
def test_whole_numbers_are_read_as_python_reads_them(raw: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, min(6, len(raw))))
    at = data.draw(st.integers(0, len(raw) - size))
    part = raw[at : at + size]
    for order, name in (("big", "BE"), ("little", "LE")):
        for signed, kind in ((False, "UInt"), (True, "Int")):
            expected = int.from_bytes(part, "big" if order == "big" else "little", signed=signed)
            assert value(f"{listed(raw)}.read{kind}{name}({at}, {size})") == expected
            written = value(
                f"(b => {{ b.write{kind}{name}({expected}, 0, {size}); return [...b]; }})(Buffer.alloc({size}))"
            )
            assert written == list(part)


@given(st.binary(min_size=8, max_size=8))
def test_floats_are_read_as_python_reads_them(raw: bytes) -> None:
    for name, code, size in (("Float", "f", 4), ("Double", "d", 8)):
        for order, sign in (("BE", ">"), ("LE", "<")):
            (expected,) = struct.unpack(f"{sign}{code}", raw[:size])
            found = value(f"String({listed(raw)}.read{name}{order}())")
            assert isinstance(found, str)
            number = float(found.replace("Infinity", "inf"))
            assert number == expected or (math.isnan(number) and math.isnan(expected))


@given(st.lists(st.binary(max_size=5), max_size=4), st.integers(-6, 6), st.integers(-6, 6))
def test_parts_and_joins(parts: list[bytes], start: int, end: int) -> None:
    whole = b"".join(parts)
    assert value(f"[...Buffer.concat([{', '.join(map(listed, parts))}])]") == list(whole)
    low = max(0, len(whole) + start) if start < 0 else min(start, len(whole))
    high = max(0, len(whole) + end) if end < 0 else min(end, len(whole))
    assert value(f"[...{listed(whole)}.slice({start}, {end})]") == list(whole[low:high])
    for part in parts:
        if part:
            assert value(f"{listed(whole)}.indexOf({listed(part)})") == whole.find(part)


def test_a_part_shares_its_memory_as_in_node() -> None:
    assert value("(b => { b.subarray(1).fill(9); return [...b]; })(Buffer.from([1, 2, 3]))") == [1, 9, 9]


def test_nothing_but_buffer_is_there_beyond_ecmascript() -> None:
    context = with_buffer()
    names = "atob btoa performance queueMicrotask TextDecoder console require process setTimeout structuredClone"
    for name in names.split():
        assert context.eval(f"typeof {name}") == "undefined"
    assert context.eval("typeof Uint8Array.fromHex") == "undefined"
    assert context.eval("typeof Buffer") == "function"
