"""The angular margin of ArcFace, shared by the method and the criterion of that name.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", equation 3, https://arxiv.org/abs/1801.07698.
"""

import math

import torch
from torch import Tensor

_CLIP = 1e-7  # bounds sin(theta) away from 0, where its gradient is infinite; the value of 2021


def add_angular_margin(cosine: Tensor, margin: float, *, monotone: bool) -> tuple[Tensor, Tensor]:
    """The cosine after a margin has been added to the angle theta, and its slope.

    cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m)

    For theta > pi - m that value increases with theta, so that its gradient moves an embedding
    almost opposite to its class weight further away. `monotone` uses cos(theta) - m sin(m) there,
    which decreases with theta, as InsightFace and pytorch-metric-learning do.

    Near +-1 the slope cos(m) + sin(m) cos(theta) / sin(theta) is large: pass the cosine in float64.

    Args:
        cosine: cos(theta), any shape, in [-1, 1].
        margin: m in radians, [0, pi).
        monotone: see above.

    Returns:
        Value and slope d value / d cos(theta), both of the shape of `cosine`. cos(theta) is clamped
        to 1e-7 (an angle of 4.5e-4) from +-1, where the slope would be infinite; where it is
        clamped, the slope is 0.

    Example:
        >>> [round(x.item(), 4) for x in add_angular_margin(torch.tensor(0.8), math.pi / 2,
        ...                                                 monotone=False)]
        [-0.6, 1.3333]
        >>> add_angular_margin(torch.tensor([0.0, -1.0]), math.pi / 6, monotone=True)[0]
        tensor([-0.5000, -1.2618])
    """
    clipped = cosine.clamp(-1 + _CLIP, 1 - _CLIP)
    sine = ((1 - clipped) * (1 + clipped)).sqrt()  # product form: 1 - t^2 loses half the digits
    value = clipped * math.cos(margin) - sine * math.sin(margin)
    slope = (math.cos(margin) + clipped / sine * math.sin(margin)) * (clipped == cosine)
    if not monotone:
        return value, slope
    beyond = cosine < -math.cos(margin)  # theta > pi - m
    value = torch.where(beyond, cosine - margin * math.sin(margin), value)
    return value, torch.where(beyond, torch.ones_like(slope), slope)
