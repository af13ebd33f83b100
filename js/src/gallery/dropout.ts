import type { GalleryEntry } from './exhibit';

export const dropout: GalleryEntry = {
  title: 'DropoutSimulator',
  code: `import torch
from torch import nn

from dlwidgets import DropoutSimulator

model = nn.Sequential(
    nn.Linear(8, 32),
    nn.ReLU(),
    nn.Dropout(0.1),
    nn.Dropout(0.2),
    nn.Linear(32, 3),
)
DropoutSimulator(model, torch.randn(4, 8))`,
};
