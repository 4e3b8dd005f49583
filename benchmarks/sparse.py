"""The product of a user-item graph with its embeddings, by three kernels of torch in one run.

    OMP_NUM_THREADS=1 python benchmarks/sparse.py

Random graphs with a long tail, in the shapes of MovieLens-1M and Amazon Video Games, d = 64. Printed are the medians in
milliseconds, and each kernel's ratio to `bag_product`, which `sensorium.nn.sparse` uses on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

from sensorium.core.rundir import machine_class
from sensorium.core.seeds import numpy_generator
from sensorium.nn.propagation import bipartite_adjacency
from sensorium.nn.sparse import bag_product, csr_product

SHAPES = {"1 M": (6_040, 3_706, 802_000), ".3 M": (31_013, 23_715, 239_000)}
WIDTH = 64
REPEATS = 15


def milliseconds(multiply: Callable[[Tensor, Tensor], Tensor], matrix: Tensor, dense: Tensor) -> float:
    multiply(matrix, dense)
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        multiply(matrix, dense)
        times.append(time.perf_counter() - begun)
    return 1e3 * median(times)


def main() -> None:
    print(machine_class(), f"{torch.get_num_threads()} thread(s), torch {torch.__version__}")
    for name, (users, items, rows) in SHAPES.items():
        draw = numpy_generator(0, "benchmark", name)
        weight = 1 / (np.arange(items) + 20.0) ** 0.8
        user = draw.integers(0, users, 2 * rows)
        item = draw.choice(items, 2 * rows, p=weight / weight.sum())
        keys = np.sort(draw.permutation(np.unique(user * items + item))[:rows])
        graph = bipartite_adjacency(keys // items, keys % items, None, users, items)
        matrix = graph.rows.on(torch.device("cpu"))
        dense = torch.randn(users + items, WIDTH, generator=torch.Generator().manual_seed(0))
        coordinates = matrix.to_sparse_coo().coalesce()
        assert torch.allclose(bag_product(matrix, dense), csr_product(matrix, dense), atol=1e-4)
        bag = milliseconds(bag_product, matrix, dense)
        csr = milliseconds(csr_product, matrix, dense)
        coo = milliseconds(torch.sparse.mm, coordinates, dense)
        print(
            f"{name} rows, {matrix.values().numel():,} values: bags {bag:.1f} ms, CSR {csr:.1f} ms ({csr / bag:.1f}x), "
            f"COO {coo:.1f} ms ({coo / bag:.1f}x)"
        )


if __name__ == "__main__":
    main()
