"""A network namespace of a test's own, with a cable to us on which nftables drops what the case wants dropped."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MISSING = (
    "no network namespace can be made here (needs root, iproute2 and nftables): half-open lines and packet loss were "
    "NOT tested"
)


class Cable:
    """A veth pair from us (`near`) into a fresh namespace (`far`). Packets are dropped inside the namespace only."""

    def __init__(self) -> None:
        number = secrets.randbelow(200) + 20
        self.name = f"xomt{secrets.token_hex(3)}"
        self.near, self.far = f"10.213.{number}.1", f"10.213.{number}.2"

    def lay(self) -> None:
        """Make namespace and cable; raises OSError or CalledProcessError where that is not possible."""
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "far0", "netns", self.name)
            run("ip", "addr", "add", f"{self.near}/30", "dev", self.name)
            run("ip", "link", "set", self.name, "up")
            self.inside("ip", "addr", "add", f"{self.far}/30", "dev", "far0")
            self.inside("ip", "link", "set", "far0", "up")
            self.inside("ip", "link", "set", "lo", "up")
        except BaseException:
            self.cut()
            raise

    def cut(self) -> None:
        """Take it all away."""
        subprocess.run([_found("ip"), "netns", "del", self.name], check=False, capture_output=True)

    def drop(self, *, to_far: str | None = None, from_far: str | None = None) -> None:
        """Drop packets into or out of the namespace: "" all of them, else an nftables condition. Replaces the last."""
        rules = ["flush ruleset", "table inet x {"]
        for hook, condition in (("input", to_far), ("output", from_far)):
            if condition is not None:
                rules.append(f"chain {hook} {{ type filter hook {hook} priority 0; {condition} drop; }}")
        rules.append("}")
        self.inside("nft", "-f", "-", text="\n".join(rules))

    def heal(self) -> None:
        """Drop nothing any more."""
        self.inside("nft", "flush", "ruleset")

    def command(self, *words: str) -> list[str]:
        """Return a command that runs inside the namespace."""
        return [_found("ip"), "netns", "exec", self.name, *words]

    def inside(self, *words: str, text: str | None = None) -> None:
        """Run a command inside the namespace."""
        run("ip", "netns", "exec", self.name, _found(words[0]), *words[1:], text=text)


def run(*words: str, text: str | None = None) -> None:
    """Run a command; raises OSError when it is not installed, CalledProcessError when it fails."""
    subprocess.run([_found(words[0]), *words[1:]], check=True, capture_output=True, input=text, text=True)


def _found(program: str) -> str:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise OSError(f"{program} is not installed")
    return found
