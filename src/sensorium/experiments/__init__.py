"""Experiments: a configuration becomes a run, runs become tables and pages, experiments become committed rows.

The way through the room: `config` says what can be asked for; `run` begins, resumes and opens runs, each filled by the
job of its kind (`jobs`, `recommending`); `compare` and `report` make tables and pages of them; `cells` runs what an
experiment file (`plan`) lists and keeps `rows`; `audit` asks whether a protocol leaks; `evaluating` measures anybody's
lists.
"""
