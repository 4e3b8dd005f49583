import torch
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.experiments.run import run
from sensorium.testing.tracers import check_tracer
from sensorium.tracing.base import NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView


class Recent(NeuralTracer):
    """The mean of all past answers, however long ago, and the question."""

    info = TracerInfo(summary="mean of the past", citation="a lesson")

    def __init__(self, view: TracingView, config: NeuralTracer.Config) -> None:
        super().__init__(view, config)
        self.embedding = self.make_embedding(view, config.dim)
        self.read = nn.Sequential(nn.Linear(2 * config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, 1))

    def forward(self, batch: TracingBatch) -> TracingOutput:
        x, y, _ = self.embedding(batch)
        so_far = (y * batch.mask.unsqueeze(-1)).cumsum(dim=1)
        before: Tensor = torch.cat([torch.zeros_like(y[:, :1]), so_far[:, :-1]], dim=1)  # the shift by one
        count = torch.arange(y.shape[1]).clamp(min=1).unsqueeze(-1)
        return TracingOutput(self.read(torch.cat([before / count, x], dim=-1)).squeeze(-1))


def main() -> None:
    print(check_tracer(Recent, {"dim": 16}))
    with registry.registered("sensorium.tracers", "recent", Recent):
        done = run(
            {
                "kind": "trace",
                "data": {"dataset": "learners"},
                "model": {"name": "recent", "dim": 16},
                "training": {"epochs": 3, "device": "cpu"},
            },
            out="runs/recent",
        )
    print(done.result["test"]["metrics"]["auc"])


if __name__ == "__main__":
    main()
