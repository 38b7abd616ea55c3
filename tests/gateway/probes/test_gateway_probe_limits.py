"""What comes from outside is bounded in bytes and depth, and leads nowhere we do not go; logins stay in their file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.probes.credentials import CredentialError, Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.limits import parse_xml, read_capped, read_line_capped, refuse_inner_address
from gateway.probes.outcome import Reason

BILLION = b'<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><l>&b;</l>'
OUTSIDE = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>'


def fed(data: bytes, *, end: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if end:
        reader.feed_eof()
    return reader


async def test_a_flood_is_too_large_and_never_held() -> None:
    with pytest.raises(ProbeError) as caught:
        await read_capped(fed(bytes(200_000)), most=1_000)
    assert caught.value.reason is Reason.TOO_LARGE
    assert await read_capped(fed(b"short"), most=1_000) == b"short"


async def test_a_line_without_end_is_too_large_and_a_cut_one_closed() -> None:
    for data, reason in ((b"x" * 10_000, Reason.TOO_LARGE), (b"half", Reason.CLOSED)):
        with pytest.raises(ProbeError) as caught:
            await read_line_capped(fed(data), most=100)
        assert caught.value.reason is reason
    assert await read_line_capped(fed(b"one\r\ntwo")) == b"one\r\n"


@pytest.mark.parametrize("data", [BILLION, OUTSIDE, b"<a>" * 100 + b"</a>" * 100, b"<a><b></a>", b"", b"\xff\xfe"])
def test_xml_that_unfolds_reaches_out_nests_or_breaks_is_refused(data: bytes) -> None:
    with pytest.raises(ProbeError) as caught:
        parse_xml(data)
    assert caught.value.reason is Reason.NOT_THE_PROTOCOL


def test_plain_xml_is_read_with_its_namespaces() -> None:
    root = parse_xml(b'<s:a xmlns:s="urn:x" t="1"><s:b>text</s:b></s:a>')
    assert (root.tag, root.get("t"), root.findtext("{urn:x}b")) == ("{urn:x}a", "1", "text")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "169.254.169.254", "224.0.0.1"])
async def test_nobody_leads_us_to_ourselves_or_to_metadata(host: str) -> None:
    with pytest.raises(ProbeError) as caught:
        await refuse_inner_address(host, 80)
    assert caught.value.reason is Reason.REDIRECTED


async def test_an_address_of_the_hamlet_is_followed() -> None:
    await refuse_inner_address("192.168.1.20", 80)


def credentials(folder: Path, text: str, mode: int = 0o600) -> Credentials:
    path = folder / "credentials.toml"
    path.write_text(text)
    path.chmod(mode)
    return Credentials(path)


def test_a_login_is_found_by_name_and_a_missing_one_says_so(tmp_path: Path) -> None:
    known = credentials(tmp_path, '[cam]\nusername = "xom"\npassword = "secret"\n')
    assert known.of("cam").password == "secret"
    assert known.of("").username == ""
    with pytest.raises(ProbeError) as caught:
        known.of("other")
    assert caught.value.reason is Reason.CREDENTIALS_MISSING
    assert "secret" not in repr(known.of("cam"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(CredentialError, match="chmod 600"):
        credentials(tmp_path, "", mode)


@pytest.mark.parametrize("text", ["[cam", "[cam]\npassword = 5\n", "[cam]\npasword = 'x'\n"])
def test_a_broken_file_is_named_without_its_secrets(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialError, match=r"credentials\.toml"):
        credentials(tmp_path, text)
