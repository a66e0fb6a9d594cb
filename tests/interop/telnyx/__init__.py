"""Applications written for Telnyx call control, with its own SDKs, against Baton and a SIPp phone. Used by `run`.

The SDKs are installed from their registries into BATON_SDKS, or beside the logs of the run."""

import glob
import json
import os
import shutil
import subprocess
import sys

import lab as labs
import owned
from harness import baton as server
from harness import procs
from harness.compose import CHALLENGED, digest_is_right, notify

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON, JAVASCRIPT = "4.189.0", "7.24.0"        # of the SDKs
PATIENCE = 300                                  # seconds, for their installation
WANTED = {
    "told": [["call.initiated", None], ["call.answered", None], ["call.refer.started", 100], ["call.refer.completed", 200],
             ["call.hangup", None]],
    "record_type": "call", "alive": [False, False], "ended": True,
    "refused": [[422, 1], [422, 1]],            # sent once: a fault of the caller is not tried again [telnyx 39]
}


def python(home):
    """The command that runs the Python application."""
    folder = os.path.join(home, "telnyx-python")
    program = os.path.join(folder, "bin", "python")
    if not glob.glob(os.path.join(folder, "lib", "python3*", "site-packages", f"telnyx-{PYTHON}.dist-info")):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=PATIENCE)
        subprocess.run([program, "-m", "pip", "install", "-q", f"telnyx[webhooks]=={PYTHON}"], check=True, timeout=PATIENCE)
    return [program, os.path.join(HERE, "app.py")]


def javascript(home):
    """The command that runs the JavaScript application; it looks for its package beside itself."""
    folder = os.path.join(home, "telnyx-javascript")
    if not os.path.exists(os.path.join(folder, "node_modules", "telnyx")):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", f"telnyx@{JAVASCRIPT}"], cwd=folder,
                       check=True, timeout=PATIENCE)
    return ["node", shutil.copy(os.path.join(HERE, "app.mjs"), folder)]


def telnyx_sdk(run):
    """[telnyx 21] [telnyx 23] [telnyx 27] [telnyx 31] [telnyx 39] Refusals, dial, refer (challenged), verified events, status:
    by either SDK, one Refer record each."""
    for language, install in (("Python", python), ("JavaScript", javascript)):
        hook = procs.free_port()
        application = f"""
[[application]]
name = "flow"
kind = "telnyx"
url = "http://127.0.0.1:{hook}/events"
account = "{server.ACCOUNT}"
connection_id = "12"
"""
        lab = run.lab(f"Telnyx SDK {language}", ["bob"], extra=application)
        try:
            command = install(os.environ.get("BATON_SDKS") or os.path.dirname(lab.directory))
        except (OSError, subprocess.SubprocessError) as error:
            run.check(f"Telnyx SDK, {language}", [f"it cannot be installed: {error}"])
            lab.end()
            continue
        phone = lab.callee("bob", owned.UP + ["REFER", CHALLENGED, 202, notify(100), notify(200), "BYE"])
        arguments = [f"http://127.0.0.1:{lab.baton.http_port}/v2", server.TOKEN, "12", f"sip:bob@127.0.0.1:{phone.port}",
                     "sip:carol@127.0.0.1:9", str(hook)]
        ran = subprocess.run(command + arguments, capture_output=True, text=True, timeout=120)
        problems = phone.end()
        problems += run.equal("result", json.loads(ran.stdout) if ran.returncode == 0 else ran.stderr[-600:], WANTED)
        problems += run.equal("Refer records", [labs.values(r) for r in lab.refers()], [("202", "200", "in-progress")])
        refer_to = "Refer-To: <sip:carol@127.0.0.1:9?X-Ticket=9%2F10>"
        problems += run.equal("REFERs", (phone.received("Refer-To:"), phone.received(refer_to)), (2, 2))
        answer = phone.field("Proxy-Authorization", "REFER")
        problems += run.unless(digest_is_right(answer, "REFER", "desk", "secret"), f"the digest is wrong: {answer}")
        run.check(f"Telnyx SDK, {language}: dial, refer, signed events, status", problems)
        run.gauges(lab)
        lab.end()


CHECKS = [telnyx_sdk]
