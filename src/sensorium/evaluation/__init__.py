"""Evaluation of anything that scores items: full ranking, metrics, intervals, tests. Arrays and protocols, no model.

The way through the room: `tasks` says who is asked, what is right and what is masked; `scoring` and `ranking` make the
lists of a scorer; `lists` reads those of any other system; `results` measures lists with `metrics`; `bootstrap` and
`buckets` say how sure a number is and where it comes from; `selection` names the number that chooses a model.
`metrics`, `selection`, `tasks`, `results`, `lists` and `bootstrap` work without torch.
"""
