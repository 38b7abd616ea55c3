"""`xom profile test` on trees of other people: every way a codec or its vectors may be odd, one codec each."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.compare import difference, same
from codec.vectors import Outcome, run_tree


class Tree:
    """A vendor's tree being written: a codec with its vectors at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.codecs = root / "vendors/acme/codecs"
        self.codecs.mkdir(parents=True)

    def codec(self, name: str, script: str, *vectors: object, encode: bool = False) -> None:
        (self.codecs / f"{name}.js").write_text(script)
        self.vectors(name, json.dumps(vectors).encode(), encode=encode)

    def vectors(self, name: str, content: bytes, *, encode: bool = False) -> None:
        (self.codecs / f"test_{'encode' if encode else 'decode'}_{name}.json").write_bytes(content)

    def run(self) -> list[Outcome]:
        return list(run_tree(self.root, processes=1))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def vector(expected: object, *raw: int, name: str = "v", **given: object) -> dict[str, Any]:
    return {"name": name, "input": {"bytes": list(raw), "fPort": 1} | given, "expected": expected}


def traps(outcome: Outcome) -> set[str]:
    return {note.trap for note in outcome.notes}


def only(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def test_a_right_codec_passes_every_way_with_nothing_to_say(tree: Tree) -> None:
    tree.codec("a", "function decodeUplink(i) { return { data: { n: i.bytes[0] } }; }", vector({"data": {"n": 7}}, 7))
    outcome = only(tree.run())
    assert (outcome.problem, outcome.key_order, outcome.notes) == ("", False, ())
    assert outcome.module is not None
    assert outcome.script is not None
    assert outcome.module.output == outcome.script.output == '{"data":{"n":7}}'


def test_the_order_of_keys_is_told_and_fails_nothing(tree: Tree) -> None:
    tree.codec(
        "a", "function decodeUplink() { return { data: { a: 1, b: 2 } }; }", vector({"data": {"b": 2, "a": 1.0}})
    )
    outcome = only(tree.run())
    assert (outcome.problem, outcome.key_order) == ("", True)


def test_an_undeclared_assignment_passes_as_a_script_and_fails_as_in_chirpstack(tree: Tree) -> None:
    tree.codec(
        "a", "function decodeUplink(i) { n = i.bytes[0]; return { data: { n } }; }", vector({"data": {"n": 7}}, 7)
    )
    outcome = only(tree.run())
    assert outcome.problem == "ReferenceError: n is not defined"
    assert outcome.script is not None
    assert outcome.script.passed
    assert traps(outcome) == {"undeclared"}


def test_what_chirpstack_has_not_fails_with_a_word_that_says_so(tree: Tree) -> None:
    for name in ("console.log(1)", "new TextDecoder()", "atob('aa')", "require('buffer')"):
        body = f"function decodeUplink() {{ {name}; return {{ data: {{}} }}; }}"
        tree.codec(name[:4], body, vector({"data": {}}))
    for outcome in tree.run():
        assert "ChirpStack gives a codec Buffer, and nothing else" in outcome.problem
        assert traps(outcome) == {"not_in_chirpstack"}


def test_a_guarded_export_for_node_does_no_harm(tree: Tree) -> None:
    script = "function decodeUplink() { return { data: {} }; } if (typeof module !== 'undefined') module.exports = {};"
    tree.codec("a", script, vector({"data": {}}))
    assert only(tree.run()).problem == ""


@pytest.mark.parametrize(
    "line",
    [
        'import { Buffer } from "buffer";',
        "import {Buffer} from 'node:buffer'",
        'import {\n  Buffer\n} from "buffer";',
        'import { Buffer as B } from "buffer";',
        'import * as b from "buffer";',
        "",
    ],
)
def test_buffer_is_there_and_may_be_imported(tree: Tree, line: str) -> None:
    name = "B" if " as B" in line else "b.Buffer" if "* as b" in line else "Buffer"
    tree.codec(
        "a",
        f"{line}\nfunction decodeUplink(i) {{ return {{ data: {{ hex: {name}.from(i.bytes).toString('hex') }} }}; }}",
        vector({"data": {"hex": "0aff"}}, 10, 255),
    )
    assert only(tree.run()).problem == ""


def test_a_module_that_exports_passes_although_it_is_no_script(tree: Tree) -> None:
    tree.codec("a", "export function decodeUplink(i) { return { data: { n: 1 } }; }", vector({"data": {"n": 1}}))
    outcome = only(tree.run())
    assert outcome.problem == ""
    assert traps(outcome) == {"mode"}


def test_recv_time_is_a_date_and_variables_are_passed(tree: Tree) -> None:
    tree.codec(
        "a",
        "function decodeUplink(i) { return { data: { y: i.recvTime.getUTCFullYear(), v: i.variables.site } }; }",
        vector({"data": {"y": 2024, "v": "x"}}, recvTime="2024-05-06T07:08:09Z", variables={"site": "x"}),
    )
    outcome = only(tree.run())
    assert outcome.problem == ""
    assert traps(outcome) == {"recv_time_text"}


def test_values_are_compared_as_json_writes_them(tree: Tree) -> None:
    body = (
        "return { data: { a: NaN, b: -0, c: undefined, d: new Date(0), e: 1e400, f: 0.1 + 0.2, g: Buffer.from([1]),"
        " h: 12345678901234567890, i: '\\ud800' } };"
    )
    expected = (
        '[{"name":"v","input":{"bytes":[],"fPort":1},"expected":{"data":{"a":null,"b":0,"d":"1970-01-01T00:00:00.000Z",'
        '"e":null,"f":0.30000000000000004,"g":{"type":"Buffer","data":[1]},"h":12345678901234567890,"i":"\\ud800"}}}]'
    )
    tree.codec("a", f"function decodeUplink() {{ {body} }}")
    tree.vectors("a", expected.encode())
    outcome = only(tree.run())
    assert (outcome.problem, outcome.key_order) == ("", False)


def test_the_whole_return_value_counts(tree: Tree) -> None:
    tree.codec("a", "function decodeUplink() { return { data: { n: 1 }, warnings: [] }; }", vector({"data": {"n": 1}}))
    tree.codec("b", "function decodeUplink() { return { data: { n: true } }; }", vector({"data": {"n": 1}}))
    tree.codec("c", "function decodeUplink() { return { data: { h: 'AB' } }; }", vector({"data": {"h": "ab"}}))
    tree.codec("d", "function decodeUplink() { return undefined; }", vector({}))
    problems = [outcome.problem for outcome in tree.run()]
    assert problems == [
        "warnings: expected nothing, got []",
        "data.n: expected 1, got true",
        'data.h: expected "ab", got "AB" (only upper and lower case differ)',
        "codec returned nothing",
    ]


def test_errors_may_be_what_is_expected_and_a_throw_may_not(tree: Tree) -> None:
    tree.codec("a", "function decodeUplink() { return { errors: ['no'] }; }", vector({"errors": ["no"]}))
    tree.codec("b", "function decodeUplink() { throw new Error('no'); }", vector({"errors": ["no"]}))
    good, bad = tree.run()
    assert good.problem == ""
    assert bad.problem == "Error: no"


def test_downlinks_are_encoded(tree: Tree) -> None:
    script = "function encodeDownlink(i) { return { bytes: [i.data.n], fPort: 2 }; }"
    tree.codec("a", script, {"input": {"data": {"n": 3}}, "expected": {"fPort": 2, "bytes": [3]}}, encode=True)
    tree.codec("b", "function decodeUplink() {}", {"input": {"data": {}}, "expected": {}}, encode=True)
    good, bad = tree.run()
    assert (good.problem, good.name, good.key_order) == ("", "#1", True)
    assert bad.problem == "codec has no function encodeDownlink"


def test_a_codec_that_keeps_state_is_told(tree: Tree) -> None:
    script = "let n = 0; function decodeUplink() { return { data: { n: ++n } }; }"
    tree.codec("a", script, vector({"data": {"n": 1}}), vector({"data": {"n": 1}}))
    first, second = tree.run()
    assert (first.problem, second.problem) == ("", "")
    assert traps(first) == {"stateful"}
    assert "stateful" in traps(second)
    assert second.script is not None
    assert not second.script.passed


def test_a_codec_that_changes_built_in_objects_is_decoded_alike_by_the_gateway(tree: Tree) -> None:
    script = "Array.prototype.last = function () { return this[this.length - 1]; };"
    tree.codec("a", script + "function decodeUplink(i) { return { data: { n: i.bytes.last() } }; }",
               vector({"data": {"n": 2}}, 1, 2))  # fmt: skip
    outcome = only(tree.run())
    assert outcome.problem == ""
    assert "gateway_differs" not in traps(outcome)


@pytest.mark.parametrize(
    "bomb",
    [
        "while (true) {}",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "const all = []; for (;;) all.push(new Array(1000).fill(1))",
        "const f = () => f() + 1; f()",
        "[].sort.call({ length: 1e9 })",
        "return 'x'.repeat(1e8)",
    ],
)
def test_a_bomb_fails_its_own_vectors_only(tree: Tree, bomb: str) -> None:
    script = f"function decodeUplink(i) {{ if (i.bytes[0]) {{ {bomb} }} return {{ data: {{ n: 1 }} }}; }}"
    good = {"data": {"n": 1}}
    tree.codec("a", script, vector(good, 0), vector(good, 1), vector(good, 0))
    tree.codec("b", "function decodeUplink() { return { data: { n: 1 } }; }", vector(good))
    outcomes = tree.run()
    assert [bool(outcome.problem) for outcome in outcomes] == [False, True, False, False], outcomes


def test_a_top_level_that_never_ends_fails_its_vectors(tree: Tree) -> None:
    tree.codec("a", "while (true) {} function decodeUplink() {}", vector({}), vector({}))
    assert all("interrupted" in outcome.problem for outcome in tree.run())


def test_a_top_level_that_throws_says_what(tree: Tree) -> None:
    tree.codec("a", "exports.decodeUplink = function () { return { data: {} }; };", vector({"data": {}}))
    assert "exports is not defined" in only(tree.run()).problem


def test_a_missing_codec_fails_each_of_its_vectors(tree: Tree) -> None:
    tree.vectors("gone", json.dumps([vector({}), vector({})]).encode())
    outcomes = tree.run()
    assert len(outcomes) == 2
    assert all("there is no codec gone.js" in outcome.problem for outcome in outcomes)


def test_a_codec_elsewhere_in_the_tree_is_found_and_told(tree: Tree) -> None:
    other = tree.root / "vendors/other/codecs"
    other.mkdir(parents=True)
    (other / "far.js").write_text("function decodeUplink() { return { data: {} }; }")
    tree.vectors("far", json.dumps([vector({"data": {}})]).encode())
    (tree.codecs / "Near.js").write_text("function decodeUplink() { return { data: {} }; }")
    tree.vectors("near", json.dumps([vector({"data": {}})]).encode())
    far, near = tree.run()
    assert (far.problem, traps(far)) == ("", {"codec_elsewhere"})
    assert (near.problem, traps(near)) == ("", {"codec_case"})
    third = tree.root / "vendors/third/codecs"
    third.mkdir(parents=True)
    (third / "far.js").write_text("function decodeUplink() { return { data: { n: 3 } }; }")
    assert "several elsewhere" in tree.run()[0].problem


SCRIPT = "function decodeUplink(i) { return { data: { n: i.bytes[0] } }; }"
TEXT = '[{"name":"v","input":{"bytes":[7],"fPort":1},"expected":{"data":{"n":7}}}]'


@pytest.mark.parametrize(
    ("content", "trap"),
    [
        (b"\xef\xbb\xbf" + TEXT.encode(), "bom"),
        (TEXT.encode("utf-16"), "bom"),
        (TEXT.replace("}]", "},]").encode(), "not_json"),
        (TEXT.replace('"name"', "name").encode(), "not_json"),
        (("// a comment\n" + TEXT).encode(), "not_json"),
        (TEXT.replace('"n":7', '"n":1,"n":7').encode(), "duplicate_key"),
        (TEXT.replace("[7]", '"07"').encode(), "bytes_text"),
        (TEXT.replace("[7]", "[7, 300]").encode(), "bytes_range"),
        (TEXT.replace(',"fPort":1', "").encode(), "no_f_port"),
    ],
)
def test_odd_test_files_are_run_and_told(tree: Tree, content: bytes, trap: str) -> None:
    tree.codec("a", SCRIPT)
    tree.vectors("a", content)
    outcome = only(tree.run())
    assert (outcome.problem, traps(outcome)) == ("", {trap})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"while (true) {}", "not JSON"),
        (b"[" * 100_000, "nested"),
        (b'{"name": "v"}', "not an array"),
        (b'["v"]', "not an object"),
        (b'[{"name": "v"}]', "no input and no expected"),
        (b'[{"name": "v", "input": {}}]', "no expected"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'[{"name":"\xe9"}]', "cannot be read"),
    ],
)
def test_malformed_test_files_fail_with_the_reason(tree: Tree, content: bytes, says: str) -> None:
    tree.codec("a", SCRIPT)
    tree.vectors("a", content)
    assert says in only(tree.run()).problem


def test_an_input_that_is_no_object_reaches_the_codec_as_it_is(tree: Tree) -> None:
    tree.codec("a", "function decodeUplink(i) { return { data: { kind: i === null ? 'null' : typeof i } }; }",
               {"input": None, "expected": {"data": {"kind": "null"}}},
               {"input": "x", "expected": {"data": {"kind": "string"}}})  # fmt: skip
    assert [outcome.problem for outcome in tree.run()] == ["", ""]


def test_a_codec_cannot_get_at_what_judges_it(tree: Tree) -> None:
    tricks = [
        'JSON.stringify = () => \'{"data":{"n":1}}\';',
        "Object.prototype.toJSON = () => ({ data: { n: 1 } });",
        "String.prototype.slice = () => '{}';",
        "globalThis.__xom = { decodeUplink: () => ({ data: { n: 1 } }) };",
        "Date = null; JSON.parse = null;",
    ]
    for at, trick in enumerate(tricks):
        script = f"{trick} function decodeUplink() {{ return {{ data: {{ n: 2 }} }}; }}"
        tree.codec(f"t{at}", script, vector({"data": {"n": 2}}))
    problems = [outcome.problem for outcome in tree.run()]
    # Its own toJSON is its own affair: ChirpStack's reader has none, JSON has.
    assert [bool(problem) for problem in problems] == [False, True, False, False, False]


def test_many_files_keep_their_order_over_several_processes(tree: Tree) -> None:
    for at in range(12):
        tree.codec(f"c{at:02}", SCRIPT, *[vector({"data": {"n": n}}, n, name=f"{at}/{n}") for n in range(5)])
    outcomes = list(run_tree(tree.root, processes=3))
    assert [outcome.name for outcome in outcomes] == [f"{at}/{n}" for at in range(12) for n in range(5)]
    assert not any(outcome.problem for outcome in outcomes)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """The same value: keys in another order, whole numbers as floats."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [shuffled(one) for one in value]
    return float(value) if type(value) is int else value


@given(JSON_VALUES)
def test_a_value_is_the_same_as_itself_in_another_order(value: Any) -> None:
    assert same(value, shuffled(value))
    assert difference(value, shuffled(value)) == ""


@given(JSON_VALUES, JSON_VALUES)
def test_values_differ_when_their_canonical_text_does(left: Any, right: Any) -> None:
    def canonical(value: Any) -> str:
        return json.dumps(shuffled(value), sort_keys=True)

    equal = canonical(left).replace("-0.0", "0.0") == canonical(right).replace("-0.0", "0.0")
    assert same(left, right) == equal
    assert (difference(left, right) == "") == equal
