"""A real S3 server on the loopback, spoken to over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import boto3
import pytest


@contextlib.contextmanager
def serving_s3() -> Iterator[None]:
    """Serve an empty bucket named ``bucket``; boto3 finds it by the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket="bucket")
            yield
    finally:
        server.stop()
