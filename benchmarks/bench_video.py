"""Videos: every fourth frame to RGB, and to shards of JPEGs, beside bare PyAV loops.

The clips are like those of SA-V: 848x480, 24 frames per second, 20 seconds, H.264 as x264 makes it
by default, each with five masklets. The bare loop to RGB is what tutorials show: decode every
frame with PyAV's defaults and convert every fourth, once by the same flags of libswscale as ours
and once by its faster, processor-dependent defaults. To RGB, all decode two clips at once, so that
every core is busy: ours has one thread per clip, PyAV's defaults have several. The
bare loop to shards encodes these by Pillow at the same quality and writes them into a tar; ours
also reads the masklets, hashes everything, writes tables and commit records, and encodes in a
thread beside the one that decodes.

Run it by ``make bench NAME=video``.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from measure import interleave, machine, medians, print_ratios, print_table
from PIL import Image

from pipelines.jobs.shard_normalized import NormalizeStage
from pipelines.media.video import open_video
from pipelines.normalize.base import LayoutOptions
from pipelines.normalize.sav import sa_v
from pipelines.normalize.sources import local_files
from pipelines.store.local import LocalObjectStore
from schemas.masks import encode_mask

WIDTH, HEIGHT, RATE, EVERY = 848, 480, 24, 4
OBJECTS = 5
CLIPS_AT_ONCE = 2
SAME_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.BITEXACT
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
)


def make_clip(seed: int, frames: int) -> bytes:
    """A textured scene that pans, with discs that move and a little noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(small).resize((2 * WIDTH, 2 * HEIGHT), Image.BICUBIC))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    body = io.BytesIO()
    with av.open(body, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            shift = number % HEIGHT
            picture = scene[shift : shift + HEIGHT, shift : shift + WIDTH].astype(np.int16)
            for disc in range(OBJECTS):
                where = (x - 100 - 2 * number % 600) ** 2 + (y - 60 - 80 * disc) ** 2 < 900
                picture[where] = 40 * disc
            picture += rng.integers(-4, 5, picture.shape[:2], dtype=np.int16)[:, :, None]
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return body.getvalue()


def masklets(clip: str, frames: int) -> bytes:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rows = []
    for number in range(0, frames, EVERY):
        discs = [
            encode_mask((x - 100 - 2 * number % 600) ** 2 + (y - 60 - 80 * disc) ** 2 < 900)
            for disc in range(OBJECTS)
        ]
        rows.append([{"size": [HEIGHT, WIDTH], "counts": disc.counts.decode()} for disc in discs])
    file = {
        "video_id": clip,
        "video_frame_count": float(frames),
        "video_height": float(HEIGHT),
        "video_width": float(WIDTH),
        "masklet": rows,
        "masklet_id": list(range(OBJECTS)),
        "masklet_num": OBJECTS,
    }
    return json.dumps(file).encode()


def bare(mp4: bytes, flags: Any) -> int:
    count = 0
    with av.open(io.BytesIO(mp4)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % EVERY == 0:
                count += frame.to_ndarray(format="rgb24", interpolation=flags).shape[0] == HEIGHT
    return count


def ours(mp4: bytes) -> int:
    with open_video(mp4, "clip") as video:
        return sum(frame.image_HWC.shape[0] == HEIGHT for frame in video.frames(EVERY))


def bare_shards(clips: list[bytes], folder: Path) -> int:
    count = 0
    with tarfile.open(folder / "bare.tar", "w") as archive:
        for number, mp4 in enumerate(clips):
            with av.open(io.BytesIO(mp4)) as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index % EVERY:
                        continue
                    image = Image.fromarray(
                        frame.to_ndarray(format="rgb24", interpolation=SAME_FLAGS)
                    )
                    body = io.BytesIO()
                    image.save(body, "JPEG", quality=95, subsampling="4:4:4")
                    member = tarfile.TarInfo(f"{number}.{index:05d}.jpg")
                    member.size = body.tell()
                    body.seek(0)
                    archive.addfile(member, body)
                    count += 1
    return count


def our_shards(source: Path, folder: Path, threads: int) -> int:
    normalizer = sa_v(local_files(source, "sa-v", "train"), "train", LayoutOptions())
    store = LocalObjectStore(folder)
    stage = NormalizeStage(store, normalizer, rows_per_shard=256, threads=threads)
    reports = [stage.run(unit) for unit in stage.units]
    assert not any(report.quarantined for report in reports)
    return sum(report.rows for report in reports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    frames = options.seconds * RATE
    clips = [make_clip(seed, frames) for seed in range(options.clips)]
    wanted = options.clips * -(-frames // EVERY)
    root = Path(tempfile.mkdtemp(prefix="bench-video-"))
    source = root / "source"
    source.mkdir()
    with tarfile.open(source / "sav_000.tar", "w") as archive:
        for number, mp4 in enumerate(clips):
            name = f"sav_{number:06d}"
            for member, body in (
                (f"{name}.mp4", mp4),
                (f"{name}_manual.json", masklets(name, frames)),
            ):
                info = tarfile.TarInfo(member)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))

    spent: dict[str, list[float]] = defaultdict(list)

    def rate(name: str, run: Any) -> Any:
        def timed() -> float:
            folder = root / "out"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            start, busy = time.perf_counter(), time.process_time()
            count = run(folder)
            seconds = time.perf_counter() - start
            spent[name].append(1e3 * (time.process_time() - busy) / count)
            assert count == wanted, (count, wanted)
            return count / seconds

        return timed

    pool = ThreadPoolExecutor(CLIPS_AT_ONCE)
    jobs: dict[str, Any] = {
        "RGB, PyAV, same conversion": lambda _: sum(
            pool.map(lambda mp4: bare(mp4, SAME_FLAGS), clips)
        ),
        "RGB, PyAV, default conversion": lambda _: sum(
            pool.map(lambda mp4: bare(mp4, None), clips)
        ),
        "RGB, samdistill": lambda _: sum(pool.map(ours, clips)),
        "JPEG tar, PyAV and Pillow": lambda folder: bare_shards(clips, folder),
        "shards, samdistill": lambda folder: our_shards(source, folder, 2),
    }
    runs = {name: rate(name, job) for name, job in jobs.items()}
    try:
        found = medians(interleave(runs, options.rounds))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    cpu = medians(spent)
    print(f"{machine()} · PyAV {av.__version__}")
    print(
        f"{options.clips} clips of {options.seconds} s, {WIDTH}x{HEIGHT} at {RATE} frames/s, "
        f"{sum(map(len, clips)) / len(clips) / 1e6:.1f} MB each; every {EVERY}th frame; median of "
        f"{options.rounds} interleaved rounds\n"
    )
    print_table(
        ("what", "kept frames/s", "clip seconds/s", "CPU ms per kept frame"),
        [
            (name, f"{found[name]:.0f}", f"{found[name] * EVERY / RATE:.1f}", f"{cpu[name]:.1f}")
            for name in runs
        ],
    )
    print()
    print_ratios(
        {
            "decode_vs_bare": found["RGB, samdistill"] / found["RGB, PyAV, same conversion"],
            "decode_vs_default": found["RGB, samdistill"] / found["RGB, PyAV, default conversion"],
            "decode_vs_bare_cpu": cpu["RGB, PyAV, same conversion"] / cpu["RGB, samdistill"],
            "normalize_vs_bare_cpu": cpu["JPEG tar, PyAV and Pillow"] / cpu["shards, samdistill"],
            "normalize_vs_bare": found["shards, samdistill"] / found["JPEG tar, PyAV and Pillow"],
        }
    )


if __name__ == "__main__":
    main()
