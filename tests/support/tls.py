"""Certificates for NBD over TLS, made with openssl, each folder laid out as QEMU wants it.

    tls = Tls(tmp_path)
    tls.server            ca-cert.pem, server-cert.pem, server-key.pem: for localhost, 127.0.0.1 and ::1
    tls.client            ca-cert.pem, client-cert.pem, client-key.pem: by the same authority
    tls.wrong_name        as server, but its certificate is for another host
    tls.untrusted_server  as server, by an authority that `client` does not know; it knows both
    tls.untrusted_client  as client, by that authority too; it knows both
    tls.expired_server    as server, but its time is over: QEMU would not serve with it, nbdkit does

A folder is a pathlib.Path, made when it is first asked for. Certificates are an hour old: faketime counts whole seconds,
and one that begins in the coming second is not valid yet.
"""
import functools
import pathlib
import subprocess

HERE = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")


def openssl(*words, when="1 hour ago"):
    done = subprocess.run(["faketime", when, "openssl", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"openssl {words}: {done.stderr}"


class Authority:
    """One that signs; `certificate` is what those hold who trust it."""

    def __init__(self, folder, name):
        folder.mkdir(parents=True)
        self.certificate, self.key = folder / "ca-cert.pem", folder / "ca-key.pem"
        openssl(
            *("req", "-x509", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", self.key, "-out", self.certificate, "-days", 2, "-subj", f"/CN={name}"),
            *("-addext", "keyUsage=critical,keyCertSign"),
        )

    def sign(self, folder, kind, names, others=(), when="1 hour ago"):
        """A folder for a "server" or a "client" with these names, who trusts this authority, and the others given."""
        folder.mkdir(parents=True)
        key, request, extensions = folder / f"{kind}-key.pem", folder / "request", folder / "extensions"
        openssl(
            *("req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", key, "-out", request, "-subj", f"/CN={kind}"),
        )
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
            f"extendedKeyUsage={kind}Auth\nsubjectAltName={','.join(names)}\n"
        )
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"),
            *("-days", 2, "-extfile", extensions, "-out", folder / f"{kind}-cert.pem"),
            when=when,
        )
        (folder / "ca-cert.pem").write_text("".join(known.certificate.read_text() for known in (self, *others)))
        for passing in (request, extensions):
            passing.unlink()
        return folder


class Tls:
    """Two authorities, and those that they signed, below one folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "tls"

    @functools.cached_property
    def authority(self):
        return Authority(self.folder / "authority", "authority")

    @functools.cached_property
    def stranger(self):
        return Authority(self.folder / "stranger", "stranger")

    @functools.cached_property
    def server(self):
        return self.authority.sign(self.folder / "server", "server", HERE)

    @functools.cached_property
    def client(self):
        return self.authority.sign(self.folder / "client", "client", ["DNS:client"])

    @functools.cached_property
    def wrong_name(self):
        return self.authority.sign(self.folder / "wrong-name", "server", ["DNS:elsewhere.example"])

    @functools.cached_property
    def untrusted_server(self):
        return self.stranger.sign(self.folder / "untrusted-server", "server", HERE, [self.authority])

    @functools.cached_property
    def untrusted_client(self):
        return self.stranger.sign(self.folder / "untrusted-client", "client", ["DNS:client"], [self.authority])

    @functools.cached_property
    def expired_server(self):
        return self.authority.sign(self.folder / "expired-server", "server", HERE, when="5 days ago")
