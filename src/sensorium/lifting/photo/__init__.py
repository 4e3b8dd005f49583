"""From a photo of one object to what the optimisation takes: a cut-out, clean, centred, as large as it is wanted.

opening.py       any picture file or array, decoded in a process of its own, to colours and coverage
segmentation.py  which pixels show the object, where the picture does not say
cutout.py        repaired coverage, cropped and centred in a frame of any side
enlarging.py     super-resolution of small cut-outs, with a guard
preparation.py   all of it by one call
"""
