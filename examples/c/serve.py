# SPDX-License-Identifier: PostgreSQL
#
# serve.py PROGRAM: a web server that has a CGI program answer all requests.

import http.server
import os
import subprocess
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def run(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {f"HTTP_{name.upper().replace('-', '_')}": value.encode("latin-1").strip()
                   for name, value in self.headers.items()}
        done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True, env={
            **os.environb, **{name.encode(): value for name, value in headers.items()},
            b"REQUEST_METHOD": self.command.encode(), b"PATH_INFO": path.encode(),
            b"QUERY_STRING": query.encode(), b"REMOTE_ADDR": self.client_address[0].encode()})
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        self.send_response(int(dict(fields)["Status"]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = run

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
