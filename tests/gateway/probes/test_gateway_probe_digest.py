"""Logins against the examples of the standards, and against what servers offer in one breath."""

from __future__ import annotations

import pytest

from gateway.probes.credentials import Credential
from gateway.probes.digest import login
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

MUFASA = Credential(username="Mufasa", password="Circle of Life")
REALM = 'realm="http-auth@example.org", qop="auth, auth-int"'
NONCE = 'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
CLIENT = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
MD5, SHA = f"Digest {REALM}, algorithm=MD5, {NONCE}", f"Digest {REALM}, algorithm=SHA-256, {NONCE}"


@pytest.mark.parametrize(
    ("challenge", "response"),
    [
        (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (SHA, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616_section_3_9_1(challenge: str, response: str) -> None:
    header = login([challenge], MUFASA).answer("GET", "/dir/index.html", CLIENT)
    assert f'response="{response}"' in header
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in header
    assert "nc=00000001" in header
    assert ("algorithm=SHA-256" in header) == (challenge is SHA), (
        "an MD5 server of before RFC 2617 may not know the word"
    )


def test_the_example_of_rfc_2617_section_3_5() -> None:
    challenge = 'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    known = Credential(username="Mufasa", password="Circle Of Life")
    header = login([challenge], known).answer("GET", "/dir/index.html", "0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in header


@pytest.mark.parametrize("challenges", [[MD5, SHA], [SHA, MD5], [f"{MD5}, {SHA}"], ['Basic realm="x"', SHA]])
def test_of_several_the_best_is_taken_in_whatever_order_they_come(challenges: list[str]) -> None:
    assert login(challenges, MUFASA).algorithm == "SHA-256"


def test_each_use_of_a_nonce_is_counted() -> None:
    made = login([MD5], MUFASA)
    assert "nc=00000001" in made.answer("GET", "/", "a")
    assert "nc=00000002" in made.answer("GET", "/", "b")


def test_basic_is_the_last_resort() -> None:
    header = login(['Basic realm="x"'], Credential(username="Aladdin", password="open sesame")).answer("GET", "/", "")
    assert header == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617, 2


@pytest.mark.parametrize(
    ("challenges", "credential", "reason"),
    [
        ([MD5], Credential(), Reason.CREDENTIALS_MISSING),
        ([], MUFASA, Reason.NOT_THE_PROTOCOL),
        (["Negotiate"], MUFASA, Reason.NOT_THE_PROTOCOL),
        (['Digest realm="x", nonce="y", algorithm=SHA-512-256'], MUFASA, Reason.NOT_THE_PROTOCOL),
        (['Digest realm="x", nonce="y", qop="auth-int"'], MUFASA, Reason.NOT_THE_PROTOCOL),
        (['Digest realm="x"'], MUFASA, Reason.NOT_THE_PROTOCOL),
    ],
)
def test_what_cannot_be_answered_says_why(challenges: list[str], credential: Credential, reason: Reason) -> None:
    with pytest.raises(ProbeError) as refused:
        login(challenges, credential)
    assert refused.value.reason is reason
