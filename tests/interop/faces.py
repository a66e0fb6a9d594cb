"""One course of events through each of the applications' faces, several courses: what each application is told is what its
vendor's documentation says, and the Refer records are alike. Used by `run`. Marks in brackets name the statement of a
contract that a check looks at."""

import concurrent.futures
import json
import urllib.error
import urllib.request
from typing import NamedTuple

from harness import baton as server
from harness import procs
from harness.compose import IGNORED, bye, notify
from lab import reported, values
from owned import UP

# A REFER that no answer or no NOTIFY follows is given up after 64·T1, here 13 s.
T1 = "200ms"
LONGEST = 30
# What differs between the records of one course.
ITS_OWN = {"sid", "date_created", "call_sid", "to", "from", "uri"}


class Case(NamedTuple):
    """What a phone does with the REFER, what the record becomes, and what the applications are told of it."""
    name: str
    label: str
    phone: list
    record: tuple           # code of the REFER, last code of a NOTIFY, status of the new call
    jambonz: tuple          # codes of the events; refer_status, final_referred_call_status
    telnyx: list            # events of the transfer
    # In the action request: the party that hangs up itself is gone by then.
    call: str = "in-progress"


def told(*codes):
    return [202, *map(notify, codes)]


def failed(code):
    return [("call.refer.started", 100), ("call.refer.failed", code)]


CASES = [
    # [restcomm-refers 2] [rcml 20] [jambonz 8] [telnyx 11] [telnyx 12]
    Case("moved", "NOTIFY 100, 180, 200", [*told(100, 180, 200), "BYE"], ("202", "200", "in-progress"),
         (["100", "180", "200"], 202, 200), [("call.refer.started", 100), ("call.refer.completed", 200)]),
    # [restcomm-refers 12] [rcml 21] [jambonz 10] [telnyx 13]
    Case("busy", "NOTIFY 100, 180, 486", [*told(100, 180, 486), "BYE"], ("202", "486", "busy"),
         (["100", "180", "486"], 202, 486), failed(486)),
    # [restcomm-refers 12]
    Case("declined", "NOTIFY 100, 180, 603", [*told(100, 180, 603), "BYE"], ("202", "603", "failed"),
         (["100", "180", "603"], 202, 603), failed(603)),
    # [restcomm-refers 8] [rcml 22] [jambonz 7] [telnyx 14]
    Case("refused", "405 to the REFER", [405, "BYE"], ("405", None, None), ([], 405, None), [("call.refer.failed", 405)]),
    # [restcomm-refers 10] [rcml 24] [jambonz 15] [telnyx 15]
    Case("silent", "202, then silence", [202, "BYE"], ("202", None, None), ([], 202, None), failed(408)),
    # [restcomm-refers 9] [rcml 23] [telnyx 15]
    Case("unheard", "no answer to the REFER", [IGNORED, "BYE"], ("408", None, None), ([], 408, None), [("call.refer.failed", 408)]),
    # [restcomm-refers 11] [rcml 25] [jambonz 19] [telnyx 16]
    Case("gone", "NOTIFY 100, 180, then BYE", [*told(100, 180), bye()], ("202", "180", "canceled"),
         (["100", "180"], 202, None), failed(487), call="completed"),
]


class Face:
    """One case through one face."""
    word = label = ""
    calls_in = False            # the phone calls the application, or is called for it

    def __init__(self, lab, case):
        self.lab, self.web, self.case = lab, lab.web, case
        self.name = f"{self.word}-{case.name}"
        self.target = f"sip:{case.name}-{self.word}@127.0.0.1:9"
        self.prepare()

    def prepare(self):
        """Documents that must lie ready."""

    def start(self):
        steps = ["REFER", *self.case.phone]
        if self.calls_in:
            self.phone = self.lab.caller(self.name, f"app-{self.name}", steps)
        else:
            self.phone = self.lab.callee(self.name, UP + steps)

    def drive(self):
        """What the application does by itself."""

    def problems(self, run):
        """What is wrong with what the application was told."""
        raise NotImplementedError

    def result(self, run):
        """Plays it to its end; everything that was wrong."""
        try:
            self.drive()
            found = self.problems(run) + self.phone.end()
        except (RuntimeError, OSError, ValueError, KeyError, urllib.error.HTTPError) as error:
            found = [f"{type(error).__name__}: {error}"]
        return [f"{self.label}: {text}" for text in found]

    def application(self, kind):
        return f"""
[[application]]
name = "{self.name}"
kind = "{kind}"
account = "{server.ACCOUNT}"
url = "{self.web.url}/{self.name}/start"
[[route]]
user = "app-{self.name}"
application = "{self.name}"
"""


class Rcml(Face):
    """A call comes in for an application, whose first document transfers it."""
    word, label, calls_in = "rcml", "RCML", True

    def prepare(self):
        self.document = self.lab.document(f"/{self.name}/start", self.target, "after")
        self.web.serve(f"/{self.name}/after", "<Response/>")

    def configuration(self):
        return self.application("rcml")

    def problems(self, run):
        """[rcml 34] [rcml 38] Once, the same three values as in the record."""
        after = lambda: self.web.got(f"/{self.name}/after")
        procs.wait_until(after, LONGEST)
        return run.equal("action requests", [(*reported(r), r["CallStatus"]) for r in after()], [(*self.case.record, self.case.call)])


class CallsApi(Rcml):
    """A call is placed by REST, and once it is up, by REST again given a document that transfers it. [rcml 6.9]"""
    word, label, calls_in = "calls", "Calls API", False

    def configuration(self):
        return ""

    def drive(self):
        url = self.web.serve(f"/{self.name}/wait", '<Response><Pause length="60"/></Response>')
        call = self.lab.place(self.lab.uri(self.name), url)
        procs.wait_until(lambda: self.web.got(f"/{self.name}/wait"), 10)
        status = self.lab.modify(call["sid"], Url=self.document)
        if status != 200:
            raise RuntimeError(f"modification: {status}")


class Jambonz(Face):
    """A call comes in for an application, whose verbs answer and transfer it."""
    word, label, calls_in = "jambonz", "jambonz", True

    def prepare(self):
        refer = {"verb": "sip:refer", "referTo": self.target, "actionHook": f"/{self.name}/done", "eventHook": f"/{self.name}/progress"}
        verbs = [{"verb": "answer"}, refer, {"verb": "hangup"}]
        self.web.serve(f"/{self.name}/start", json.dumps(verbs), kind="application/json")

    def configuration(self):
        return self.application("jambonz")

    def problems(self, run):
        """[jambonz 9] [jambonz 11] Every NOTIFY as an event, then the result, once."""
        events, final = self.case.jambonz[0], self.case.jambonz[1:]
        done = lambda: self.web.told(f"/{self.name}/done")
        procs.wait_until(done, LONGEST)
        found = run.equal("events", self.web.told(f"/{self.name}/progress"),
                          [{"event": "transfer-status", "call_status": code} for code in events])
        names = ("referStatus", "refer_status", "final_referred_call_status", "call_status")
        found += run.equal("action hooks", [tuple(body.get(name) for name in names) for body in done()],
                           [(final[0], *final, self.case.call)])
        hooks = [r["path"].rpartition("/")[2] for r in self.web.requests if r["path"].startswith(f"/{self.name}/")]
        return found + run.equal("order", hooks, ["start", *["progress"] * len(events), "done"])


class Telnyx(Face):
    """A call is placed by a command, and when it is up, transferred by another."""
    word, label = "telnyx", "Telnyx"

    def configuration(self):
        return ""

    def ask(self, path, **body):
        """GET, or POST where there is a body; the `data` of the answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.lab.baton.http_port}/v2/calls{path}",
                                         data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", "Bearer " + server.TOKEN)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]

    def events(self):
        return [(event["data"]["event_type"], event["data"]["payload"]) for event in self.web.told(f"/{self.name}/events")]

    def until(self, *kinds):
        """Waits for an event of one of these kinds."""
        seen = lambda: next((kind for kind, _ in self.events() if kind in kinds), None)
        if not procs.wait_until(seen, LONGEST):
            raise RuntimeError(f"none of {', '.join(kinds)} in {[kind for kind, _ in self.events()]}")
        return seen()

    def drive(self):
        call = self.ask("", **{"connection_id": "12", "from": "+4930100200", "to": self.lab.uri(self.name),
                               "webhook_url": f"{self.web.url}/{self.name}/events"})["call_control_id"]
        self.until("call.answered")
        answer = self.ask(f"/{call}/actions/refer", sip_address=self.target)
        if answer != {"result": "ok"}:
            raise RuntimeError(f"refer: {answer}")
        if self.until("call.refer.completed", "call.refer.failed") == "call.refer.failed" and self.case.call == "in-progress":
            # [telnyx 2.8] It goes on, and is the application's to end.
            if not self.ask(f"/{call}")["is_alive"]:
                raise RuntimeError("the call has ended with its transfer")
            self.ask(f"/{call}/actions/hangup", command_id="end")
        self.until("call.hangup")

    def problems(self, run):
        """[telnyx 30] In order; the transfer's codes are integers."""
        events = self.events()
        found = run.equal("events", [(kind, payload.get("sip_notify_response")) for kind, payload in events],
                          [("call.initiated", None), ("call.answered", None), *self.case.telnyx, ("call.hangup", None)])
        return found + run.equal("hangup_cause", events[-1][1].get("hangup_cause"), "normal_clearing")


FACES = [CallsApi, Rcml, Jambonz, Telnyx]


def records(run, lab, case):
    """[restcomm-refers 33] [restcomm-refers 5] [jambonz 45] [telnyx 40] One record for each face, and nothing but who and when
    tells them apart."""
    def listed():
        status, body = lab.baton.get(f"{server.API}/Refers?ReferTo={case.name}-")
        return json.loads(body)["refers"] if status == 200 else []

    wanted = {f"sip:{case.name}-{face.word}@127.0.0.1:9": case.record for face in FACES}
    seen = lambda: {record["to"]: values(record) for record in listed()}
    procs.wait_until(lambda: seen() == wanted, 15)
    found = listed()
    problems = run.equal("Refer records", seen(), wanted) + run.equal("their number", len(found), len(FACES))
    rest = {json.dumps({name: value for name, value in record.items() if name not in ITS_OWN}) for record in found}
    problems += run.unless(len(rest) == 1, f"the records differ: {sorted(rest)}")
    calls = {record["call_sid"] for record in found}
    ended = lambda: sorted(lab.call(sid)["status"] for sid in calls)
    procs.wait_until(lambda: ended() == ["completed"] * len(FACES), 15)
    return problems + run.equal("their Calls", ended(), ["completed"] * len(FACES))


def alike(run):
    """All at once, as some of them take the whole wait for a NOTIFY."""
    scenes = []

    def configuration(lab):
        scenes.extend(face(lab, case) for case in CASES for face in FACES)
        flow = f"""
[timers]
t1 = "{T1}"
[[application]]
name = "flow"
kind = "telnyx"
url = "{lab.web.url}/telnyx/events"
account = "{server.ACCOUNT}"
connection_id = "12"
"""
        return flow + "".join(scene.configuration() for scene in scenes)

    lab = run.lab("four faces", [f"{face.word}-{case.name}" for case in CASES for face in FACES], extra=configuration)
    for scene in scenes:
        scene.start()
    with concurrent.futures.ThreadPoolExecutor(len(scenes)) as pool:
        results = list(pool.map(lambda scene: scene.result(run), scenes))
    for case in CASES:
        problems = [text for scene, result in zip(scenes, results) if scene.case is case for text in result]
        problems += records(run, lab, case)
        run.check(f"four faces: {case.label}: as each contract says, four records {', '.join(map(str, case.record))}", problems)
    run.check("four faces: no other record", run.equal("Refers", lab.baton.total("Refers"), len(scenes)))
    run.gauges(lab)
    lab.end()


CHECKS = [alike]
