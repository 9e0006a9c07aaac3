"""A root in a bucket, behind a network that fails; commands are killed around their requests."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import boto3

from tests.chaos.commands import Command
from tests.chaos.fault_proxy import Fault, Faults, Request, at_random
from tests.chaos.pipeline import Pipeline, Tree, is_product, require_same
from tests.chaos.s3_server import CREDENTIALS
from tests.chaos.tally import Tally

BUCKET = "bucket"
_RATE = 0.05
"""Share of the requests that meet a fault."""
_LONGEST = 40
"""Requests before a kill, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Kills:
    """Makes roots in a bucket; ``proxy`` is the address of ``faults``, ``endpoint`` is behind."""

    pipeline: Pipeline
    folder: Path
    source: random.Random
    tally: Tally
    endpoint: str
    proxy: str
    faults: Faults

    def run(self, kills: int) -> None:
        self._client().create_bucket(Bucket=BUCKET)
        end = self.tally.killed + kills
        while True:
            self._make_root(f"root-{self.tally.roots}", end)
            if self.tally.killed >= end:
                break
        self.tally.faults.update({f"S3: {name}": n for name, n in self.faults.count.items()})
        self.faults.count.clear()

    def _make_root(self, prefix: str, end: int) -> None:
        root = f"s3://{BUCKET}/{prefix}"
        for arguments in self.pipeline.commands(root):
            command = self._command(*arguments)
            while self.tally.killed < end and self._kill(command):
                pass
            self.faults.choose = self._random_faults()
            assert not command.run()
        self.faults.choose = lambda _request: None
        gc = self._command("gc", "--older-than", "0", "--root", root)
        gc.run()
        self.tally.leftovers += gc.log.read_text().count("unfinished write")
        require_same(self._tree(f"{prefix}/"), self.pipeline.expected)
        uploads = self._client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{prefix}/")
        assert "Uploads" not in uploads
        self.tally.roots += 1

    def _command(self, *arguments: str) -> Command:
        environment = {"AWS_ENDPOINT_URL": self.proxy, **CREDENTIALS}
        return Command(arguments=arguments, log=self.folder / "s3.log", environment=environment)

    def _kill(self, command: Command) -> bool:
        """Run the command, killed before or after a request is carried out."""
        killed: list[BaseProcess] = []
        left = [None] * self.source.randint(1, _LONGEST)
        fault_of = self._random_faults()

        def count_down(_request: Request) -> bool:
            if left:
                left.pop()
            if left or not killed:
                return False
            killed[0].kill()
            return True

        def choose(request: Request) -> Fault | None:
            return "reset before" if count_down(request) else fault_of(request)

        before = self.source.random() < 0.5
        if before:
            self.faults.choose = choose
        else:
            self.faults.choose = fault_of
            self.faults.carried_out = lambda request: void(count_down(request))
        process = command.start()
        killed.append(process)
        ended = command.was_killed(process)
        self.faults.carried_out = lambda _request: None
        if ended:
            self.tally.kills[f"S3 driver, {'before' if before else 'after'} a request"] += 1
        return ended

    def _random_faults(self) -> Callable[[Request], Fault | None]:
        return at_random(self.source.randrange(1 << 30), _RATE)

    def _tree(self, prefix: str) -> Tree:
        client, found = self._client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(prefix)
                if is_product(key):
                    answer = client.get_object(Bucket=BUCKET, Key=entry["Key"])
                    found[key] = answer["Body"].read()
        return found

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )


def void(_value: object) -> None:
    """Forget a value."""
