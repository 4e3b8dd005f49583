"""Judging, timed: 4,000 cells answered from a cassette, from video files to records, leaderboard and page.

    OMP_NUM_THREADS=1 python benchmarks/judging.py           # 500 prompts x 8 models, at most 60 s
    OMP_NUM_THREADS=1 python benchmarks/judging.py --prompts 50

Small videos are written, a scripted judge is recorded on them, and the recording is replayed by a run of its own: files
are decoded, frames encoded and hashed, every answer is looked up and kept on the disk. Printed: wall and processor
seconds of the replay (decoding processes included), cells per second, whether its records are those of the recording,
and the seconds of a second call on the finished run.
"""

import argparse
import csv
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from sensorium.media.video import write_video


def write_videos(folder: Path, prompts: int, models: int) -> Path:
    """Videos of 8 frames, each of a brightness and a stripe of its own, and their manifest."""
    with (folder / "videos.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["model", "prompt_id", "prompt", "sample", "path"])
        for prompt in range(prompts):
            for model in range(models):
                picture = np.full((64, 64, 3), 30 * model + 10, np.uint8)
                picture[prompt % 64, :, prompt // 64 % 3] = 255
                name = f"{prompt}-{model}.mp4"
                write_video(folder / name, [picture] * 8, 8)
                writer.writerow([f"model-{model}", f"q{prompt}", f"prompt {prompt}", 0, name])
    return folder / "videos.csv"


def processor_seconds() -> float:
    """Of this process and of all its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    # Here, since decoding processes import this file again and need none of it.
    from sensorium.core.rundir import machine_class
    from sensorium.experiments.run import resume, run
    from sensorium.judging.records import read_records

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--models", type=int, default=8)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="judging-"))
    try:
        manifest = write_videos(folder, options.prompts, options.models)
        base = {"kind": "judge", "videos": {"manifest": str(manifest)}, "prompts": "manifest"}
        base |= {"dimensions": ["imaging_quality"]}
        cassette = str(folder / "cassette.jsonl")
        recording = {"name": "replay", "mode": "record", "cassette": cassette, "judge": "scripted"}
        run(base | {"judge": recording}, out=folder / "recorded")

        begun, used = time.monotonic(), processor_seconds()
        run(base | {"judge": {"name": "replay", "cassette": cassette}}, out=folder / "replayed")
        wall, cpu = time.monotonic() - begun, processor_seconds() - used

        begun = time.monotonic()
        assert resume(folder / "replayed").was_complete
        again = time.monotonic() - begun
        recorded, replayed = (read_records(folder / name / "records.jsonl") for name in ("recorded", "replayed"))
        same = [(one.key, one.score, one.reason, one.request_keys) for one in recorded] == [
            (one.key, one.score, one.reason, one.request_keys) for one in replayed
        ]
        cells = options.prompts * options.models
        print(machine_class())
        print(f"{cells:,} replay cells: {wall:.1f} s wall, {cpu:.1f} processor seconds, {cells / wall:.0f} cells/s")
        print(f"records equal to the recording's: {same}; a second call takes {again:.2f} s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
