"""The metric judge: measured signals calibrated on human ratings. No language model, no network.

The way through it: `looking` takes frames from a file; `pictures` and `movement` measure signals on them, `signals`
names all of them and says what each may mean; `distortions` spoils clips in known ways; `fitting` solves for weights;
`calibrate` makes weights from a folder of rated clips, and `weights.json` holds those that ship; `judge` scores.

What it cannot see: whether a picture shows what the text asks for, whether a movement makes sense, whether a hand has
six fingers. It sees blur, noise, blocks, clipped exposure, flicker, jumps and movement that does not hold together.
"""
