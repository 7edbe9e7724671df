"""moto's S3 on loopback, with conditional writes that hold: its check and its write are not one step under threads.

Usage: s3.py PORT
"""

import sys
import threading

import moto.s3.responses
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

WRITES = threading.RLock()


def one_at_a_time(method):
    def locked(self, *positional, **named):
        with WRITES:
            return method(self, *positional, **named)

    return locked


for name in ("put_object", "_key_response_post"):
    setattr(moto.s3.responses.S3Response, name, one_at_a_time(getattr(moto.s3.responses.S3Response, name)))

WSGIRequestHandler.protocol_version = "HTTP/1.1"
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
