"""What `receive` says, and when: its one answer as soon as it serves, on one line for scripts."""
import re

from documents import assert_failure, assert_success, only_document
from support import process
from support.chainctl import finish
from support.nbd import qemu_io
from support.receiver import Receiver


def test_document_is_one_line_and_there_while_it_serves(chainctl, tmp_path):
    with Receiver(chainctl(), tmp_path, "vda=8M", "vdb=8M:raw") as receiver:
        assert_success("receive", receiver.document)
        assert [export["disk"] for export in receiver.document["exports"]] == ["vda", "vdb"]
        assert receiver.process.poll() is None
        receiver.interrupt()
        result = receiver.wait()
    assert result.status == 1 and result.out == ""


def test_people_read_where_to_send_and_then_what_came(chainctl, tmp_path):
    words = ["receive", "--listen", "127.0.0.1:0", "--to", tmp_path, "--disk", "vda=8M:raw", "--disk", "vdb=8M", "--timeout", "1"]
    started = chainctl().start(*words, json_output=False)
    try:
        ready = [started.stdout.readline() for _ in range(2)]
        uris = [re.fullmatch(r"ready: (vd.) at (nbd://127\.0\.0\.1:\d+/\1)\n", line)[2] for line in ready]
        qemu_io(uris[0], "write -P 1 0 64k")
        result = finish(started)
    finally:
        process.end(started)
    assert result.status == 0
    assert result.out.splitlines()[0] == f"vda: 64 KiB in {tmp_path}/vda.raw"
    assert result.err == "chainctl: warning: disk 'vdb': nothing was written to it\n"


def test_quiet_leaves_only_the_answer(chainctl, tmp_path):
    words = ["receive", "-q", "--listen", "127.0.0.1:0", "--to", tmp_path, "--disk", "vda=8M:raw", "--timeout", "1"]
    started = chainctl().start(*words, json_output=False)
    try:
        qemu_io(started.stdout.readline().split()[-1], "write -P 1 0 64k")
        result = finish(started)
    finally:
        process.end(started)
    assert (result.status, result.out, result.err) == (0, "", "")


def test_failure_before_it_serves_is_the_document(chainctl, tmp_path):
    result = chainctl().run("receive", "--listen", "127.0.0.1:0", "--to", tmp_path, "--disk", "vda=8M", "--disk", "vda=8M")
    assert result.status == 2
    assert_failure("receive", only_document(result.out))


def test_a_folder_that_is_no_utf8_is_refused(chainctl, tmp_path):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    error = chainctl().fails(9, "receive", "--listen", "127.0.0.1:0", "--to", folder, "--disk", "vda=8M")
    assert "UTF-8" in error["message"] and list(folder.iterdir()) == []
