import type { GalleryEntry } from './exhibit';

export const latentSpace: GalleryEntry = {
  title: 'LatentSpaceExplorer',
  code: `import torch
from sklearn.datasets import load_digits

from dlwidgets import LatentSpaceExplorer

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)
LatentSpaceExplorer.train(images, digits.target, beta=1.0, epochs=50)`,
};
