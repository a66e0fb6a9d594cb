"""Installs what a check needs and the machine lacks (Debian packages; needs root or sudo)."""

import os
import shutil
import subprocess
import sys

PACKAGES = {"sipp": "sip-tester", "kamailio": "kamailio", "stunnel4": "stunnel4", "sipsak": "sipsak",
            "openssl": "openssl", "baresip": "baresip-core", "rustc": None}


def find(program):
    """Path of a program, the directories of system programs included."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])
    return shutil.which(program, path=path)


def ensure(*programs):
    """Installs the Debian packages of the programs that are missing; ends the run when that fails."""
    missing = [program for program in programs if not find(program)]
    packages = sorted({PACKAGES[program] for program in missing if PACKAGES.get(program)})
    if packages:
        print("installing", *packages, flush=True)
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": environment}
        subprocess.run(sudo + ["apt-get", "update", "-q"], **quiet)
        # Without the daemons: the packages of Kamailio and stunnel would start theirs.
        subprocess.run(sudo + ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "install", "-qy",
                               "--no-install-recommends"] + packages, **quiet)
    still = [program for program in missing if not find(program)]
    if still:
        sys.exit("missing and not installable here: " + ", ".join(still))
