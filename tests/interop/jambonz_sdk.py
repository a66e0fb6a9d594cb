"""Checks with the vendor's SDKs for Node: an application server answers with sip:refer, their middleware verifies every
signature [jambonz 27], their schemas check the hooks [jambonz 44], a REST client places [jambonz 32] and updates a call [jambonz 36]. Used by `run`."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request

from harness import baton as server
from harness import procs
from harness.compose import notify

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jambonz")
SECRET = "interop secret ä"
COURSE = ["REFER", 202, notify(100), notify(180), notify(200), "BYE"]


def modules(work):
    """A copy of the application with what it needs; None where that cannot be had."""
    directory = os.path.join(work, "jambonz-app")
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    if not os.path.isdir(os.path.join(directory, "node_modules")):
        shutil.copytree(HERE, directory, dirs_exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        try:
            subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=300)
        except subprocess.SubprocessError:
            shutil.rmtree(os.path.join(directory, "node_modules"), ignore_errors=True)
            return None
    return directory


class App:
    """The application server."""

    def __init__(self, directory, port, baton):
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["node", "app.js", str(port), SECRET, f"http://127.0.0.1:{baton.http_port}", server.ACCOUNT, server.TOKEN]
        self.process = procs.Process(arguments, os.path.join(baton.directory, "app.out"), cwd=directory)
        if not procs.wait_until(lambda: self.answers(), 60):
            raise RuntimeError("the application server did not start")

    def answers(self):
        try:
            return self.get("/notes") is not None
        except OSError:
            return False

    def get(self, path, **query):
        text = urllib.parse.urlencode(query)
        with urllib.request.urlopen(f"{self.url}{path}?{text}", timeout=20) as answer:
            return json.load(answer)

    def notes(self, path):
        return [note["body"] for note in self.get("/notes") if note["path"] == path]


def transfers(run):
    """A call comes in and is transferred; a call is placed by the SDK's client, updated while it pauses, and transferred."""
    directory = modules(run.work())
    if directory is None:
        print("skip  jambonz SDK: node, npm or its packages are not to be had", flush=True)
        return
    port = procs.free_port()
    extra = f"""
[jambonz]
event_status = "integer"
[[application]]
name = "agent"
kind = "jambonz"
url = "http://127.0.0.1:{port}/start"
status_url = "http://127.0.0.1:{port}/status"
account = "{server.ACCOUNT}"
webhook_secret = "{SECRET}"
[[route]]
user = "agent"
application = "agent"
"""
    # What the API places is signed with the account's secret.
    lab = run.lab("jambonz SDK", ["alice", "bob", "carol"], extra=extra, account=f'webhook_secret = "{SECRET}"')
    app = App(directory, port, lab.baton)
    alice = lab.caller("alice", "agent", COURSE)
    problems = alice.end()
    problems += judged(run, app, 1, "inbound")
    run.check("jambonz SDK: an inbound call is answered and transferred by sip:refer", problems)

    bob = lab.callee("bob", ["INVITE", 180, 200, "ACK", *COURSE])
    made = app.get("/client/create", to=f"sip:bob@127.0.0.1:{bob.port}")
    procs.wait_until(lambda: app.notes("/wait"), 10)
    sid = made if isinstance(made, str) else made.get("sid")
    shown = app.get("/client/update", sid=sid)
    problems = run.equal("call read", (shown["call_sid"], shown["customerData"]), (sid, {"job": 7}))
    problems += bob.end()
    problems += run.equal("X-Job in the INVITE and the REFER", bob.received("X-Job: 7"), 2)
    problems += judged(run, app, 2, "outbound")
    for client in ("list", "list-with-sdk"):
        problems += run.equal(f"calls, {client}", len(app.get(f"/client/{client}")), 2)
    records = lab.refers(2)
    problems += run.equal("Refer records", [r.get("notify_sip_response_code") for r in records], ["200", "200"])
    run.check("jambonz SDK: a call is placed and updated by its REST client, and transferred", problems)
    carol = lab.callee("carol", ["INVITE", 486, "ACK"])
    sid = app.get("/client/create-with-sdk", to=f"sip:carol@127.0.0.1:{carol.port}")
    problems = carol.end()
    problems += run.equal("X-Job in the INVITE", carol.received("X-Job: 8"), 1)
    shown = lambda: [body for body in app.notes("/status") if body["call_sid"] == sid]
    procs.wait_until(lambda: any(body["call_status"] == "busy" for body in shown()), 10)
    problems += run.equal("statuses", [body["call_status"] for body in shown()], ["trying", "busy"])
    problems += run.equal("Call-ID told and sent", f"Call-ID: {shown()[0]['call_id']}" in carol.messages(), True)
    run.check("jambonz SDK: a call is placed by its other client, and is busy", problems)
    app.process.kill()
    run.gauges(lab)
    lab.end()


def judged(run, app, count, direction):
    """What the hooks of a transfer said, and what the SDK found wrong with them."""
    procs.wait_until(lambda: sum(b["call_status"] == "completed" for b in app.notes("/status")) == count, 10)
    problems = [f"refused by the SDK: {text}" for text in app.notes("error")]
    problems += [f"not as the schema says: {errors}" for errors in app.notes("schema") if errors]
    events = [body["call_status"] for body in app.notes("/progress")][-3:]
    problems += run.equal("events", events, [100, 180, 200])
    done = app.notes("/done")
    problems += run.equal("action hooks", len(done), count)
    if done:
        found = [done[-1].get(name) for name in ("direction", "refer_status", "referStatus", "final_referred_call_status")]
        problems += run.equal("the last action hook", found, [direction, 202, 202, 200])
    return problems


CHECKS = [transfers]
