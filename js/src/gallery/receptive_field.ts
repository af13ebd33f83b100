import type { GalleryEntry } from './exhibit';

export const receptiveField: GalleryEntry = {
  title: 'ReceptiveFieldViewer',
  code: `from torch import nn

from dlwidgets import ReceptiveFieldViewer

model = nn.Sequential(
    nn.Conv2d(3, 8, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, kernel_size=5, stride=2, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, kernel_size=7, dilation=2, padding=3),
)
ReceptiveFieldViewer(model, (1, 3, 256, 256))`,
};
