"""Names of things that travel."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.identity import DevEui, Epoch, GatewayId, IdentityError, SourceId, from_plain, to_plain

KINDS = (GatewayId, SourceId, DevEui, Epoch)


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{1,39}", fullmatch=True))
def test_every_gateway_id_of_the_stated_form_is_accepted_unchanged(text: str) -> None:
    assert GatewayId.parse(text) == text


@given(st.from_regex(r"[a-z0-9]{1,12}:[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True))
def test_every_source_id_of_the_stated_form_is_accepted_unchanged(text: str) -> None:
    assert SourceId.parse(text) == text


@given(st.binary(min_size=8, max_size=8))
def test_a_dev_eui_is_read_in_either_case_and_written_in_lower_case(eui: bytes) -> None:
    assert DevEui.parse(eui.hex().upper()) == DevEui.parse(eui.hex()) == eui.hex()


@given(st.binary(min_size=8, max_size=8))
def test_a_device_and_its_source_name_each_other(eui: bytes) -> None:
    device = DevEui.parse(eui.hex())
    assert SourceId.parse(device.source).dev_eui == device


@pytest.mark.parametrize("text", ["camera:dinh-lang", "lorawan:not-an-eui", "lorawan:A840410000000001"])
def test_a_source_that_is_no_device_has_no_dev_eui(text: str) -> None:
    assert SourceId(text).dev_eui is None


@pytest.mark.parametrize(
    "text", ["", "a", "-ab", "A1", "thôn-1", "a.b", "a/b", "a+", "#", "a b", "a" * 41, "ab\n", " ab"]
)
def test_a_bad_gateway_id_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(IdentityError) as caught:
        GatewayId.parse(text)
    assert repr(text)[:40] in str(caught.value)
    assert "a gateway id" in str(caught.value)
    assert not GatewayId.is_valid(text)


@pytest.mark.parametrize("text", ["", "camera", "camera:", ":a", "camera:-a", "Camera:a", "camera:a/b", "camera:a\n"])
def test_a_bad_source_id_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(IdentityError, match="is not a source id") as caught:
        SourceId.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("kind", [DevEui, Epoch])
@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "g" * 16, "0" * 16 + "\n", "٠" * 16])
def test_sixteen_hex_digits_means_exactly_that(kind: type[DevEui | Epoch], text: str) -> None:
    with pytest.raises(IdentityError, match="sixteen hex digits"):
        kind.parse(text)


def test_a_very_long_bad_name_is_quoted_in_part_only() -> None:
    with pytest.raises(IdentityError) as caught:
        GatewayId.parse("x" * 100_000)
    assert len(str(caught.value)) < 300


@given(st.sampled_from(KINDS), st.text())
def test_parse_and_is_valid_agree(kind: type[GatewayId], text: str) -> None:
    if kind.is_valid(text):
        assert kind.parse(text) == text


def test_epochs_are_drawn_anew() -> None:
    drawn = {Epoch.new() for _ in range(100)}
    assert len(drawn) == 100
    assert all(Epoch.is_valid(epoch) for epoch in drawn)


def test_names_travel_through_msgspec_as_checked_text() -> None:
    data = msgspec.json.encode(GatewayId("thon-1"), enc_hook=to_plain)
    assert data == b'"thon-1"'
    assert msgspec.json.decode(data, type=GatewayId, dec_hook=from_plain) == GatewayId("thon-1")
    with pytest.raises(msgspec.ValidationError, match="gateway id"):
        msgspec.json.decode(b'"Th\\u00f4n 1"', type=GatewayId, dec_hook=from_plain)


def test_only_checked_names_travel_by_the_hooks() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        to_plain(object())
    with pytest.raises(NotImplementedError, match="dict"):
        from_plain(dict, {})


@pytest.mark.parametrize("value", [7, 1.5, None, True, [], {}])
def test_what_is_no_text_is_no_name(value: object) -> None:
    with pytest.raises(IdentityError, match="is not a gateway id"):
        from_plain(GatewayId, value)
