"""Other users for a test that runs as root: a QEMU, or a chainctl, of somebody who may do little.

What they are to reach lies in a folder that everybody may search; pytest's own folders are root's.
"""
import contextlib
import os
import pathlib
import shutil
import tempfile

import pytest

from support.chainctl import Chainctl
from support.process import program
from support.qemu import Qemu

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def become(uid, gid, groups=()):
    """The words in front of a command that make it that user's."""
    more = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    return [program("setpriv"), f"--reuid={uid}", f"--regid={gid}", *more]


class QemuOf(Qemu):
    """A QEMU that is that user's from its first instruction on."""

    user = (NOBODY, NOBODY)

    def command_line(self, monitor_fd):
        return [*become(*self.user), *super().command_line(monitor_fd)]

    def start(self):
        """Its monitor's socket, in a folder of its own, is its own."""
        os.chown(self.folder, *self.user)
        return super().start()


class ChainctlOf(Chainctl):
    """A chainctl that is run by that user, with a home of their own and no variable of root's."""

    def __init__(self, home, state_dir, uid, gid, groups=(), **options):
        home = pathlib.Path(home)
        super().__init__(state_dir, binary=_copy(home), **options)
        self.words = become(uid, gid, groups)
        self.env = {name: value for name, value in self.env.items() if not name.startswith("XDG")} | {"HOME": str(home)}

    def start(self, *args, prefix=(), **options):
        return super().start(*args, prefix=[*self.words, *prefix], cwd="/", **options)


@contextlib.contextmanager
def open_folder(owner=(0, 0), mode=0o755):
    """A folder of that owner, below one that everybody may search."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    try:
        home.chmod(0o755)
        made = home / "own"
        made.mkdir()
        os.chown(made, *owner)
        made.chmod(mode)
        yield made
    finally:
        shutil.rmtree(home)


def _copy(home):
    """The program, where that user can reach it: beside the home."""
    copy = home.parent / "chainctl"
    if not copy.exists():
        shutil.copy(Chainctl(home).binary, copy)
        copy.chmod(0o755)
    return copy
