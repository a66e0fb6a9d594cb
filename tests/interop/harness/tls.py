"""stunnel on both sides: SIPp of Debian speaks no TLS. Certificates of a test authority by openssl."""

import os
import subprocess

from . import procs, tools


def certificates(directory):
    """A certificate authority (ca.pem) and a certificate of 127.0.0.1 (cert.pem, key.pem)."""
    os.makedirs(directory, exist_ok=True)
    path = lambda name: os.path.join(directory, name)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", path("ca.key"), "-out", path("ca.pem"), "-days", "30",
            "-subj", "/CN=Interop test authority", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", *key, "-keyout", path("key.pem"), "-out", path("request.pem"), "-subj", "/CN=127.0.0.1")
    with open(path("ext"), "w") as out:
        out.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n"
                  "extendedKeyUsage=serverAuth,clientAuth\n")
    openssl("x509", "-req", "-in", path("request.pem"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
            "-CAcreateserial", "-days", "30", "-extfile", path("ext"), "-out", path("cert.pem"))
    return directory


class Tunnel:
    """One stunnel process: `client` speaks TLS to `connect`, a server speaks TLS to who comes to `accept`."""

    def __init__(self, directory, certificates, accept, connect, client):
        os.makedirs(directory, exist_ok=True)
        self.accept, path = accept, os.path.join(directory, "stunnel.conf")
        lines = ["foreground = yes", "pid =", "debug = warning", "syslog = no", "[sip]",
                 f"client = {'yes' if client else 'no'}", f"accept = 127.0.0.1:{accept}", f"connect = 127.0.0.1:{connect}",
                 "socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1"]
        if client:
            lines += [f"CAfile = {certificates}/ca.pem", "verifyChain = yes", "checkIP = 127.0.0.1"]
        else:
            lines += [f"cert = {certificates}/cert.pem", f"key = {certificates}/key.pem"]
        with open(path, "w") as out:
            out.write("\n".join(lines) + "\n")
        self.process = procs.Process([tools.find("stunnel4"), path], os.path.join(directory, "stunnel.log"))
        if not procs.wait_until(lambda: procs.is_bound(accept, "tcp"), 5):
            raise RuntimeError("stunnel did not start: " + self.process.log_tail(500))

    def stop(self):
        self.process.stop(3)
