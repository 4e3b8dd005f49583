"""Encoders of the Hugging Face Hub, by transformers' own classes: any id, local folder or mirror of a known family.

    weights.py    where the files are, which bytes they are, what is refused
    families.py   the known families: class, pooling, where the final norm stands, widths by their config
    base.py       one path from files to states and vectors
    text.py vision.py frames.py video.py sound.py    what each modality adds
    captions.py   pictures by the text that describes them
    timm.py       timm's image models, where a torchvision that fits is installed
    cards.py      the named ones

Nothing here imports transformers or torch before `load`: a list of encoders, and an encode that finds everything up to
date, stay quick.
"""
