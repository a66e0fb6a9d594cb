"""baresip as a phone: dials, answers by itself, transfers and hangs up as it is told over its control port (ctrl_tcp).

Headless: its microphone and loudspeaker are bridges to nowhere. Only the SIP trace in its log tells tags, so attended
transfers read them there: 1.0 (Debian 12) builds no Replaces itself, and understands none either.
"""

import itertools
import json
import os
import random
import re
import socket
import subprocess
import threading
import time
import urllib.parse

from . import procs

MODULES = ("/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules",
           "/usr/lib/aarch64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules")
MEDIA = itertools.count(random.randrange(30000, 31000), 16)     # a block of ports for each phone
CONFIG = """
sip_listen {host}:{port}
sip_transports udp,tcp
call_local_timeout 120
call_max_calls 16
audio_player aubridge,{user}
audio_source aubridge,{user}-in
audio_alert aubridge,{user}-bell
statmode_default off
rtp_ports {rtp}-{rtp_end}
rtp_stats no
net_interface {host}
module_path {modules}
module g711.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control}
"""


class Message:
    """A SIP message of the trace."""

    def __init__(self, text):
        self.text = text
        self.start, _, rest = text.partition("\n")
        head, _, self.body = rest.partition("\n\n")
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in head.split("\n") if ":" in line]

    def get(self, name):
        """The first header field of this name, or an empty text."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")

    def tag(self, name):
        match = re.search(r";\s*tag=([^;,\s]+)", self.get(name))
        return match.group(1) if match else ""


class Phone:
    """One baresip with one account. `server`, HOST:PORT, is where it sends everything; without one it goes to whom it
    calls."""

    def __init__(self, directory, user, server=None, host="127.0.0.1", domain=None, transport="udp", port=None, password=None,
                 register=False, answer="auto"):
        self.directory, self.user, self.server, self.host = os.path.join(directory, "baresip-" + user), user, server, host
        self.port, self.control, self.transport = port or procs.free_port(), procs.free_port(), transport
        self.domain = domain or server or f"{host}:{self.port}"
        modules = next((path for path in MODULES if os.path.isdir(path)), MODULES[0])
        rtp = next(MEDIA)
        os.makedirs(self.directory, exist_ok=True)
        self._write("config", CONFIG.format(host=host, port=self.port, user=user, rtp=rtp, rtp_end=rtp + 15,
                                            modules=modules, control=self.control))
        secret = f";auth_user={user};auth_pass={password}" if password else ""
        interval = 60 if register else 0
        outbound = f';outbound="sip:{server};transport={transport}"' if server else ""
        self._write("accounts", f"<sip:{user}@{self.domain};transport={transport}>{secret};regint={interval}"
                                f"{outbound};answermode={answer};audio_codecs=pcma\n")
        self._write("contacts", "")
        self.uri = f"sip:{user}@{host}:{self.port}"
        self.process = self.socket = None
        self.events, self._answers, self._news = [], {}, threading.Condition()
        self._tokens = 0

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w") as out:
            out.write(text)

    # ── Life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self):
        """Runs it until its control port answers."""
        self.process = procs.Process(["baresip", "-4", "-s", "-f", self.directory],
                                     os.path.join(self.directory, "log"), cwd=self.directory)
        if not procs.wait_until(lambda: not self.process.running() or procs.is_bound(self.control, "tcp"), 10):
            raise RuntimeError("baresip did not start: " + self.process.log_tail(400))
        if not self.process.running():
            raise RuntimeError("baresip ended: " + self.process.log_tail(400))
        self.socket = socket.create_connection((self.host, self.control), 5)
        self.socket.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def stop(self):
        """Ends it as its user would; False when it had to be killed."""
        if self.socket:
            try:
                self._send({"command": "quit"})
            except OSError:
                pass
        code = self.process.wait(5) if self.process else 0
        if code is None:
            self.process.kill()
        if self.socket:
            self.socket.close()
        return code is not None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ── The control port: netstrings with JSON in them ────────────────────────────────────────────────────────────

    def _send(self, value):
        data = json.dumps(value).encode()
        self.socket.sendall(b"%d:%s," % (len(data), data))

    def _listen(self):
        buffer = b""
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                return
            buffer += data
            while True:
                length, colon, rest = buffer.partition(b":")
                if not colon or len(rest) <= int(length):
                    break
                text, buffer = rest[:int(length)], rest[int(length) + 1:]
                self._heard(json.loads(text.decode(errors="replace")))

    def _heard(self, value):
        with self._news:
            if value.get("event"):
                self.events.append(value)
            else:
                self._answers[value.get("token")] = value
            self._news.notify_all()

    def command(self, name, params="", seconds=5):
        """A command of its menu; the text it answers."""
        with self._news:
            self._tokens += 1
            token = str(self._tokens)
        self._send({"command": name, "params": params, "token": token})
        with self._news:
            if not self._news.wait_for(lambda: token in self._answers, seconds):
                raise RuntimeError(f"{self.user}: no answer to /{name} {params}")
            answer = self._answers.pop(token)
        if not answer.get("ok"):
            raise RuntimeError(f"{self.user}: /{name} {params}: {answer.get('data')}")
        return answer.get("data") or ""

    def wait(self, kind, seconds=10, since=0, **members):
        """The first event of a type (CALL_ESTABLISHED, CALL_CLOSED, REGISTER_OK …) from the `since`-th on, None when it
        does not come. Members are compared: `direction`, `peeruri`, `id` (the Call-ID), `param`."""
        def found():
            return next((event for event in self.events[since:] if event.get("type") == kind and
                         all(event.get(name) == value for name, value in members.items())), None)
        with self._news:
            self._news.wait_for(found, seconds)
            return found()

    # ── What a user does ──────────────────────────────────────────────────────────────────────────────────────────

    def call(self, to, seconds=10):
        """Dials and waits until the call is up; its Call-ID. A number or name is called at the server."""
        since = len(self.events)
        self.dial(to)
        established = self.wait("CALL_ESTABLISHED", seconds, since, direction="outgoing")
        if not established:
            closed = self.wait("CALL_CLOSED", 0, since)
            raise RuntimeError(f"{self.user}: the call to {to} is not up: {closed and closed.get('param')}")
        return established.get("id") or self._last_call_id()

    def dial(self, to):
        """Dials, without waiting for anything."""
        self.command("dial", to if to.startswith("sip:") else f"sip:{to}@{self.domain}")

    def answer(self):
        self.command("accept")

    def hold(self):
        self.command("hold")

    def resume(self):
        self.command("resume")

    def hangup(self):
        """Ends the current call: the last one that was made, came, or was chosen."""
        self.command("hangup")

    def leave(self, call):
        """Ends the current call, unless the other side does so first."""
        try:
            if not self.wait("CALL_CLOSED", 0, id=call):
                self.hangup()
        except RuntimeError:
            if not self.wait("CALL_CLOSED", 5, id=call):
                raise

    def transfer(self, to):
        """Blind: REFER in the current call. The outcome is for `sipfrags` and the events."""
        self.command("transfer", to if to.startswith("sip:") else f"sip:{to}@{self.domain}")

    def transfer_attended(self, to, call_id, consultation):
        """Attended: REFER in the call `call_id` to who is called in `consultation`, with its Replaces."""
        tags = self.tags(consultation)
        if not tags:
            raise RuntimeError(f"{self.user}: no tags of {consultation} in the trace")
        # For the target, the to-tag is its own and the from-tag is ours (RFC 3891 section 3).
        replaces = urllib.parse.quote(f"{consultation};to-tag={tags[1]};from-tag={tags[0]}", safe="")
        self.choose(call_id)
        self.command("transfer", f"<{to}?Replaces={replaces}>")

    def choose(self, call_id):
        """Makes a call the current one."""
        self.command("callfind", call_id)

    # ── What happened ─────────────────────────────────────────────────────────────────────────────────────────────

    def trace(self):
        """All SIP messages so far, sent and received, in order."""
        try:
            with open(self.process.log, errors="replace") as log:
                text = re.sub(r"\x1b\[[0-9;]*m", "", log.read()).replace("\r\n", "\n")
        except OSError:
            return []
        found = []
        for part in re.split(r"^#?\w* ?(?:UDP|TCP|TLS|WS|WSS) \S+ -> \S+\n", text, flags=re.MULTILINE)[1:]:
            message = Message(part.lstrip("\n"))
            if re.match(r"(SIP/2\.0 \d{3} |[A-Z]+ \S+ SIP/2\.0$)", message.start):
                found.append(message)
        return found

    def tags(self, call_id):
        """Its own and the other side's tag of an answered call, or None."""
        for message in self.trace():
            if message.get("Call-ID") == call_id and message.start.startswith("SIP/2.0 2") and \
                    message.get("CSeq").endswith("INVITE"):
                ends = message.tag("From"), message.tag("To")
                outgoing = self.wait("CALL_ESTABLISHED", 0, id=call_id, direction="outgoing")
                return ends if outgoing or f"sip:{self.user}@" in message.get("From") else ends[::-1]
        return None

    def sipfrags(self, call_id=None):
        """Status lines of the NOTIFYs that came, in order."""
        return [message.body.split("\n")[0].strip() for message in self.trace()
                if message.start.startswith("NOTIFY ") and "sipfrag" in message.get("Content-Type") and
                (call_id is None or message.get("Call-ID") == call_id)]

    def calls(self):
        """How many calls it has now."""
        match = re.search(r"Active calls \((\d+)\)", self.command("listcalls"))
        return int(match.group(1)) if match else 0

    def wait_for_trace(self, condition, seconds=10):
        """Waits until a message of the trace fulfils the condition; that message, or None."""
        end = time.monotonic() + seconds
        while True:
            message = next((message for message in self.trace() if condition(message)), None)
            if message or time.monotonic() > end:
                return message
            time.sleep(0.05)

    def _last_call_id(self):
        return next((m.get("Call-ID") for m in reversed(self.trace()) if m.start.startswith("INVITE ")), "")


def version():
    """`baresip v1.0.0`, or an empty text."""
    text = subprocess.run(["baresip", "-h"], capture_output=True, text=True)
    match = re.search(r"baresip v[\d.]+", text.stdout + text.stderr)
    return match.group(0) if match else ""
