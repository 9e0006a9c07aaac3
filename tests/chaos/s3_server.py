"""A real S3 server on the loopback, spoken to over HTTP, for the time of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
# boto3 and moto call datetime.utcnow, which Python 3.12 deprecates.
UTCNOW = "ignore:datetime.datetime.utcnow:DeprecationWarning"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Yield the endpoint of moto's server, which takes small parts: uploads stay short."""
    from moto.s3 import models
    from moto.server import ThreadedMotoServer

    models.S3_UPLOAD_PART_MIN_SIZE = 1
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
