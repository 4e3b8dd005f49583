"""Lifting: objects of Gaussians, their pictures from any side, and meshes made of them."""
