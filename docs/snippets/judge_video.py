from pathlib import Path

import numpy as np

import sensorium as sn
from sensorium.media.video import write_video


def main() -> None:
    folder = Path("videos")
    folder.mkdir(exist_ok=True)
    rows = ["model,prompt_id,prompt,sample,path"]
    for model, light in (("dim", 60), ("bright", 220)):
        frames = [np.full((64, 96, 3), light + step, np.uint8) for step in range(16)]
        write_video(folder / f"{model}.mp4", frames, fps=8)
        rows.append(f"{model},wall,a wall at noon,0,{model}.mp4")
    (folder / "videos.csv").write_text("\n".join(rows) + "\n")

    judged = sn.run(
        {
            "kind": "judge",
            "videos": {"manifest": "videos/videos.csv"},
            "prompts": "manifest",
            "dimensions": ["imaging_quality", "video_text_consistency"],
            "judge": "scripted",  # scores brightness: a judge to try things with, offline and free
        },
        out="runs/judged",
    )
    for name, entry in judged.result["dimensions"].items():
        print(name, {model: row["mean"] for model, row in entry["models"].items()})


if __name__ == "__main__":  # decoding processes import this file again
    main()
