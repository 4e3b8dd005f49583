import torch

from sensorium.lifting.prior import ViewPrior

rows, columns = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
inside = (rows**2 + columns**2 < 25.6**2).float()
photo = torch.stack([0.9 * inside, 0.5 * inside, 0.1 * inside, inside])  # an orange: premultiplied RGBA, [4, 64, 64]

prior = ViewPrior.shipped()
reference = prior.reference(photo, elevation=0.0)
elevations, azimuths = torch.tensor([0.0, -20.0]), torch.tensor([90.0, 180.0])
told = prior.sample(reference, elevations, azimuths, steps=10, generator=torch.Generator().manual_seed(0))
print(told.shape, f"{prior.card['parameters']:,} parameters")
