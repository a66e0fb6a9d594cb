"""An application written for Telnyx call control, with its Python SDK: dials, refers the call when it is answered, and
prints what it was told. Arguments: base URL, token, connection, whom to dial, whom to refer to, the port for webhooks."""

import http.server
import json
import sys
import threading

from telnyx import APIStatusError, DefaultHttpxClient, Telnyx

base_url, token, connection, to, target, port = sys.argv[1:]
sent = []
client = Telnyx(api_key=token, base_url=base_url,
                http_client=DefaultHttpxClient(event_hooks={"request": [lambda request: sent.append(request.url.path)]}))
client.public_key = client.get("/public_key", cast_to=object)["data"]["public"]
told, done = [], threading.Event()


def refused(act):
    """The status that a faulty request is refused with, and how often the SDK sent it."""
    sent.clear()
    try:
        act()
    except APIStatusError as error:
        return [error.status_code, len(sent)]


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        event = client.webhooks.unwrap(body, headers=dict(self.headers))
        kind, payload = event.data.event_type, event.data.payload
        # Noted before it is answered: the next event of the call comes as soon as this one has its answer.
        told.append([kind, getattr(payload, "sip_notify_response", None)])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if kind == "call.initiated":
            for wrong in (body.replace("bridging", "Bridging"), body + " "):
                try:
                    client.webhooks.unwrap(wrong, headers=dict(self.headers))
                    told.append(["a forged event was taken", None])
                except ValueError:
                    pass
        if kind == "call.answered":
            client.calls.actions.refer(payload.call_control_id, sip_address=target, command_id="job-7",
                                       custom_headers=[{"name": "X-Ticket", "value": "9/10"}],
                                       sip_auth_username="desk", sip_auth_password="secret")
            client.calls.actions.refer(payload.call_control_id, sip_address=target, command_id="job-7")
        if kind == "call.hangup":
            done.set()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Hook)
threading.Thread(target=server.serve_forever, daemon=True).start()
refusals = [refused(lambda: client.calls.actions.refer("v3:AAAAAAAAAAAAAAAAAAAAAA", sip_address=target)),
            refused(lambda: client.calls.dial(connection_id="unheard of", from_="+4930100200", to=to))]
call = client.calls.dial(connection_id=connection, from_="+4930100200", to=to).data
done.wait(60)
status = client.calls.retrieve_status(call.call_control_id).data
print(json.dumps({"told": told, "record_type": call.record_type, "alive": [call.is_alive, status.is_alive],
                  "ended": bool(status.end_time), "refused": refusals}))
