"""moto's S3 on loopback, with conditional writes that hold: its check and its write are not one step under threads. Uploads are
listed one a page, with the time at which they were begun (moto gives them all, and 2010), and their parts under S3's name.

Usage: s3.py PORT
"""

import datetime
import sys
import threading

import moto.s3.models
import moto.s3.responses
from moto.core.responses import ActionResult
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


def timed(begin):
    def begun(self, *positional, **named):
        begin(self, *positional, **named)
        self.begun = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    return begun


def list_multipart_uploads(self):
    asked = {name: values[0] for name, values in self.querystring.items()}
    after = (asked.get("key-marker", ""), asked.get("upload-id-marker", ""))
    begun = self.backend.list_multipart_uploads(self.bucket_name).values()
    named = sorted((upload.key_name, upload.id, upload.begun) for upload in begun)
    left = [upload for upload in named if upload[0].startswith(asked.get("prefix", "")) and upload[:2] > after]
    result = {
        "Bucket": self.bucket_name,
        "IsTruncated": len(left) > 1,
        "Uploads": [{"Key": key, "UploadId": upload, "Initiated": begun} for key, upload, begun in left[:1]],
    }
    if len(left) > 1:
        result["NextKeyMarker"], result["NextUploadIdMarker"] = left[0][:2]
    self.data["Action"] = "ListMultipartUploads"
    return self.serialized(ActionResult(result))


def named_as_s3_does(list_parts):
    def listed(self):
        status, headers, body = list_parts(self)
        return status, headers, body.replace("ListPartsResponse", "ListPartsResult")

    return listed


moto.s3.models.FakeMultipart.__init__ = timed(moto.s3.models.FakeMultipart.__init__)
moto.s3.responses.S3Response.list_multipart_uploads = list_multipart_uploads
moto.s3.responses.S3Response.list_parts = named_as_s3_does(moto.s3.responses.S3Response.list_parts)

WSGIRequestHandler.protocol_version = "HTTP/1.1"
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
