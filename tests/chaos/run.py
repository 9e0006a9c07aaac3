"""The long form, ``make chaos``: hundreds of kills and faults, and a line that sums them up.

Environment: ``CHAOS_SEED`` (0), ``CHAOS_KILLS`` (200), ``CHAOS_FOLDER`` (a temporary one).
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.fault_proxy import fault_proxy
from tests.chaos.full_disk import fill_disk
from tests.chaos.local_kills import LocalKills
from tests.chaos.pipeline import Pipeline
from tests.chaos.ray_kills import RayKills
from tests.chaos.s3_kills import S3Kills
from tests.chaos.s3_server import s3_server
from tests.chaos.tally import Tally

_S3_SHARE, _RAY_SHARE = 0.15, 0.2


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    seed, kills = int(os.environ.get("CHAOS_SEED", "0")), int(os.environ.get("CHAOS_KILLS", "200"))
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=os.environ.get("CHAOS_FOLDER")) as name:
        run(Path(name), seed, kills)


def run(folder: Path, seed: int, kills: int) -> None:
    begun, tally, source = time.monotonic(), Tally(), random.Random(seed)
    on_s3, on_ray = round(kills * _S3_SHARE), round(kills * _RAY_SHARE)
    say(f"seed {seed}, {kills} kills: preparing")
    pipeline = Pipeline.prepare(folder)
    LocalKills(pipeline=pipeline, folder=folder, source=source, tally=tally).run(
        kills - on_s3 - on_ray
    )
    say(f"drivers: {tally.summary()}")
    for _ in range(3):
        fill_disk(pipeline, folder, source, tally)
    say(f"full disks: {tally.summary()}")
    with s3_server() as endpoint, fault_proxy(endpoint) as (proxy, faults):
        S3Kills(
            pipeline=pipeline,
            folder=folder,
            source=source,
            tally=tally,
            endpoint=endpoint,
            proxy=proxy,
            faults=faults,
        ).run(on_s3)
    say(f"S3: {tally.summary()}")
    RayKills(folder=folder, source=source, tally=tally).run(on_ray)
    say(f"chaos: seed {seed}, {tally.summary()}, {time.monotonic() - begun:.0f} s")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
