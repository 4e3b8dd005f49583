"""Learning rates in closed form: a function of how far training is, so that a checkpoint needs no scheduler's state."""

import math

from sensorium.training.config import ScheduleConfig


def learning_rate_factor(schedule: ScheduleConfig, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return what the base rate is multiplied by at one step.

    With t = step / steps_per_epoch, in epochs, and w = `warmup`:

    - constant: 1
    - exponential: gamma ** (t / every)
    - cosine: floor + (1 - floor) * (1 + cos(pi * p)) / 2, with p = (t - w) / (epochs - w), within 0 and 1
      (Loshchilov & Hutter 2017, equation 5, without restarts)
    - each times min(1, (step + 1) / (w * steps_per_epoch)): the first step is not lost, and the full rate is reached at
      the end of the warm-up.

    Args:
        schedule: Which curve.
        step: Steps that the phase has taken since the start of training.
        steps_per_epoch: Steps that it takes in an epoch.
        epochs: Epochs at most.
    """
    time = step / steps_per_epoch
    factor = 1.0
    if schedule.name == "exponential":
        factor = schedule.gamma ** (time / schedule.every)
    elif schedule.name == "cosine":
        progress = min(max((time - schedule.warmup) / (epochs - schedule.warmup), 0.0), 1.0)
        factor = schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * progress)) / 2
    if schedule.warmup:
        factor *= min(1.0, (step + 1) / (schedule.warmup * steps_per_epoch))
    return factor
