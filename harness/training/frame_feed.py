"""How a step's frames reach the device.

Shapes: N images of a domain, B batch per domain, F side of a frame; 2B: a's batch, then b's.
"""

import torch
from torch import Tensor

from harness.datasets.frame_store import DomainFrames

RESIDENT_SHARE = 0.1
"""Share of the GPU's memory, per trial, below which a pair's frames are kept on it."""


class FrameFeed:
    """Gathers the frames of a step's images on the device.

    On a GPU a pair that takes little of its memory is copied there once, so that a step copies
    indices only. A larger one is gathered into page-locked memory and copied while the GPU works
    on the step before; two buffers take turns, each guarded by an event.
    """

    def __init__(self, frames: tuple[DomainFrames, DomainFrames], device: torch.device) -> None:
        self.device = device
        self._frames = [domain.frames_N3FF for domain in frames]
        self.resident = device.type != "cuda"
        if device.type == "cuda":
            size = sum(frames_N3FF.numel() for frames_N3FF in self._frames)
            total = torch.cuda.get_device_properties(device).total_memory
            free = torch.cuda.mem_get_info(device)[0]
            if size < RESIDENT_SHARE * min(total, 4 * free):
                self._frames = [frames_N3FF.to(device) for frames_N3FF in self._frames]
                self.resident = True
        self._staged: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []
        self._turn = 0

    def __call__(self, index_a_B: Tensor, index_b_B: Tensor) -> Tensor:
        """The frames of a's and then of b's images, uint8 (2B, 3, F, F), on the device.

        Args:
            index_a_B: positions in domain a, on the CPU.
            index_b_B: positions in domain b, on the CPU.
        """
        indices = (index_a_B, index_b_B)
        if self.resident:
            picked = [
                frames_N3FF.index_select(0, index_B.to(frames_N3FF.device, non_blocking=True))
                for frames_N3FF, index_B in zip(self._frames, indices, strict=True)
            ]
            return torch.cat(picked)
        staged_2B3FF = self._buffer(len(index_a_B) + len(index_b_B))
        start = 0
        for frames_N3FF, index_B in zip(self._frames, indices, strict=True):
            stop = start + len(index_B)
            torch.index_select(frames_N3FF, 0, index_B, out=staged_2B3FF[start:stop])
            start = stop
        frames_2B3FF = staged_2B3FF.to(self.device, non_blocking=True)
        self._copied[self._turn].record()
        return frames_2B3FF

    def _buffer(self, count: int) -> Tensor:
        """The buffer whose turn it is, once its last copy has left it."""
        if not self._staged or len(self._staged[0]) != count:
            shape = (count, *self._frames[0].shape[1:])
            self._staged = [
                torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)
            ]
            self._copied = [torch.cuda.Event() for _ in range(2)]
        self._turn = 1 - self._turn
        self._copied[self._turn].synchronize()
        return self._staged[self._turn]
