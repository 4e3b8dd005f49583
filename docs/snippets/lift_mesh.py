import numpy as np

from sensorium.lifting.cloud import from_points
from sensorium.lifting.files.meshes import write_mesh
from sensorium.lifting.files.ply import read_ply, write_ply
from sensorium.lifting.meshing import MeshConfig, make_mesh

directions = np.random.default_rng(0).normal(size=(2000, 3))
points = 0.4 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
write_ply("ball.ply", from_points(points, colours=0.5 + points, opacity=0.8))

made = make_mesh(read_ply("ball.ply"), MeshConfig(resolution=48, texture=128, view_size=64))
write_mesh("ball.glb", made.mesh)
print(made.measures.watertight, made.measures.euler, f"{made.measures.silhouette_iou:.2f}")  # True 2 0.98
