"""Sizes of the networks that are defined here, known without importing torch."""

EFFLITE_STAGES = (  # repeats, kernel, stride, expansion, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EFFLITE_WIDTHS = tuple(stage[4] for stage in EFFLITE_STAGES)
EFFLITE_HEAD = 1280

YAMNET_STEM = 32
YAMNET_PAIRS = (  # stride of the depthwise, width of the pointwise convolution
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    *((1, 512),) * 5,
    (2, 1024),
    (1, 1024),
)
YAMNET_WIDTHS = (YAMNET_STEM, *(width for _, width in YAMNET_PAIRS))
YAMNET_CLASSES = 521
