"""The rig's NBD servers and certificates: what tests of copies over the network take for granted."""
import subprocess

import pytest

from support import images
from support.nbd import Nbdkit, QemuNbd, qemu_io
from support.process import program
from support.tls import Tls


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def disk(tmp_path):
    return images.create(tmp_path / "t.raw", "8M", fmt="raw")


def over_tls(server, client, *commands):
    """qemu-io as a client that holds the certificates in that folder."""
    creds = f"tls-creds-x509,id=tls,endpoint=client,verify-peer=on,dir={client}"
    node = f"driver=nbd,server.type=inet,server.host={server.host},server.port={server.port},tls-creds=tls"
    return qemu_io(f"{node},export={server.export}", *commands, options=("--object", creds, "--image-opts"))


@pytest.mark.parametrize("address", [{}, {"tcp": True}, {"tcp": True, "host": "::1"}, {"export": "vda"}], ids=str)
@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_a_server_that_is_killed_comes_back_at_the_same_address(disk, kind, address):
    server = QemuNbd(disk, **address) if kind == "qemu-nbd" else Nbdkit("file", disk, **address)
    with server:
        server.qemu_io("write -P 7 0 64k")
        uri = server.uri
        server.kill()
        with pytest.raises(AssertionError, match="refused|No such file"):
            server.qemu_io("read 0 512")
        server.start()
        assert server.uri == uri
        server.qemu_io("read -P 7 0 64k")


@pytest.mark.parametrize("kind", ["qemu-nbd", "nbdkit"])
def test_a_server_with_tls_serves_those_that_its_authority_signed_and_nobody_else(disk, tls, kind):
    options = {"tcp": True, "host": "127.0.0.1", "tls": tls.server, "export": "vda"}
    with QemuNbd(disk, **options) if kind == "qemu-nbd" else Nbdkit("file", disk, **options) as server:
        over_tls(server, tls.client, "write -P 9 0 64k", "read -P 9 0 64k")
        with pytest.raises(AssertionError):
            over_tls(server, tls.untrusted_client, "read 0 512")
        with pytest.raises(AssertionError, match="(?i)tls"):
            server.qemu_io("read 0 512")


@pytest.mark.parametrize("kind,why", [("wrong_name", "does not match the hostname"), ("untrusted_server", "known issuer"),
                                      ("expired_server", "not trusted")])  # fmt: skip
def test_a_client_refuses_a_server_whose_certificate_does_not_hold(disk, tls, kind, why):
    with Nbdkit("file", disk, tcp=True, tls=getattr(tls, kind)) as server:
        with pytest.raises(AssertionError, match=why):
            over_tls(server, tls.client, "read 0 512")


def test_a_server_can_be_read_only_and_can_fail_and_be_slow(disk, tmp_path):
    with QemuNbd(disk, read_only=True) as server:
        with pytest.raises(AssertionError, match="read-only|Permission|not permitted"):
            server.qemu_io("write 0 512")
    with Nbdkit("memory", "8M", read_only=True) as server:
        with pytest.raises(AssertionError, match="read-only|Permission|not permitted"):
            server.qemu_io("write 0 512")
    broken = tmp_path / "broken"
    words = ("error-pwrite=ENOSPC", "error-pwrite-rate=100%", f"error-file={broken}")
    with Nbdkit("memory", "8M", filters=("error",), words=words) as server:
        server.qemu_io("write -P 3 0 64k")
        broken.touch()
        with pytest.raises(AssertionError, match="No space left"):
            server.qemu_io("write -P 4 0 64k")
        broken.unlink()
        server.qemu_io("read -P 3 0 64k")


def test_what_libnbd_says_of_a_server_is_what_it_was_given(disk):
    with QemuNbd(disk, export="vda") as server:
        size = subprocess.run([program("nbdinfo"), "--size", server.uri], capture_output=True, text=True, timeout=30)
    assert size.stdout.strip() == str(8 << 20), size.stderr
