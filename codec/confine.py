"""What a process that runs other people's code gives up: memory without end, files, network, other processes.

Resource limits (setrlimit), no new privileges, and a seccomp filter that lets through what a decoder needs, to read its
questions, answer them, and ask for memory. Everything else fails with EPERM: no file opens, no socket, no process, no
program. Cheap enough for every start on a Raspberry Pi, without root and without a helper program. Linux, x86-64 and
arm64; elsewhere the resource limits stand alone, and `confine` says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from typing import Final

_OPEN_FILES: Final = 16

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h, linux/audit.h
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_RET_KILL_PROCESS: Final = 0x80000000
_RET_ERRNO: Final = 0x00050000
_RET_ALLOW: Final = 0x7FFF0000
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_AT_SYSCALL: Final = 0  # offsets in struct seccomp_data
_AT_ARCHITECTURE: Final = 4

# System call numbers by machine, from asm/unistd_64.h and asm-generic/unistd.h.
_MACHINES: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
            "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25,
            "madvise": 28, "setitimer": 38, "getpid": 39, "exit": 60, "gettimeofday": 96, "getrusage": 98, "times": 100,
            "sigaltstack": 131, "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231,
            "getrandom": 318,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57, "lseek": 62, "read": 63, "write": 64, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
            "setitimer": 103, "clock_gettime": 113, "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132,
            "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "times": 153, "getrusage": 165,
            "gettimeofday": 169, "getpid": 172, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
            "madvise": 233, "getrandom": 278,
        },
    ),
}  # fmt: skip


def confine(address_space: int) -> str:
    """Give it all up for good; returns what could not be taken away, "" if nothing. `address_space` is in bytes."""
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    return _filter_calls()


def _filter_calls() -> str:
    machine = _machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        return f"no filter of system calls for {sys.platform} on {machine or 'this machine'}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"prctl(PR_SET_NO_NEW_PRIVS): {errno.errorcode.get(ctypes.get_errno(), '?')}"
    program = _program(*_MACHINES[machine])
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(code)))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0) != 0:
        return f"prctl(PR_SET_SECCOMP): {errno.errorcode.get(ctypes.get_errno(), '?')}"
    return ""


def _machine() -> str:
    """The machine whose system call numbers this process uses: "" for a 32-bit process on a 64-bit kernel."""
    return os.uname().machine if struct.calcsize("P") == 8 else ""


def _program(architecture: int, calls: dict[str, int]) -> bytes:
    """The filter, as struct sock_filter[]: another architecture's calls end the process, calls not listed fail."""
    numbers = sorted(set(calls.values()))
    steps = [
        (_LOAD_WORD, 0, 0, _AT_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _AT_SYSCALL),
        *((_JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _RET_ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
