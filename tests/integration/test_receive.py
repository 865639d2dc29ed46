"""`receive`: new images served over NBD until the sender is done, and what is left in every case."""
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from support import images, mounts, process
from support.nbd import QemuNbd, connected, qemu_io
from support.process import program
from support.receiver import Receiver
from support.tls import Tls


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


def assert_nothing_is_left(receiver_folder, listen=None):
    assert list(receiver_folder.iterdir()) == []
    assert listen is None or not os.path.exists(listen)


def copy(source, uri):
    """As a sender that is no mirror: all of the source, then it leaves."""
    images.qemu_img("convert", "-n", "-O", "raw", source, uri)


@pytest.mark.parametrize("listen", ["unix", "127.0.0.1:0", "[::1]:0", "localhost:0", ":0"])
def test_what_is_sent_lies_in_the_new_images_when_it_ends(chainctl, folder, tmp_path, listen):
    sources = {name: images.create(tmp_path / f"{name}.src", "8M") for name in ("vda", "vdb")}
    images.write(sources["vda"], "write -P 7 1M 64k")
    images.write(sources["vdb"], "write -P 9 2M 64k")
    with Receiver(chainctl(), folder, "vda=8M", "vdb=8M:raw", listen=None if listen == "unix" else listen) as receiver:
        here = "127.0.0.1" if listen == ":0" else socket.gethostname()  # whose own name need not be known to its resolver
        for name, source in sources.items():
            copy(source, receiver.uris[name].replace(socket.gethostname(), here))
        result = receiver.wait()
    assert (result.status, result.out, result.err) == (0, "", result.err)
    assert {path.name for path in folder.iterdir()} == {"vda.qcow2", "vdb.raw"}
    assert images.compare(sources["vda"], folder / "vda.qcow2") and images.is_clean(folder / "vda.qcow2")
    assert images.compare(sources["vdb"], folder / "vdb.raw")
    assert not os.path.exists(receiver.nbd.removeprefix("unix:"))


def test_a_live_mirror_of_qemu_ends_it(chainctl, folder, tmp_path, qemu):
    path = images.create(tmp_path / "vda.qcow2", "8M")
    images.write(path, "write -P 7 1M 64k")
    vm = qemu(["-blockdev", f"driver=qcow2,node-name=vda,file.driver=file,file.filename={path}"])
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        server = {"type": "unix", "path": receiver.nbd.removeprefix("unix:")}
        monitor = vm.monitor()
        monitor.execute("blockdev-add", driver="nbd", node_name="target", server=server, export="vda")
        monitor.execute("blockdev-mirror", job_id="m", device="vda", target="target", sync="full")
        process.wait_until(lambda: monitor.execute("query-block-jobs")[0]["ready"], 60, "the mirror in step")
        monitor.execute("block-job-cancel", device="m")
        process.wait_until(lambda: not monitor.execute("query-block-jobs"), 60, "the mirror's end")
        assert receiver.process.poll() is None
        monitor.execute("blockdev-del", node_name="target")
        assert receiver.wait().status == 0
    assert images.compare(path, folder / "vda.qcow2") and images.is_clean(folder / "vda.qcow2")
    assert images.info(folder / "vda.qcow2")["virtual-size"] == 8 << 20


def test_the_document_is_there_at_once_and_people_read_where_to_send(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M", listen="[::1]:0") as receiver:
        assert receiver.document["exports"] == [
            {"disk": "vda", "uri": receiver.uris["vda"], "bitmap": None, "path": str(folder / "vda.qcow2")}]  # fmt: skip
        assert receiver.uris["vda"].startswith("nbd://[::1]:")
    started = chainctl().start("receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "v d=8M:raw", json_output=False)
    try:
        line = started.stdout.readline()
        assert line.startswith("ready: v d at nbd://127.0.0.1:") and line.endswith("/v%20d\n")
        assert subprocess.run([program("nbdinfo"), "--size", line.split()[-1]], capture_output=True, text=True).stdout == "8388608\n"
    finally:
        process.end(started)


def test_a_look_at_an_export_does_not_end_it_nor_does_an_outage_that_is_shorter_than_the_timeout(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M", timeout=6) as receiver:
        uri = receiver.uris["vda"]
        for _ in range(3):
            qemu_io(uri, "read -P 0 0 64k")
        with pytest.raises(subprocess.TimeoutExpired):
            receiver.process.wait(8)
        qemu_io(uri, "write -P 1 0 64k")
        with pytest.raises(subprocess.TimeoutExpired):
            receiver.process.wait(1)
        qemu_io(uri, "write -P 2 64k 64k")
        assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 1, 0, 65536) and images.reads(folder / "vda.qcow2", 2, 65536, 65536)


def test_it_stays_as_long_as_somebody_is_connected_however_silent(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M", "vdb=8M", timeout=0.5) as receiver:
        with connected(receiver.uris["vda"], "write -P 1 0 64k") as sender:
            with pytest.raises(subprocess.TimeoutExpired):
                receiver.process.wait(3)
            sender.stdin.write("write -P 2 64k 64k\n")
            sender.stdin.close()
            sender.wait(60)
        result = receiver.wait()
    assert result.status == 0 and "disk 'vdb': nothing was written to it" in result.err
    assert images.reads(folder / "vda.qcow2", 2, 65536, 65536)


def test_the_kernel_watches_a_connection_so_that_a_host_that_dies_is_noticed(chainctl, folder):
    """QEMU's own sockets have no keep-alive. Source: proc(5), /proc/net/tcp; timer 2 is that of keep-alive."""
    with Receiver(chainctl(), folder, "vda=8M", listen="127.0.0.1:0") as receiver:
        port = int(receiver.nbd.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(8) == b"NBDMAGIC"
            rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
            timers = [row[5] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    assert len(timers) == 1 and timers[0].startswith("02:"), timers


def test_sparse_stays_sparse(chainctl, folder, tmp_path):
    source = images.create(tmp_path / "src", "256M", fmt="raw")
    qemu_io(f"file:{source}", "write -P 1 0 64k", "write -P 1 200M 64k")
    with Receiver(chainctl(), folder, "vda=256M", "vdb=256M:raw") as receiver:
        qemu_io(receiver.uris["vdb"], "write -P 3 0 8M", "write -z -u 0 8M")
        for uri in receiver.uris.values():
            copy(source, uri)
        assert receiver.wait().status == 0
    for path in receiver.paths.values():
        assert images.compare(source, path)
        assert path.stat().st_blocks * 512 < 2 << 20


# ---- backing images ----


def test_what_is_written_lies_on_its_backing_image(chainctl, folder, tmp_path):
    base = images.create(tmp_path / "base.qcow2", "8M")
    images.write(base, "write -P 5 0 1M")
    os.chmod(base, 0o640)
    with Receiver(chainctl(), folder, "vda=8M", words=("--backing", f"vda={os.path.relpath(base)}")) as receiver:
        qemu_io(receiver.uris["vda"], "read -P 5 0 1M", "write -P 6 0 64k")
        assert receiver.wait().status == 0
    info = images.info(folder / "vda.qcow2")
    assert (info["backing-filename"], info["backing-filename-format"]) == (str(base), "qcow2")
    assert images.reads(folder / "vda.qcow2", 6, 0, 65536) and images.reads(folder / "vda.qcow2", 5, 65536, 65536)
    assert images.reads(base, 5, 0, 1 << 20)
    assert (folder / "vda.qcow2").stat().st_mode & 0o777 == 0o640


def test_a_backing_image_of_another_size_is_said(chainctl, folder, tmp_path):
    base = images.create(tmp_path / "base.raw", "4M", fmt="raw")
    with Receiver(chainctl(), folder, "vda=8M", words=("--backing", f"vda={base}")) as receiver:
        assert [warning["code"] for warning in receiver.document["warnings"]] == ["backing-size"]


@pytest.mark.parametrize("kind", ["format left out", "called raw", "a protocol"])
def test_a_backing_image_that_leaves_something_to_guess_is_refused(chainctl, folder, tmp_path, kind):
    path = images.create(tmp_path / "base.qcow2", "8M")
    if kind == "called raw":
        path = path.rename(tmp_path / "base.raw")
    else:
        below = "nbd://127.0.0.1:1/x" if kind == "a protocol" else images.create(tmp_path / "below.qcow2", "8M")
        words = ["-F", "raw"] if kind == "a protocol" else []
        images.qemu_img("rebase", "-u", "-b", below, *(words or ["-F", "qcow2"]), path)
        if kind == "format left out":
            data = path.read_bytes().replace(b"\xe2\x79\x2a\xca\0\0\0\5", b"\x12\x34\x56\x78\0\0\0\5", 1)
            path.write_bytes(data)
    error = chainctl().fails(9, "receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M", "--backing", f"vda={path}")
    assert path.name in error["message"]
    assert_nothing_is_left(folder)


def test_a_backing_image_that_a_guest_writes_to_is_refused(chainctl, folder, tmp_path):
    base = images.create(tmp_path / "base.qcow2", "8M")
    with QemuNbd(base, "qcow2"):
        error = chainctl().fails(1, "receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M",
                                 "--backing", f"vda={base}")  # fmt: skip
    assert "lock" in error["message"]
    assert_nothing_is_left(folder)


# ---- what is refused before anything is served ----


REFUSED = {
    "no folder": (1, ["--to", "{folder}/none", "--disk", "vda=8M"]),
    "a file as folder": (1, ["--to", "/etc/hostname", "--disk", "vda=8M"]),
    "a disk twice": (2, ["--disk", "vda=8M", "--disk", "vda=8M:raw"]),
    "no disk": (2, []),
    "no size": (2, ["--disk", "vda"]),
    "a bad size": (2, ["--disk", "vda=8X"]),
    "size nought": (2, ["--disk", "vda=0"]),
    "a negative size": (2, ["--disk", "vda=-8M"]),
    "half a sector": (2, ["--disk", "vda=1000"]),
    "too large for qcow2": (2, ["--disk", "vda=100000T"]),
    "a bad format": (2, ["--disk", "vda=8M:vmdk"]),
    "an empty format": (2, ["--disk", "vda=8M:"]),
    "a path as name": (2, ["--disk", "../vda=8M"]),
    "a hidden name": (2, ["--disk", ".vda=8M"]),
    "a backing image for nobody": (2, ["--disk", "vda=8M", "--backing", "vdb=/x"]),
    "two backing images": (2, ["--disk", "vda=8M", "--backing", "vda=/x", "--backing", "vda=/y"]),
    "a backing image of a raw one": (2, ["--disk", "vda=8M:raw", "--backing", "vda={base}"]),
    "no backing image": (3, ["--disk", "vda=8M", "--backing", "vda=/nowhere/x"]),
    "no certificates": (1, ["--disk", "vda=8M", "--tls-creds", "{folder}"]),
}


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_leaves_nothing(chainctl, folder, tmp_path, case, dry_run):
    base = images.create(tmp_path / "base.qcow2", "8M")
    status, words = REFUSED[case]
    words = [word.format(folder=folder, base=base) for word in words]
    to = [] if "--to" in words else ["--to", folder]
    error = chainctl().fails(status, "receive", "--listen", f"unix:{tmp_path}/nbd", *to, *words, *dry_run)
    assert case != "no folder" or error["hint"] == "make it first"
    assert_nothing_is_left(folder, tmp_path / "nbd")


@pytest.mark.parametrize("address,status", [
    ("nothing", 2), ("127.0.0.1", 2), ("127.0.0.1:x", 2), ("127.0.0.1:70000", 2), ("::1:10809", 2), ("unix:", 2),
    ("unix:/tmp/" + "x" * 110, 2), ("unix:/nowhere/nbd", 1), ("192.0.2.1:0", 1), ("no-such-host.invalid:0", 1)])  # fmt: skip
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry"])
def test_an_address_that_cannot_be_listened_at_is_refused(chainctl, folder, address, status, dry_run):
    error = chainctl().fails(status, "receive", "--listen", address, "--to", folder, "--disk", "vda=8M", *dry_run)
    assert address in error["message"]
    assert_nothing_is_left(folder)


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["", "dry"])
def test_an_address_that_is_taken_is_refused_and_stays_as_it_is(chainctl, folder, tmp_path, dry_run):
    words = ["--to", folder, "--disk", "vda=8M", *dry_run]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = chainctl().fails(1, "receive", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", *words)
        assert error["code"] == "exists" and "in use" in error["message"]
    (tmp_path / "nbd").write_text("somebody's")
    assert chainctl().fails(1, "receive", "--listen", f"unix:{tmp_path}/nbd", *words)["code"] == "exists"
    assert (tmp_path / "nbd").read_text() == "somebody's"
    assert_nothing_is_left(folder)


def test_an_image_that_is_there_is_never_overwritten(chainctl, folder):
    (folder / "vdb.qcow2").write_text("somebody's")
    words = ["--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M", "--disk", "vdb=8M"]
    assert chainctl().fails(1, "receive", *words)["code"] == "exists"
    (folder / "vdb.qcow2").unlink()
    (folder / "vdb.qcow2").symlink_to(folder / "elsewhere")
    assert chainctl().fails(1, "receive", *words)["code"] == "exists"
    assert [path.name for path in folder.iterdir()] == ["vdb.qcow2"]


def test_a_folder_without_room_is_said_and_a_full_one_leaves_nothing(chainctl, tmp_path):
    with mounts.ext4(tmp_path / "small") as small:
        with Receiver(chainctl(), small, "vda=64M") as receiver:
            assert "little-room" in [warning["code"] for warning in receiver.document["warnings"]]
        assert list(small.iterdir()) == []
        mounts.fill(small)
        chainctl().fails(1, "receive", "--listen", "127.0.0.1:0", "--to", small, "--disk", "vda=8M")
        assert [path.name for path in small.iterdir()] == ["filler"]


def test_a_disk_that_is_full_while_it_receives_is_told_to_the_sender(chainctl, tmp_path):
    with mounts.ext4(tmp_path / "small") as small:
        with Receiver(chainctl(), small, "vda=64M") as receiver:
            with pytest.raises(AssertionError, match="No space left"):
                qemu_io(receiver.uris["vda"], "write -P 1 0 32M")
            receiver.interrupt()
            assert receiver.wait().status in (0, 10)
        assert (small / "vda.qcow2").exists()


def test_without_a_storage_daemon_it_says_what_is_missing(chainctl, folder, tmp_path):
    ctl = chainctl(env={"PATH": str(tmp_path)})
    assert "qemu-storage-daemon" in ctl.fails(9, "receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M")["message"]
    assert_nothing_is_left(folder)


# ---- ended otherwise ----


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_anything_came_it_leaves_nothing(chainctl, folder, how):
    with Receiver(chainctl(), folder, "vda=8M", "vdb=8M:raw") as receiver:
        qemu_io(receiver.uris["vda"], "read 0 64k")
        receiver.process.send_signal(how)
        result = receiver.wait()
    assert result.status == 1 and "removed" in result.err
    assert_nothing_is_left(folder, receiver.nbd.removeprefix("unix:"))


def test_interrupted_when_the_sender_has_gone_it_is_done_at_once(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M", timeout=60) as receiver:
        qemu_io(receiver.uris["vda"], "write -P 4 0 64k")
        receiver.process.terminate()
        assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 4, 0, 65536) and images.is_clean(folder / "vda.qcow2")


def test_interrupted_while_the_sender_is_hanging_up_it_is_done(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        words = [program("qemu-io"), "-f", "raw", receiver.uris["vda"]]
        with process.running(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            sender.stdin.write("write -P 1 0 64k\nsleep 300\n")
            sender.stdin.close()
            assert sender.stdout.readline()
            receiver.process.terminate()
            assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 1, 0, 65536)


def test_interrupted_while_it_receives_it_says_so_and_keeps_what_came(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        with connected(receiver.uris["vda"], "write -P 1 0 64k"):
            receiver.interrupt()
            result = receiver.wait()
    assert result.status == 8 and "not complete" in result.err
    assert images.reads(folder / "vda.qcow2", 1, 0, 65536) and images.is_clean(folder / "vda.qcow2")


def test_the_daemon_ends_with_a_receiver_that_is_killed_and_the_images_stay(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        qemu_io(receiver.uris["vda"], "write -P 1 0 64k")
        daemon = receiver.daemon
        receiver.process.kill()
        receiver.process.wait()
        assert process.wait_dead(daemon, 5)
    assert (folder / "vda.qcow2").exists() and images.is_clean(folder / "vda.qcow2")


def test_a_daemon_that_dies_is_told_and_what_came_stays(chainctl, folder):
    with Receiver(chainctl(), folder, "vda=8M") as receiver:
        qemu_io(receiver.uris["vda"], "write -P 1 0 64k", "flush")
        os.kill(receiver.daemon, signal.SIGKILL)
        result = receiver.wait()
    assert result.status == 10 and "qemu-storage-daemon" in result.err
    assert images.reads(folder / "vda.qcow2", 1, 0, 65536)


def test_where_nobody_reads_the_answer_nothing_is_served(chainctl, folder):
    read, write = os.pipe()
    os.close(read)
    started = chainctl().start("receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M", stdout=write)
    os.close(write)
    assert started.wait(60) == 1
    started.communicate()
    assert_nothing_is_left(folder)


def test_a_dry_run_says_what_it_would_do_and_makes_nothing(chainctl, folder, tmp_path):
    document = chainctl().ok("receive", "--listen", f"unix:{tmp_path}/nbd", "--to", folder, "--disk", "vda=8M",
                             "--disk", "vdb=4M:raw", "--dry-run")  # fmt: skip
    assert [(step["to"], step["execute"]) for step in document["plan"]] == [("file", "create"), ("qemu", "block-export-add")] * 2
    assert document["plan"][2]["arguments"] == {"path": str(folder / "vdb.raw"), "format": "raw", "size": 4 << 20}
    assert_nothing_is_left(folder, tmp_path / "nbd")


# ---- TLS ----


def over_tls(receiver, client, *commands):
    host, _, port = receiver.nbd.rpartition(":")
    creds = f"tls-creds-x509,id=tls,endpoint=client,verify-peer=on,dir={client}"
    node = f"driver=nbd,server.type=inet,server.host={host},server.port={port},tls-creds=tls,export=vda"
    return qemu_io(node, *commands, options=("--object", creds, "--image-opts"))


def test_over_tls_only_those_that_its_authority_signed_can_send(chainctl, folder, tls):
    with Receiver(chainctl(), folder, "vda=8M", listen="localhost:0", words=("--tls-creds", tls.server)) as receiver:
        assert receiver.uris["vda"].startswith("nbds://localhost:")
        with pytest.raises(AssertionError):
            over_tls(receiver, tls.untrusted_client, "write -P 1 0 64k")
        with pytest.raises(AssertionError):
            qemu_io(receiver.uris["vda"].replace("nbds:", "nbd:"), "write -P 1 0 64k")
        over_tls(receiver, tls.client, "read -P 0 0 64k", "write -P 2 0 64k")
        assert receiver.wait().status == 0
    assert images.reads(folder / "vda.qcow2", 2, 0, 65536)


def test_a_sender_refuses_a_receiver_whose_certificate_is_anothers(chainctl, folder, tls):
    with Receiver(chainctl(), folder, "vda=8M", listen="localhost:0", words=("--tls-creds", tls.wrong_name)) as receiver:
        with pytest.raises(AssertionError, match="does not match the hostname"):
            over_tls(receiver, tls.client, "write -P 1 0 64k")


def test_certificates_that_cannot_serve_are_refused_and_leave_nothing(chainctl, folder, tls):
    error = chainctl().fails(1, "receive", "--listen", "localhost:0", "--to", folder, "--disk", "vda=8M",
                             "--tls-creds", tls.expired_server)  # fmt: skip
    assert "expired" in error["message"]
    assert_nothing_is_left(folder)


def test_what_is_open_to_a_network_without_tls_is_warned_of(chainctl, folder, tls):
    def codes(*words, listen):
        with Receiver(chainctl(), folder, "vda=8M", listen=listen, words=words) as receiver:
            return [warning["code"] for warning in receiver.document["warnings"]]

    assert "unprotected" in codes(listen=":0")
    assert "unprotected" not in codes(listen="127.0.0.1:0")
    assert "unprotected" not in codes("--tls-creds", tls.server, listen=":0")
