"""Protocols: how a judge is asked about a video, in which words, and what it gets to see.

    few_shot.static   1 call for a video; the other models' first frames are its examples
    few_shot.joint    1 call for all models' videos of a prompt
    chain_of_query    5 calls for a video: describe, ask, ask, answer, score
    direct            1 call for a video

Each is a function from what is shown to an `Outcome`. Words of prompts and of earlier answers are data: they enter a
message as JSON strings inside a marked block (`words.data_block`), never as instructions, and never the system role.
"""
