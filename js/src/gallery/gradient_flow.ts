import type { GalleryEntry } from './exhibit';

export const gradientFlow: GalleryEntry = {
  title: 'GradientFlowMeter',
  code: `import torch
from torch import nn

from dlwidgets import GradientFlowMeter

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(42, 128), nn.Sigmoid(), *[nn.Linear(128, 128), nn.Sigmoid()] * 24, nn.Linear(128, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
meter = GradientFlowMeter(model, optimizer)
display(meter)
with meter:
    for step in range(400):
        x = torch.randn(64, 42)
        loss = nn.functional.mse_loss(model(x), x[:, :1].sin() + 0.5 * x[:, 1:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        meter.log(loss=loss)`,
};
