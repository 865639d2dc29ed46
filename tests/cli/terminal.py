"""A run on a terminal that a test talks to: it waits for what is shown, types, presses Ctrl-C."""
import errno
import fcntl
import os
import re
import select
import signal
import struct
import termios
import time

from support import process


class Terminal:
    """`with Terminal(ctl, "commit", "vm1") as shown: shown.wait("y/N"); shown.type("y"); shown.end()`"""

    def __init__(self, ctl, *words, columns=80, rows=24, env=None):
        self.terminal, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**ctl.env, "TERM": "xterm-256color", **(env or {})}
        command = [ctl.binary, "--state", ctl.state_dir, *words]
        self.process = process.spawn(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        self.text = ""
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        process.end(self.process)
        os.close(self.terminal)

    def _read(self, deadline):
        """False at the end of what is written."""
        assert select.select([self.terminal], [], [], max(deadline - time.monotonic(), 0))[0], f"nothing more than {self.text!r}"
        try:
            received = os.read(self.terminal, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            received = b""
        self.text += received.decode().replace("\r\n", "\n")
        return bool(received)

    def wait(self, pattern, seconds=60):
        """Until what was written so far matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert self._read(deadline), f"it has ended with {self.text!r}"

    def type(self, line):
        os.write(self.terminal, f"{line}\n".encode())

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def end(self, seconds=90):
        """To the end. Returns the exit status; what was written is in `text`."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(60)


def screen(text, columns, rows=24):
    """The lines that a terminal shows in the end, for the few sequences that are in use. One too wide or too far up fails."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[^\x1b]", text):
        if re.fullmatch(r"\x1b\[[0-9;]*m", token):
            continue
        if move := re.fullmatch(r"\x1b\[(\d*)A", token):
            row -= int(move[1] or 1)
            assert 0 <= row and len(lines) - row <= rows, f"moved up to line {row} of {len(lines)}"
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif token == "\r":
            column = 0
        else:
            assert len(token) == 1, f"a sequence that nobody expects: {token!r}"
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
            assert column <= columns, f"wider than {columns}: {lines[row]!r}"
    return lines
