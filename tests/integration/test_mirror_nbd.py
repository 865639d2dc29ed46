"""Live disks copied to NBD servers that are not ours: each way to name one, servers that die, that do not fit, that do
not speak, and TLS. What arrived is read back by qemu-img, from the servers' own images."""
import contextlib
import itertools
import socket
import socketserver
import threading
import time

import pytest

from support import disks, images, process
from support.chainctl import finish
from support.chains import REGION, assert_sound, fill, reads
from support.mirrors import Pulse, Writer, allocated, assert_copied, await_progress, last_number, leaves_nothing
from support.nbd import Nbdkit, QemuNbd
from support.proxy import Proxy
from support.tls import Tls

NAMES = ("vda", "vdb")
MARK = 0xAB  # what no handshake holds in a row


@pytest.fixture
def disk(qemu, chainctl, folder):
    """(vm, ctl, path): one disk of 8 MiB that holds something."""
    path = images.create(folder / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    fill(vm, "vda", MARK, 0)
    fill(vm, "vda", 3, 2)
    return vm, ctl, path


@pytest.fixture
def large(qemu, chainctl, folder):
    """(vm, ctl, path): one disk of 64 MiB, of which 48 MiB are to be copied."""
    path = images.create(folder / "vda.qcow2", "64M")
    vm, ctl = qemu(disks.blockdev("vda", path), paused=False), chainctl()
    disks.register(ctl, vm)
    vm.qemu_io("vda", "write -P 201 16M 48M")
    return vm, ctl, path


@pytest.fixture
def target(tmp_path):
    """target(size="8M") is a raw image that the disk is copied to; it holds other data before."""

    def make(size=8 << 20, name="target.raw"):
        (tmp_path / name).write_bytes(b"\xee" * size)
        return tmp_path / name

    return make


# ---- how a server is named ----

SPELLINGS = {
    "unix": lambda server: f"unix:{server.socket}/x",
    "unix, QEMU's": lambda server: f"nbd:unix:{server.socket}:exportname=x",
    "unix, URI": lambda server: f"nbd+unix:///x?socket={server.socket}",
    "port": lambda server: f"127.0.0.1:{server.port}/x",
    "name": lambda server: f"localhost:{server.port}/x",
    "port, QEMU's": lambda server: f"nbd:127.0.0.1:{server.port}:exportname=x",
    "port, URI": lambda server: f"nbd://127.0.0.1:{server.port}/x",
    "IPv6": lambda server: f"[::1]:{server.port}/x",
    "IPv6, URI": lambda server: f"nbd://[::1]:{server.port}/x",
    "IPv6, QEMU's": lambda server: f"nbd:[::1]:{server.port}:exportname=x",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_server_is_found_however_it_is_named(disk, target, spelling):
    vm, ctl, path = disk
    host = "::1" if "IPv6" in spelling else "127.0.0.1"
    with QemuNbd(target(), export="x", tcp="unix" not in spelling, host=host) as server:
        with leaves_nothing(vm):
            done = ctl.ok("mirror", "vm", "--nbd", SPELLINGS[spelling](server))
        assert done["mirrors"][0]["target"] == server.uri.replace("127.0.0.1", "localhost" if spelling == "name" else "127.0.0.1")
        assert done["mirrors"][0]["state"] == "finished"
        assert_copied(path, server.image, "raw")
    assert_sound(ctl, vm)


def test_export_without_a_name_is_the_default_one(disk, target):
    vm, ctl, path = disk
    with QemuNbd(target()) as server:
        ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}")
        assert_copied(path, server.image, "raw")


@pytest.mark.parametrize("goal", ["--finish", "--follow"])
def test_server_that_serves_one_client_alone_gets_the_copy(disk, target, goal):
    """As qemu-nbd does by itself. It is looked at before QEMU connects, and it is seen that it lives before QEMU leaves."""
    vm, ctl, path = disk
    with QemuNbd(target(), words=["--shared=1"]) as server:
        done = ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}", goal)
        if goal == "--follow":
            ctl.ok("job", "complete", "vm", done["op"])
        assert_copied(path, server.image, "raw")
    assert_sound(ctl, vm)


def test_two_disks_go_to_two_exports_of_one_instant(qemu, chainctl, folder, tmp_path):
    words, paths = disks.two(folder, "32M")
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    exported = tmp_path / "exported"
    exported.mkdir()
    for name in NAMES:
        vm.qemu_io(name, "write -P 201 20M 8M")
        images.create(exported / f"disk-{name}", "32M", "raw")
    with Nbdkit("file", f"dir={exported}") as server, leaves_nothing(vm), Writer(vm, NAMES) as writer:
        writer.await_written(5)
        assert "%d" in ctl.fails(2, "mirror", "vm", "--nbd", f"unix:{server.socket}/disk")["hint"]
        done = ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}/disk-%d", "--speed", "16M")
        writer.await_written(writer.written + 2)
    assert [mirror["target"].partition("?")[0] for mirror in done["mirrors"]] == [f"nbd+unix:///disk-{name}" for name in NAMES]
    vda, vdb = (last_number(exported / f"disk-{name}", form="raw") for name in NAMES)
    assert vda - vdb in (0, 1) and vdb >= 5


def test_export_that_is_larger_gets_the_disk_at_its_beginning(disk, target):
    vm, ctl, path = disk
    with QemuNbd(target(12 << 20)) as server, leaves_nothing(vm):
        ctl.ok("mirror", "vm", "--nbd", server.nbd)
    written = server.image.read_bytes()
    assert written[8 << 20 :] == b"\xee" * (4 << 20), "what lies behind it is not touched"
    server.image.write_bytes(written[: 8 << 20])
    assert_copied(path, server.image, "raw")


def test_holes_stay_holes_behind_a_server_that_can_make_them(large, target):
    vm, ctl, path = large
    with QemuNbd(target(64 << 20), words=["--discard=unmap", "--detect-zeroes=unmap"]) as server:
        ctl.ok("mirror", "vm", "--nbd", server.nbd)
    assert_copied(path, server.image, "raw")
    assert allocated(server.image) < 50 << 20


def test_followed_export_is_kept_in_step(disk, target):
    vm, ctl, path = disk
    with QemuNbd(target()) as server, leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--nbd", server.nbd, "--follow")["op"]
        fill(vm, "vda", 7, 5)
        ctl.ok("job", "complete", "vm", op)
    assert_copied(path, server.image, "raw")
    assert images.reads(server.image, 7, 5 * REGION, REGION)


def test_vm_that_is_shut_off_is_copied_to_a_server(disk, target):
    vm, ctl, path = disk
    vm.kill()
    with QemuNbd(target()) as server:
        assert ctl.ok("mirror", "vm", "--nbd", server.nbd)["consistency"] == "offline"
    assert_copied(path, server.image, "raw")


def test_guest_is_not_moved_to_a_server(disk, target):
    vm, ctl, _ = disk
    with QemuNbd(target()) as server, leaves_nothing(vm):
        ctl.fails(9, "mirror", "vm", "--nbd", server.nbd, "--pivot")


# ---- servers that die ----


def test_server_that_comes_back_in_time_is_gone_on_with(large, target):
    vm, ctl, path = large
    with QemuNbd(target(64 << 20)) as server, leaves_nothing(vm):
        started = ctl.start("mirror", "vm", "--nbd", server.nbd, "--speed", "16M")
        await_progress(vm)
        server.kill()
        fill(vm, "vda", 9, 3)
        reads(vm, "vda", 0, 0, 0, 9)
        server.start()
        result = finish(started)
        assert result.status == 0, result
    assert_copied(path, server.image, "raw")
    assert images.reads(server.image, 9, 3 * REGION, REGION)


def test_server_that_stays_away_fails_the_copy_and_harms_no_guest(large, target):
    vm, ctl, path = large
    with QemuNbd(target(64 << 20)) as server, leaves_nothing(vm):
        started = ctl.start("mirror", "vm", "--nbd", server.nbd, "--speed", "16M")
        await_progress(vm)
        server.kill()
        fill(vm, "vda", 9, 3)
        with Pulse(vm) as pulse:
            result = finish(started)
        assert pulse.slowest < 2
        assert result.status == 1 and result.json["error"]["code"] == "failed", result
        assert "vda" in result.json["error"]["message"]
        reads(vm, "vda", 0, 0, 0, 9)
    assert {one["state"] for one in ctl.ok("log", "vm")["operations"] if one["verb"] == "mirror"} == {"undone"}
    assert_sound(ctl, vm)


def runs(vm):
    return vm.monitor().execute("query-status", timeout=30)["status"] == "running"


def stood_still(vm):
    """How long the VM stood still at most, by QEMU's own clock; of the events so far."""
    vm.monitor().execute("query-status")
    times = [(event["event"], event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6)
             for event in vm.monitor().events if event["event"] in ("STOP", "RESUME")]  # fmt: skip
    return max((end - begin for (_, begin), (what, end) in itertools.pairwise(times) if what == "RESUME"), default=0)


@pytest.fixture
def exported(qemu, chainctl, folder, tmp_path):
    """(vm, ctl, paths, exported): two disks, and a folder with an export for each."""
    words, paths = disks.two(folder)
    vm, ctl = qemu(words, paused=False), chainctl()
    disks.register(ctl, vm)
    (tmp_path / "exported").mkdir()
    for name in NAMES:
        images.create(tmp_path / "exported" / name, "8M", "raw")
        fill(vm, name, 1, 0)
    return vm, ctl, paths, tmp_path / "exported"


@pytest.mark.parametrize("mode", ["background", "write-blocking"])
def test_guest_does_not_stand_still_for_a_server_that_is_dead_when_the_copies_are_to_end(exported, mode):
    vm, ctl, paths, folder = exported
    with Nbdkit("file", f"dir={folder}") as server, leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}/%d", "--follow", "--copy-mode", mode)["op"]
        server.kill()
        with Pulse(vm) as pulse:
            ctl.fails(4, "job", "complete", "vm", op)
        assert pulse.slowest < 2 and stood_still(vm) == 0
        for name in NAMES:
            fill(vm, name, 5, 1)
    assert_sound(ctl, vm)


def test_server_that_is_back_before_the_copies_are_to_end_has_all_of_them(exported):
    vm, ctl, paths, folder = exported
    with Nbdkit("file", f"dir={folder}") as server, leaves_nothing(vm):
        op = ctl.ok("mirror", "vm", "--nbd", f"unix:{server.socket}/%d", "--follow")["op"]
        server.kill()
        started = ctl.start("job", "complete", "vm", op)
        server.start()
        result = finish(started)
        assert result.status == 0, result
        assert stood_still(vm) < 5
    for name, path in paths.items():
        assert_copied(path, folder / name, "raw")


@pytest.mark.time_limit(240)
@pytest.mark.parametrize("at", ["stop", "block-job-cancel"])
def test_server_that_dies_at_the_last_moment_costs_the_guest_that_moment(exported, tmp_path, at):
    """QEMU waits for it in `stop`, ten seconds for each disk, and does nothing else meanwhile."""
    vm, ctl, paths, folder = exported
    with Nbdkit("file", f"dir={folder}") as server, leaves_nothing(vm):
        with Proxy(tmp_path / "tap", vm.qmp, [], before=lambda command, _: server.kill() if command == at else None) as proxy:
            ctl.ok("vm", "set", "vm", "--qmp", proxy.path)
            done = ctl.run("mirror", "vm", "--nbd", f"unix:{server.socket}/%d", timeout=150)
            assert done.status in (1, 8), done
            process.wait_until(lambda: runs(vm), 30, "the guest to go on")
            ctl.ok("recover", "vm")
            ctl.ok("vm", "set", "vm", "--qmp", vm.qmp)
        for name in NAMES:
            fill(vm, name, 5, 1)
    assert_sound(ctl, vm)


def test_chainctl_killed_mid_copy_is_taken_back_with_its_credentials(large, target, tmp_path):
    vm, ctl, path = large
    tls = Tls(tmp_path)
    with QemuNbd(target(64 << 20), tcp=True, tls=tls.server) as server, leaves_nothing(vm):
        started = ctl.start("mirror", "vm", "--nbd", server.nbd, "--tls-creds", tls.client, "--speed", "4M")
        await_progress(vm)
        started.kill()
        started.communicate()
        assert [one["outcome"] for one in ctl.ok("recover", "vm")["recovered"]] == ["undone"]
    assert_sound(ctl, vm)


def test_qemu_killed_while_an_export_is_followed_leaves_what_is_there(disk, target):
    vm, ctl, path = disk
    with QemuNbd(target()) as server:
        ctl.ok("mirror", "vm", "--nbd", server.nbd, "--follow")
        vm.kill()
        [entry] = ctl.ok("recover", "vm")["recovered"]
        assert entry["verb"] == "mirror" and entry["outcome"] == "finished"
        assert_copied(path, server.image, "raw")


# ---- servers that do not fit ----


def refused(disk, status, server, *words, text=()):
    vm, ctl, _ = disk
    with leaves_nothing(vm):
        begun = time.monotonic()
        error = ctl.fails(status, "mirror", "vm", "--nbd", server, "--timeout", "2", *words)
        assert time.monotonic() - begun < 6
    assert all(word in error["message"] + error.get("hint", "") for word in text), error
    assert ctl.ok("recover", "vm")["recovered"] == []
    return error


def test_export_that_is_too_small_is_refused(disk, target):
    with QemuNbd(target(4 << 20)) as server:
        refused(disk, 9, server.nbd, text=("too small", str(4 << 20), str(8 << 20), "at least"))
    assert server.image.read_bytes() == b"\xee" * (4 << 20)


def test_export_that_is_read_only_is_refused(disk, target):
    with QemuNbd(target(), read_only=True) as server:
        refused(disk, 9, server.nbd, text=("only be read",))


def test_export_that_is_not_there_is_named(disk, target):
    with QemuNbd(target(), export="right") as server:
        refused(disk, 3, f"unix:{server.socket}/wrong", text=("'wrong'",))


def test_nobody_listens(disk, tmp_path):
    refused(disk, 4, f"unix:{tmp_path / 'none'}")
    refused(disk, 4, "127.0.0.1:1/x")


class Stranger:
    """Listens, says these bytes to each client, and then nothing; counts its clients."""

    def __init__(self, words=b"", hang_up=False):
        self.words, self.hang_up, self.clients, self.heard = words, hang_up, 0, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.nbd = f"127.0.0.1:{self.listener.getsockname()[1]}/x"
        self._held = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for held in (self.listener, *self._held):
            held.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.clients += 1
                client.sendall(self.words)
                if self.hang_up:
                    client.close()
                else:
                    self._held.append(client)


GREETING = b"NBDMAGICIHAVEOPT" + b"\0\3"
STRANGERS = {
    "silent": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "half a greeting": GREETING[:9],
    "an NBD server of old": b"NBDMAGIC" + b"\0\0\x42\x02\x81\x86\x12\x53" + bytes(144),
    "nothing but a greeting": GREETING,
    "a greeting, and garbage": GREETING + b"\xff" * 64,
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_qemu_is_never_told_of_one_that_speaks_no_nbd(disk, kind):
    with Stranger(STRANGERS[kind]) as stranger:
        refused(disk, 4, stranger.nbd)
        assert stranger.clients == 1, "the one that asks before QEMU does"


def test_one_that_hangs_up_is_told(disk):
    with Stranger(GREETING, hang_up=True) as stranger:
        refused(disk, 4, stranger.nbd)


# ---- TLS ----


class Recorder:
    """Between a client and a server's port; keeps what both say."""

    def __init__(self, port):
        self.heard = bytearray()
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with socket.create_connection(("127.0.0.1", port)) as upstream:
                    back = threading.Thread(target=self.pump, args=(upstream, self.request), daemon=True)
                    back.start()
                    self.pump(self.request, upstream)
                    back.join(20)

            def pump(self, source, sink):
                with contextlib.suppress(OSError):
                    while received := source.recv(65536):
                        recorder.heard += received
                        sink.sendall(received)
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def assert_no_clear_text(self, export=b"secret-name"):
        assert b"IHAVEOPT" in self.heard, "it has heard nothing at all"
        assert export not in self.heard and bytes([MARK]) * 64 not in self.heard


@pytest.fixture
def tls(tmp_path):
    return Tls(tmp_path)


def test_recorder_would_hear_clear_text(disk, target):
    vm, ctl, path = disk
    with QemuNbd(target(), export="secret-name", tcp=True) as server, Recorder(server.port) as recorder:
        ctl.ok("mirror", "vm", "--nbd", f"127.0.0.1:{recorder.port}/secret-name")
        with pytest.raises(AssertionError):
            recorder.assert_no_clear_text()


@pytest.mark.parametrize("scheme", ["", "nbds://"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_copy_over_tls_is_whole_and_nothing_of_it_is_readable(disk, target, tls, host, scheme):
    vm, ctl, path = disk
    with QemuNbd(target(), export="secret-name", tcp=True, tls=tls.server) as server, Recorder(server.port) as recorder:
        with leaves_nothing(vm):
            ctl.ok("mirror", "vm", "--nbd", f"{scheme}{host}:{recorder.port}/secret-name", "--tls-creds", tls.client)
        recorder.assert_no_clear_text()
    assert_copied(path, server.image, "raw")


def test_followed_copy_over_tls_leaves_no_credentials_behind(disk, target, tls):
    vm, ctl, path = disk
    with QemuNbd(target(), tcp=True, tls=tls.server) as server:
        for last in ("complete", "cancel"):
            with leaves_nothing(vm):
                op = ctl.ok("mirror", "vm", "--nbd", server.nbd, "--tls-creds", tls.client, "--follow")["op"]
                ctl.ok("job", last, "vm", op)


@pytest.mark.parametrize("folder_of", ["wrong_name", "untrusted_server", "expired_server"])
def test_server_whose_certificate_is_not_to_be_trusted_gets_nothing(disk, target, tls, folder_of):
    vm, ctl, path = disk
    creds = getattr(tls, folder_of)
    with Nbdkit("file", target(), tcp=True, tls=creds) as server, Recorder(server.port) as recorder:
        with leaves_nothing(vm):
            error = ctl.fails(1, "mirror", "vm", "--nbd", f"127.0.0.1:{recorder.port}/secret-name", "--tls-creds", tls.client)
        assert "ertificate" in error["message"], error
        recorder.assert_no_clear_text()
    assert (server.arguments[0]).read_bytes() == b"\xee" * (8 << 20)


def test_client_that_the_server_does_not_trust_is_refused(disk, target, tls):
    vm, ctl, path = disk
    with QemuNbd(target(), tcp=True, tls=tls.server) as server, leaves_nothing(vm):
        ctl.fails(1, "mirror", "vm", "--nbd", server.nbd, "--tls-creds", tls.untrusted_client)


def test_server_without_tls_gets_nothing_from_one_with_credentials(disk, target, tls):
    vm, ctl, path = disk
    with QemuNbd(target(), export="secret-name", tcp=True) as server, Recorder(server.port) as recorder:
        refused(disk, 9, f"127.0.0.1:{recorder.port}/secret-name", "--tls-creds", tls.client, text=("TLS",))
        recorder.assert_no_clear_text()


def test_server_that_wants_tls_is_not_given_clear_text(disk, target, tls):
    with QemuNbd(target(), tcp=True, tls=tls.server) as server, Recorder(server.port) as recorder:
        refused(disk, 9, f"127.0.0.1:{recorder.port}/x", text=("TLS", "--tls-creds"))
        recorder.assert_no_clear_text()


def test_uri_that_says_tls_is_not_spoken_to_in_clear_text(disk, target):
    with QemuNbd(target(), export="secret-name", tcp=True) as server:
        refused(disk, 2, f"nbds://127.0.0.1:{server.port}/secret-name", text=("--tls-creds",))
    assert server.image.read_bytes() == b"\xee" * (8 << 20)


def test_folder_without_credentials_is_told_and_nothing_is_left(disk, target, tls, tmp_path):
    vm, ctl, path = disk
    (tmp_path / "empty").mkdir()
    with QemuNbd(target(), tcp=True, tls=tls.server) as server, leaves_nothing(vm):
        ctl.fails(1, "mirror", "vm", "--nbd", server.nbd, "--tls-creds", tmp_path / "empty")
        ctl.fails(1, "mirror", "vm", "--nbd", server.nbd, "--tls-creds", tmp_path / "none")
