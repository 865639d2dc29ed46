"""`mirror --nbd` into `receive`: two hosts' ends of a copy, which need nothing else."""
import subprocess

import pytest

from support import disks, images, process
from support.nbd import Relay
from support.receiver import Receiver
from support.tls import Tls


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "received"
    made.mkdir()
    return made


@pytest.fixture
def vm(qemu, chainctl, tmp_path):
    """A registered VM with two disks, something on both."""
    words, _ = disks.two(tmp_path)
    started = qemu(words, paused=False)
    disks.register(chainctl(), started)
    started.qemu_io("vda", "write -P 1 0 1M")
    started.qemu_io("vdb", "write -P 2 2M 1M")
    return started


def sources(vm):
    """{disk: its active image}: what the guest had when the copies ended, as nobody writes since."""
    return {name: disks.inserted(vm, name)["file"] for name in ("vda", "vdb")}


@pytest.mark.parametrize("listen", ["unix", "127.0.0.1:0", "[::1]:0"])
@pytest.mark.parametrize("form", ["qcow2", "raw"])
def test_both_disks_arrive_and_the_receiver_ends(vm, chainctl, folder, listen, form):
    ctl, listen = chainctl(), None if listen == "unix" else listen
    with Receiver(ctl, folder, f"vda=8M:{form}", f"vdb=8M:{form}", listen=listen) as receiver:
        mirrors = ctl.ok("mirror", "vm", "--nbd", f"{receiver.nbd}/%d")["mirrors"]
        assert [mirror["state"] for mirror in mirrors] == ["finished"] * 2
        result = receiver.wait()
    assert (result.status, result.err) == (0, result.err) and "nothing" not in result.err
    for name, source in sources(vm).items():
        assert images.compare(source, folder / f"{name}.{form}")


def test_over_tls_both_disks_arrive(vm, chainctl, folder, tls):
    ctl = chainctl()
    words = ("--tls-creds", tls.server)
    with Receiver(ctl, folder, "vda=8M", "vdb=8M", listen="localhost:0", words=words) as receiver:
        ctl.ok("mirror", "vm", "--nbd", f"{receiver.nbd}/%d", "--tls-creds", tls.client)
        assert receiver.wait().status == 0
    for name, source in sources(vm).items():
        assert images.compare(source, folder / f"{name}.qcow2")


@pytest.mark.parametrize("server,client", [("wrong_name", "client"), ("server", "untrusted_client"), ("server", None)])
def test_with_certificates_that_do_not_hold_nothing_is_sent(vm, chainctl, folder, tls, server, client):
    ctl = chainctl()
    words = ("--tls-creds", getattr(tls, server))
    with Receiver(ctl, folder, "vda=8M", "vdb=8M", listen="localhost:0", words=words) as receiver:
        creds = ["--tls-creds", getattr(tls, client)] if client else []
        result = ctl.run("mirror", "vm", "--nbd", f"{receiver.nbd}/%d", *creds)
        assert result.status in (1, 4, 9) and not result.json["ok"]
        assert process.is_alive(receiver.process.pid)
        receiver.interrupt()
        assert receiver.wait().status == 1
    assert list(folder.iterdir()) == []


def test_only_what_lies_above_is_sent_where_the_backing_images_are_there_already(vm, chainctl, folder, tmp_path):
    ctl = chainctl()
    ctl.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", "write -P 3 4M 64k")
    below = {name: tmp_path / f"{name}.qcow2" for name in ("vda", "vdb")}
    words = [word for name, path in below.items() for word in ("--backing", f"{name}={path}")]
    with Receiver(ctl, folder, "vda=8M", "vdb=8M", words=words) as receiver:
        ctl.ok("mirror", "vm", "--nbd", f"{receiver.nbd}/%d", "--sync", "top")
        result = receiver.wait()
    assert result.status == 0
    for name, source in sources(vm).items():
        assert images.compare(source, folder / f"{name}.qcow2")
        assert images.info(folder / f"{name}.qcow2")["full-backing-filename"] == str(below[name])
    assert images.info(folder / "vdb.qcow2")["actual-size"] < 1 << 20


def test_a_target_of_another_size_is_refused_before_anything_is_sent(vm, chainctl, folder):
    ctl = chainctl()
    with Receiver(ctl, folder, "vda=8M", "vdb=4M") as receiver:
        assert ctl.run("mirror", "vm", "--nbd", f"{receiver.nbd}/%d").status == 9
        receiver.interrupt()
        assert receiver.wait().status == 1
    assert list(folder.iterdir()) == []


def test_it_stays_while_copies_are_kept_in_step(vm, chainctl, folder):
    ctl = chainctl()
    with Receiver(ctl, folder, "vda=8M", "vdb=8M", timeout=0.5) as receiver:
        op = ctl.ok("mirror", "vm", "--nbd", f"{receiver.nbd}/%d", "--follow")["op"]
        vm.qemu_io("vdb", "write -P 9 5M 64k")
        with pytest.raises(subprocess.TimeoutExpired):
            receiver.process.wait(3)
        ctl.ok("job", "complete", "vm", op)
        assert receiver.wait().status == 0
    for name, source in sources(vm).items():
        assert images.compare(source, folder / f"{name}.qcow2")


def test_a_link_that_is_cut_for_less_than_the_timeout_costs_nothing(vm, chainctl, folder):
    ctl = chainctl()
    with Receiver(ctl, folder, "vda=8M", "vdb=8M", listen="127.0.0.1:0", timeout=6) as receiver:
        with Relay(int(receiver.nbd.rpartition(":")[2])) as relay:
            op = ctl.ok("mirror", "vm", "--nbd", f"127.0.0.1:{relay.port}/%d", "--follow")["op"]
            with relay.cut():
                vm.qemu_io("vda", "write -P 8 3M 64k")
                assert not process.wait_dead(receiver.process.pid, 3)
            vm.qemu_io("vdb", "write -P 9 3M 64k")
            ctl.ok("job", "complete", "vm", op)
        assert receiver.wait().status == 0
    for name, source in sources(vm).items():
        assert images.compare(source, folder / f"{name}.qcow2")


@pytest.mark.parametrize("connected", [False, True])
def test_told_to_end_it_keeps_overlays_to_which_nothing_had_to_be_written(vm, chainctl, folder, tmp_path, connected):
    ctl = chainctl()
    ctl.ok("snapshot", "vm", "one")
    below = tmp_path / "vda.qcow2"
    with Receiver(ctl, folder, "vda=8M", words=("--backing", f"vda={below}")) as receiver:
        op = ctl.ok("mirror", "vm", "--disk", "vda", "--nbd", f"{receiver.nbd}/vda", "--sync", "top", "--follow")["op"]
        if not connected:
            ctl.ok("job", "complete", "vm", op)
        receiver.process.terminate()
        result = receiver.wait()
    assert result.status == (8 if connected else 0), result
    assert connected or "nothing was written" in result.err
    assert images.info(folder / "vda.qcow2")["full-backing-filename"] == str(below)
    assert images.compare(sources(vm)["vda"], folder / "vda.qcow2")
