from sensorium.lifting.fitting import FitConfig, fit
from sensorium.lifting.optimisation import DensityConfig, OptimisationConfig
from sensorium.lifting.rasterisers import WHITE, render
from sensorium.testing.scenes import photographs

views = photographs("torus", [(-20, azimuth) for azimuth in range(0, 360, 60)], side=48)
steps = OptimisationConfig(iterations=120, density=DensityConfig(interval=30, start=30, max_points=1000))
result = fit(views, FitConfig(points=300, optimisation=steps), heldout=photographs("torus", [(0, 30)], side=48))
print(f"{len(result.cloud)} Gaussians, {result.heldout_psnr:.1f} dB from a side that was not fitted")

picture = render(result.cloud, views[0].camera, bg=WHITE).rgb  # [48, 48, 3], differentiable
