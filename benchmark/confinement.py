"""Keep foreign code's writing in one folder: what it may read stays as it is, what it may change is its own.

Two fences. Linux's Landlock (kernel 5.13 and later) holds this process, native code and every program it starts. An
audit hook holds Python code on any system, and remembers what was tried, so that it can be reported. Where there is no
Landlock, native code and other programs are not held.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any

# Devices and /proc are not storage; shared memory lies below /dev too.
ALWAYS = ("/dev", "/proc")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events whose first argument (for two of them, first two) is a path that is changed.
CHANGES = ("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr")
CHANGES_BOTH = ("os.rename", "os.link")

# include/uapi/linux/landlock.h: the access rights that write, by the version of the interface that brought them.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
WRITE_FILE, REMOVE_AND_MAKE, REFER, TRUNCATE = 1 << 1, sum(1 << bit for bit in range(4, 13)), 1 << 13, 1 << 14
PR_SET_NO_NEW_PRIVS = 38


def confine(folder: Path) -> list[str]:
    """Let this process and what it starts write below ``folder`` only; return the list of what Python code tries.

    The list grows with each attempt, which itself raises PermissionError. It cannot be undone.
    """
    allowed = tuple(os.path.realpath(place) for place in (folder, *ALWAYS))
    tried: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for path in _written(event, arguments):
            place = os.path.realpath(os.fsdecode(path))
            if not any(place == root or place.startswith(root + os.sep) for root in allowed):
                tried.append(place)
                raise PermissionError(f"outside the method's folder: {place}")

    sys.addaudithook(hook)
    _landlock(allowed)
    return tried


def _written(event: str, arguments: tuple[Any, ...]) -> list[Any]:
    if event == "open":
        path, _, flags = arguments
        paths = [path] if isinstance(flags, int) and flags & WRITING else []
    elif event in CHANGES:
        paths = [arguments[0]]
    elif event in CHANGES_BOTH:
        paths = list(arguments[:2])
    elif event == "os.symlink":
        paths = [arguments[1]]
    else:
        paths = []
    # A number is a file that is open already.
    return [path for path in paths if isinstance(path, str | bytes | os.PathLike)]


def _landlock(allowed: tuple[str, ...]) -> bool:
    """Restrict this thread and all it starts from here on; False where the kernel cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = WRITE_FILE | REMOVE_AND_MAKE | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", rights)
    ruleset = call(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for place in filter(os.path.isdir, allowed):
            handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
            try:
                call(LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, handle), 0)
            finally:
                os.close(handle)
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(call(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)
