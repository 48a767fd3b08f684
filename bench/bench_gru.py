"""A whole sequence: inference, and forward with backward into all weight gradients."""

from __future__ import annotations

import numgru

from .machine import fma_peak
from .workload import SHAPES, Shape, Workload, median_seconds


class Sequence:
    params = ([str(shape) for shape in SHAPES], ["float32", "float64"], [1, 2])
    param_names = ("B,T,I,H", "dtype", "threads")
    timeout = 300

    def setup(self, shape: str, dtype: str, threads: int) -> None:
        numgru.set_num_threads(threads)
        self.threads = threads
        self.workload = Workload(Shape(*map(int, shape.split(","))), dtype)
        self.shape, self.dtype = self.workload.shape, dtype

    def time_inference(self, *_: object) -> None:
        self.workload.inference()

    def time_training(self, *_: object) -> None:
        self.workload.training()

    def track_inference_gflops(self, *_: object) -> float:
        return self.shape.forward_flops / median_seconds(self.workload.inference) / 1e9

    def track_training_gflops(self, *_: object) -> float:
        return self.shape.training_flops / median_seconds(self.workload.training) / 1e9

    def track_inference_fraction_of_peak(self, *_: object) -> float:
        return self.track_inference_gflops() / fma_peak(self.dtype, self.threads)

    def track_training_fraction_of_peak(self, *_: object) -> float:
        return self.track_training_gflops() / fma_peak(self.dtype, self.threads)


for _name in ("inference", "training"):
    getattr(Sequence, f"track_{_name}_gflops").unit = "GFLOP/s"
    getattr(Sequence, f"track_{_name}_fraction_of_peak").unit = "of the FMA peak"
