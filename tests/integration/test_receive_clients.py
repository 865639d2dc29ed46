"""Odd clients of `receive`: whatever they ask, it lives on, serves the next one, and ends when the sender is done."""
import contextlib
import os
import random
import socket
import struct
import subprocess

import pytest

from support import images, process
from support.nbd import qemu_io
from support.process import program
from support.receiver import Receiver

SIZE = 8 << 20
OPTION_MAGIC, REQUEST_MAGIC = b"IHAVEOPT", 0x25609513
EXPORT_NAME, ABORT, LIST, STARTTLS, GO = 1, 2, 3, 5, 7
READ, WRITE, FLUSH, TRIM, ZEROES = 0, 1, 3, 4, 6
EINVAL, ENOSPC = 22, 28


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


class Raw:
    """An NBD client that says what it is told to. Source: NetworkBlockDevice/nbd, doc/proto.md."""

    def __init__(self, receiver):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(receiver.nbd.removeprefix("unix:"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Unless the other side has hung up."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def read(self, count):
        data = b""
        while len(data) < count:
            received = self.socket.recv(count - len(data))
            assert received, "hung up"
            data += received
        return data

    def hung_up(self):
        """Whether the server ends the connection, whatever it says before."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True

    def greet(self, flags=3):
        assert self.read(18)[:16] == b"NBDMAGIC" + OPTION_MAGIC
        self.send(struct.pack(">I", flags))

    def option(self, number, data=b"", length=None):
        self.send(OPTION_MAGIC + struct.pack(">II", number, len(data) if length is None else length) + data)

    def reply(self):
        """(type, data) of an option's reply."""
        _, _, kind, length = struct.unpack(">QIII", self.read(20))
        return kind, self.read(length)

    def go(self, name):
        """The last reply's type: 1 where the export is ours now."""
        self.option(GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        while (kind := self.reply()[0]) == 3:
            pass
        return kind

    def request(self, command, offset, length, data=b"", flags=0):
        self.send(struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, 7, offset, length & 0xFFFFFFFF) + data)

    def error(self):
        magic, error, handle = struct.unpack(">IIQ", self.read(16))
        assert (magic, handle) == (0x67446698, 7)
        return error


def shaken_hands(receiver):
    client = Raw(receiver)
    client.greet()
    assert client.go(b"vda") == 1
    return client


def garbage(receiver):
    with Raw(receiver) as client:
        client.send(random.Random(1).randbytes(1 << 16))
        assert client.hung_up()


def nothing_at_all(receiver):
    Raw(receiver).socket.close()


def a_wrong_name(receiver):
    for name in (b"vdb", b"", b"VDA", b"vda\0", b"../vda", b"x" * 4000, b"\xff\xfe"):
        with Raw(receiver) as client:
            client.greet()
            assert client.go(name) & (1 << 31)
            assert client.go(b"vda") == 1


def a_wrong_name_in_the_old_way(receiver):
    with Raw(receiver) as client:
        client.greet()
        client.option(EXPORT_NAME, b"nobody")
        assert client.hung_up()


def options_that_are_none(receiver):
    with Raw(receiver) as client:
        client.greet()
        for number in (0, 4, 99, 0xFFFFFFFF):
            client.option(number, b"what?")
            assert client.reply()[0] & (1 << 31)
        for _ in range(200):
            client.option(LIST)
            assert client.reply() == (2, struct.pack(">I", 3) + b"vda") and client.reply()[0] == 1
        client.option(STARTTLS)
        assert client.reply()[0] & (1 << 31)
        client.option(ABORT)
        assert client.hung_up()


def an_option_of_four_gigabytes(receiver):
    with Raw(receiver) as client:
        client.greet()
        client.option(GO, b"x" * 100_000, length=0xFFFFFFFF)
        assert client.hung_up()


def flags_that_are_none(receiver):
    with Raw(receiver) as client:
        client.greet(flags=0xFFFFFFFF)
        assert client.hung_up()


def half_a_handshake(receiver):
    with Raw(receiver) as client:
        client.greet()
        client.send(OPTION_MAGIC[:5])


def a_write_past_the_end(receiver):
    with shaken_hands(receiver) as client:
        for offset, length in ((SIZE, 512), (SIZE - 256, 512), (1 << 63, 512), ((1 << 64) - 512, 512)):
            client.request(WRITE, offset, length, bytes([255]) * length)
            assert client.error() in (EINVAL, ENOSPC)
        for command in (READ, TRIM, ZEROES):
            client.request(command, SIZE, 512)
            assert client.error() in (EINVAL, ENOSPC)
        client.request(FLUSH, 0, 0)
        assert client.error() == 0


def commands_that_are_none(receiver):
    with shaken_hands(receiver) as client:
        for command in (99, 0xFFFF):
            client.request(command, 0, 0)
            assert client.error() == EINVAL
        client.request(FLUSH, 0, 0, flags=0xFFF0)
        assert client.error() == EINVAL


def a_request_of_four_gigabytes(receiver):
    with shaken_hands(receiver) as client:
        client.request(READ, 0, 0xFFFFFE00)
        assert client.error() == EINVAL or client.hung_up()
    with shaken_hands(receiver) as client:
        client.request(WRITE, 0, 0xFFFFFE00, b"x" * 100_000)
        assert client.hung_up()


def a_request_that_is_garbage(receiver):
    with shaken_hands(receiver) as client:
        client.send(b"\0" * 4096)
        assert client.hung_up()


def half_a_write(receiver):
    """What did not come whole is not written."""
    with shaken_hands(receiver) as client:
        client.request(WRITE, 4 << 20, 65536, bytes([255]) * 1000)


def reads_that_nobody_takes(receiver):
    with shaken_hands(receiver) as client:
        for _ in range(30):
            client.request(READ, 0, 1 << 20)


ODD = [garbage, nothing_at_all, a_wrong_name, a_wrong_name_in_the_old_way, options_that_are_none, an_option_of_four_gigabytes,
       flags_that_are_none, half_a_handshake, a_write_past_the_end, commands_that_are_none, a_request_of_four_gigabytes,
       a_request_that_is_garbage, half_a_write, reads_that_nobody_takes]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_an_odd_client_harms_neither_the_server_nor_what_comes_after_it(chainctl, folder, odd):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        odd(receiver)
        daemon = receiver.daemon
        qemu_io(receiver.uris["vda"], "write -P 5 0 64k")
        odd(receiver)
        assert receiver.daemon == daemon and process.is_alive(daemon)
        result = receiver.wait()
    assert result.status == 0, result
    path = folder / "vda.qcow2"
    assert images.is_clean(path)
    assert images.reads(path, 5, 0, 65536) and images.reads(path, 0, 65536, SIZE - 65536)


def test_an_odd_client_beside_a_sender_does_not_disturb_it(chainctl, folder, tmp_path):
    source = images.create(tmp_path / "source.raw", "8M", fmt="raw")
    source.write_bytes(os.urandom(SIZE))
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        words = [program("nbdcopy"), "--requests=1", "--request-size=4096", source, receiver.uris["vda"]]
        with process.running(words) as sender:
            for odd in ODD:
                odd(receiver)
            assert sender.wait(60) == 0
        assert receiver.wait().status == 0
    assert images.compare(source, folder / "vda.qcow2")


def test_those_who_connect_and_say_nothing_keep_it_from_nothing(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        with contextlib.ExitStack() as silent:
            for _ in range(50):
                silent.enter_context(Raw(receiver))
            qemu_io(receiver.uris["vda"], "write -P 6 0 64k")
            assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 6, 0, 65536)


def test_a_crowd_is_waited_out(chainctl, folder):
    """There is a limit to how many are served at once; who comes beyond it is served when there is room."""
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        with contextlib.ExitStack() as crowd:
            for _ in range(120):
                client = crowd.enter_context(Raw(receiver))
                client.socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.read(18)
        qemu_io(receiver.uris["vda"], "write -P 7 0 64k")
        assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 7, 0, 65536)


@pytest.mark.parametrize("address", ["unix", "127.0.0.1:0"])
def test_libnbd_reads_what_it_is_and_copies_to_it(chainctl, folder, tmp_path, address):
    source = images.create(tmp_path / "source.raw", "8M", fmt="raw")
    source.write_bytes(os.urandom(SIZE // 2) + bytes(SIZE // 2))
    with Receiver(chainctl(), folder, "vda=8M", "vdb=8M:raw", listen=None if address == "unix" else address) as receiver:
        any_of_them = receiver.uris["vda"].replace("/vda", "/")
        listed = subprocess.run([program("nbdinfo"), "--list", any_of_them], capture_output=True, text=True, timeout=30)
        assert 'export="vda"' in listed.stdout and 'export="vdb"' in listed.stdout, listed
        for uri in receiver.uris.values():
            subprocess.run([program("nbdcopy"), source, uri], check=True, timeout=60)
        assert receiver.wait().status == 0
    for path in receiver.paths.values():
        assert images.compare(source, path)
