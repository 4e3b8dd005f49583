"""A distance of pictures without a network, for where the weights of LPIPS are not: details and edges, level by level.

With G_0 the picture, G_l+1 the mean of the blurred G_l over squares of 2 x 2, L_l = G_l - G_l+1 enlarged (Burt and
Adelson, The Laplacian pyramid as a compact image code, 1983), L_3 = G_3 what is left, and |grad G| the length of the
differences to the right and down,

    d(a, b) = sum over l = 0..3 of  mean |L_l(a) - L_l(b)|  +  mean | |grad G_l(a)| - |grad G_l(b)| |

over pixels and colours. It stands in for LPIPS where views are sorted by likeness, and its values are no LPIPS: the
name of the network, "pyramid", stands in every result that it was used for.

AT_FIFTY is its median between the reference and correct views 50 degrees beside it, both ways, on white at 128 pixels,
over the procedural objects of seeds 0 to 15; `tools/measure_pyramid.py` measures it, and LPIPS beside it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from sensorium.encoders.lpips import LPIPS

LEVELS = 4
AT_FIFTY = 0.653  # see above
_ROOM = 1e-12  # under the root of a gradient's length, whose slope at 0 is infinite


class Pyramid(LPIPS):
    """The distance: it is asked as LPIPS is. It has no weights.

    Attributes:
        net: "pyramid".
        at_fifty: Its value where that of LPIPS is 0.3.
    """

    at_fifty = AT_FIFTY

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.net = "pyramid"

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return details and lengths of gradients, level after level, of pictures [b, 3, H, W] in -1..1.

        Returns:
            Eight tensors [b, 3, h, w], of two for each level: details, then lengths.
        """
        found, level = [], pictures
        for number in range(LEVELS):
            last = number == LEVELS - 1
            smaller = level if last else functional.avg_pool2d(_blurred(level), 2, ceil_mode=True)
            enlarged = functional.interpolate(smaller, level.shape[2:], mode="bilinear", align_corners=False)
            found += [level if last else level - enlarged, _steepness(level)]
            level = smaller
        return found

    def apart(self, level: int, one: Tensor, other: Tensor) -> Tensor:
        """Return how much they differ, place by place and colour by colour: [b, 3, h, w]."""
        return (one - other).abs()


def _blurred(pictures: Tensor) -> Tensor:
    """The binomial filter (1, 2, 1) / 4 both ways; borders repeat, [b, c, h, w]."""
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4


def _steepness(pictures: Tensor) -> Tensor:
    """Length of the differences to the next pixel right and down, 0 at the last ones, [b, c, h, w]."""
    right = functional.pad(pictures.diff(dim=3), (0, 1, 0, 0))
    down = functional.pad(pictures.diff(dim=2), (0, 0, 0, 1))
    length: Tensor = (right.square() + down.square() + _ROOM).sqrt() - _ROOM**0.5
    return length
