"""Against software that we have not written: snmpd for SNMP, Kamailio for SIP."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.clock import SteppedClock
from gateway.probes.credentials import Credentials
from gateway.probes.loudspeakers.build import build
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.schedule import Schedule
from gateway.probes.setup import Setup
from tests.real_mosquitto import free_port

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
SNMPD, KAMAILIO = shutil.which("snmpd", path=_PATH), shutil.which("kamailio", path=_PATH)
MODULES = Path("/usr/lib/x86_64-linux-gnu/kamailio/modules")
OK = (State.OK, "reach", Reason.NONE)


async def asked(home: Path, **settings: object) -> Outcome:
    path = home / "credentials.toml"
    path.write_text(
        '[v2]\ncommunity = "xom"\n[v2bad]\ncommunity = "other"\n'
        '[v3]\nusername = "xom"\nauth_key = "auth-secret-1"\nprivacy_key = "priv-secret-1"\n'
        '[v3bad]\nusername = "xom"\nauth_key = "auth-secret-2"\nprivacy_key = "priv-secret-1"\n'
        '[v3none]\nusername = "nobody"\nauth_key = "auth-secret-1"\nprivacy_key = "priv-secret-1"\n'
    )
    path.chmod(0o600)
    clock = SteppedClock(1_767_580_200_000)
    setup = Setup(credentials=Credentials(path), clock=clock, data=home)
    wanted = msgspec.convert({"name": "cum-1", "timeout_s": 6.0, **settings}, Loudspeaker)
    (probe,) = build([wanted], setup)

    async def keep(_: object) -> None: ...

    return await Schedule(probes=[], clock=clock, keep=keep).once(probe)


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[int]:
    if SNMPD is None:
        pytest.skip("LEFT OUT: snmpd is not installed: SNMP was proved against no real agent")
    port, home = free_port(), tmp_path / "snmp"
    home.mkdir()
    (home / "snmpd.conf").write_text(
        f"agentaddress udp:127.0.0.1:{port}\nrocommunity xom 127.0.0.1\n"
        "createUser xom SHA auth-secret-1 AES priv-secret-1\nrouser xom priv\n"
    )
    environment = {**os.environ, "SNMP_PERSISTENT_DIR": str(home / "state"), "SNMPCONFPATH": str(home)}
    command = [SNMPD, "-f", "-Lf", str(home / "log"), "-C", "-c", str(home / "snmpd.conf"), "-I", "-smux"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while "NET-SNMP version" not in ((home / "log").read_text() if (home / "log").exists() else ""):
        assert process.poll() is None, (home / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    yield port
    ended(process)


async def test_a_real_snmp_agent(agent: int, tmp_path: Path) -> None:
    snmp = {"host": "127.0.0.1", "port": agent}
    figure = [{"at": "1.3.6.1.2.1.2.1.0", "name": "interfaces"}]
    for version, good, bad in (("2c", "v2", ("v2bad",)), ("3", "v3", ("v3bad", "v3none"))):
        whole = {**snmp, "version": version, "credentials": good, "figure": figure, "interface": 1}
        outcome = await asked(tmp_path, snmp=[whole])
        assert (outcome.state, outcome.rung, outcome.reason) == OK, outcome
        assert {"uptime", "interfaces"} <= {one.name for one in outcome.figures}
        for name in bad:
            outcome = await asked(tmp_path, snmp=[{**snmp, "version": version, "credentials": name}])
            wanted = Reason.TIMEOUT if version == "2c" else Reason.UNAUTHORISED
            assert (outcome.state, outcome.reason) == (State.FAIL, wanted), (name, outcome)
            assert "secret" not in str(outcome)
    missing = await asked(
        tmp_path, snmp=[{**snmp, "credentials": "v2", "figure": [{"at": "1.3.6.1.4.1.1.1.0", "name": "x"}]}]
    )
    assert (missing.state, missing.reason) == (State.DEGRADED, Reason.NOT_FOUND)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    if KAMAILIO is None or not MODULES.exists():
        pytest.skip("LEFT OUT: Kamailio is not installed: SIP was proved against no real server")
    port, home = free_port(), tmp_path / "kamailio"
    home.mkdir()
    (home / "kamailio.cfg").write_text(
        f'#!KAMAILIO\nchildren=1\ntcp_children=1\nfork=yes\nlog_stderror=yes\nmpath="{MODULES}/"\n'
        f"listen=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n"
        'loadmodule "sl.so"\nloadmodule "pv.so"\nloadmodule "textops.so"\nloadmodule "auth.so"\n'
        "request_route {\n"
        '  if ($rU == "closed") { sl_send_reply("405", "Method Not Allowed"); exit; }\n'
        '  if ($rU == "locked") {\n'
        '    if (!pv_proxy_authenticate("xom", "auth-secret-1", "0")) { auth_challenge("xom", "1"); exit; }\n  }\n'
        '  sl_send_reply("200", "OK");\n}\n'
    )
    log = (home / "log").open("wb")
    command = [
        KAMAILIO,
        "-DD",
        "-f",
        str(home / "kamailio.cfg"),
        "-Y",
        str(home),
        "-w",
        str(home),
        "-m",
        "16",
        "-M",
        "4",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    yield port
    ended(process)


async def test_a_real_sip_server(proxy: int, tmp_path: Path) -> None:
    for transport in ("udp", "tcp"):
        sip = {"host": "127.0.0.1", "port": proxy, "transport": transport}
        end = time.monotonic() + 20
        while (plain := await asked(tmp_path, sip=[sip])).reason is Reason.REFUSED and time.monotonic() < end:
            time.sleep(0.1)  # noqa: ASYNC251 - it is still starting
        assert (plain.state, plain.rung, plain.reason) == OK, (plain, (tmp_path / "kamailio" / "log").read_text())
        for user, credentials, status in (("closed", "", 405), ("locked", "", 407), ("locked", "known", 200)):
            known = {**sip, "user": user, "credentials": credentials and "sip"}
            outcome = await with_login(tmp_path, known)
            told = outcome.facts["adapters"]
            assert isinstance(told, list)
            assert told[0]["status"] == status, outcome  # type: ignore[index,call-overload]


async def with_login(home: Path, sip: dict[str, object]) -> Outcome:
    path = home / "login.toml"
    path.write_text('[sip]\nusername = "xom"\npassword = "auth-secret-1"\n')
    path.chmod(0o600)
    clock = SteppedClock(1_767_580_200_000)
    setup = Setup(credentials=Credentials(path), clock=clock, data=home)
    (probe,) = build([msgspec.convert({"name": "cum-1", "timeout_s": 6.0, "sip": [sip]}, Loudspeaker)], setup)

    async def keep(_: object) -> None: ...

    return await Schedule(probes=[], clock=clock, keep=keep).once(probe)
