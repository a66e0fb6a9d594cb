"""A web server that plays an application: it serves documents and notes every request, in order."""

import http.server
import json
import threading
import time
import urllib.parse


class Web:
    """`documents` maps paths to (status, content type, body, delay in seconds); what is not there is 200 and empty."""

    def __init__(self):
        self.documents, self.requests = {}, []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode("utf-8", "replace")
                path, _, query = self.path.partition("?")
                web.requests.append({"at": time.monotonic(), "method": self.command, "path": path,
                                     "query": urllib.parse.parse_qsl(query, keep_blank_values=True),
                                     "form": urllib.parse.parse_qsl(body, keep_blank_values=True), "body": body,
                                     "headers": dict(self.headers)})
                status, kind, text, delay = web.documents.get(path, (200, "text/plain", "", 0))
                time.sleep(delay)
                payload = text.encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(payload)))
                    self.end_headers()
                    self.wfile.write(payload)
                except OSError:
                    pass

            do_GET = do_POST = handle_any

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128        # all phones of a check may cause a request at once

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, path, body, status=200, kind="application/xml", delay=0):
        self.documents[path] = (status, kind, body, delay)
        return self.url + path

    def got(self, path):
        """Requests to a path: their parameters, of query and form together."""
        return [dict(r["query"] + r["form"]) for r in self.requests if r["path"] == path]

    def told(self, path):
        """Requests to a path: their bodies, which are JSON."""
        return [json.loads(r["body"]) for r in self.requests if r["path"] == path]

    def stop(self):
        self.server.shutdown()
