"""Convolutions, pooling, branches, channels, upsampling: small architectures to examine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from receptive_field_zoo import Fn, Zoo
from torch import nn

CONVOLUTIONS = Zoo()
add, fn = CONVOLUTIONS.add, CONVOLUTIONS.fn

# Convolutions and pooling

for kernel, stride, padding, dilation, mode in [
    (3, 1, 0, 1, "zeros"),
    (3, 2, 1, 1, "zeros"),
    (2, 3, 1, 1, "zeros"),
    (3, 1, 2, 2, "zeros"),
    (3, 2, 3, 3, "zeros"),
    (5, 1, 2, 1, "reflect"),
    (3, 1, 2, 2, "replicate"),
    (3, 2, 1, 1, "circular"),
    ((3, 2), (2, 1), (0, 1), (1, 3), "zeros"),
    (4, 1, "same", 1, "zeros"),
    (3, 1, "same", 2, "reflect"),
    (1, 3, 0, 1, "zeros"),
]:
    add(
        f"conv2d k{kernel} s{stride} p{padding} d{dilation} {mode}",
        lambda k=kernel, s=stride, p=padding, d=dilation, m=mode: nn.Conv2d(1, 2, k, s, p, d, padding_mode=m),
        (1, 1, 7, 9),
    )
add("conv1d stack", lambda: nn.Sequential(nn.Conv1d(2, 3, 3, 2), nn.ReLU(), nn.Conv1d(3, 1, 3, dilation=2)), (1, 2, 14))
add("conv3d", lambda: nn.Sequential(nn.Conv3d(1, 2, 2, 2), nn.ReLU(), nn.Conv3d(2, 1, 2, padding=1)), (1, 1, 4, 5, 4))
add("conv batch of 2", lambda: nn.Conv2d(2, 2, 3, padding=1), (2, 2, 5, 5))
add(
    "course network in small",
    lambda: nn.Sequential(
        nn.Conv1d(1, 2, 3, padding=1),
        nn.MaxPool1d(2),
        nn.Conv1d(2, 2, 5, 2, 2),
        nn.MaxPool1d(2),
        nn.Conv1d(2, 2, 3, padding=3, dilation=2),
    ),
    (1, 1, 44),
)
add("holes: 1x1 stride 2, then 3x3", lambda: nn.Sequential(nn.Conv2d(1, 1, 1, 2), nn.Conv2d(1, 1, 3)), (1, 1, 9, 8))
add("holes: stride above kernel", lambda: nn.Sequential(nn.Conv1d(1, 1, 2, 5), nn.Conv1d(1, 1, 2)), (1, 1, 14))
for ceil in (False, True):
    add(f"max pool ceil={ceil}", lambda c=ceil: nn.MaxPool2d(3, 2, 1, ceil_mode=c), (1, 2, 6, 7))
    add(f"avg pool ceil={ceil}", lambda c=ceil: nn.AvgPool2d((2, 3), 2, (1, 0), ceil_mode=c), (1, 2, 6, 7))
    add(f"lp pool ceil={ceil}", lambda c=ceil: nn.LPPool2d(2, 3, 2, ceil_mode=c), (1, 1, 6, 7))
add("max pool dilated", lambda: nn.MaxPool2d(2, 1, 1, dilation=2), (1, 1, 6, 6))
add("max pool 1-D dilated, strided", lambda: nn.MaxPool1d(3, 2, 1, dilation=3), (1, 1, 13))
add("max pool 3-D", lambda: nn.MaxPool3d((1, 2, 2), ceil_mode=True), (1, 1, 3, 5, 4))
add("avg pool 1-D without padding counted", lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False), (1, 1, 8))
add("avg pool 3-D", lambda: nn.AvgPool3d(2, 1), (1, 1, 3, 4, 4))
add("adaptive avg pool", lambda: nn.AdaptiveAvgPool2d((3, 4)), (1, 1, 7, 6))
add("adaptive avg pool larger", lambda: nn.AdaptiveAvgPool1d(9), (1, 1, 5))
add("adaptive max pool", lambda: nn.AdaptiveMaxPool2d((2, 3)), (1, 1, 5, 7))
add("adaptive avg pool 3-D", lambda: nn.AdaptiveAvgPool3d((2, 1, 3)), (1, 1, 3, 3, 4))
add(
    "fractional max pool",
    lambda: nn.FractionalMaxPool2d(2, output_size=(3, 3)),
    (1, 1, 7, 7),
    spreads_nan=False,
    decidable=False,
)
add(
    "max pool and unpool",
    lambda: Fn(lambda m, x: m.up(*m.down(x)), down=nn.MaxPool2d(2, return_indices=True), up=nn.MaxUnpool2d(2)),
    (1, 1, 4, 6),
    spreads_nan=False,
)
add(
    "max pool indices",
    lambda: Fn(lambda m, x: m.p(x)[1], p=nn.MaxPool1d(3, 2, return_indices=True)),
    (1, 1, 9),
    spreads_nan=False,
)
fn("avg pool by unfold on a view", lambda x: x.unfold(2, 3, 2).mean(-1), (1, 1, 9, 2))

# Channels with different fields

add("depthwise", lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1), (1, 3, 5, 5))
add(
    "grouped: channels see different things",
    lambda: Fn(
        lambda m, x: torch.cat([m.a(x[:, :1]), m.b(x[:, 1:2]), x[:, 2:]], 1),
        a=nn.Conv2d(1, 1, 3, padding=1),
        b=nn.Conv2d(1, 2, (5, 1), padding=(2, 0)),
    ),
    (1, 3, 6, 6),
)
add(
    "branches of different size",
    lambda: Fn(
        lambda m, x: torch.cat([m.a(x), m.b(x), m.c(F.max_pool2d(x, 3, 1, 1))], 1),
        a=nn.Conv2d(1, 1, 1),
        b=nn.Conv2d(1, 2, 3, padding=2, dilation=2),
        c=nn.Conv2d(1, 1, 1),
    ),
    (1, 1, 6, 6),
)
add(
    "channel shuffle after grouped branches",
    lambda: nn.Sequential(
        Fn(lambda m, x: torch.cat([m.a(x), F.pad(x, (1, 0))[..., :-1]], 1), a=nn.Conv1d(2, 2, 3, padding=1)),
        nn.ChannelShuffle(2),
        nn.Conv1d(4, 4, 2, groups=2),
    ),
    (1, 2, 8),
)
add(
    "depthwise after branches keeps channels apart",
    lambda: Fn(
        lambda m, x: m.d(torch.cat([m.a(x), x], 1)), a=nn.Conv1d(1, 1, 5, padding=2), d=nn.Conv1d(2, 4, 2, groups=2)
    ),
    (1, 1, 9),
)
add(
    "split, chunk, stack",
    lambda: Fn(
        lambda m, x: torch.stack([m.a(x.chunk(2, 1)[0]), x.split(1, 1)[1]], 1).flatten(1, 2),
        a=nn.Conv1d(1, 1, 3, padding=1),
    ),
    (1, 2, 7),
)
add(
    "res2net-like",
    lambda: Fn(
        lambda m, x: torch.cat([x[:, :1], (y := m.a(x[:, 1:2])), m.b(x[:, 2:] + y)], 1),
        a=nn.Conv1d(1, 1, 3, padding=1),
        b=nn.Conv1d(1, 1, 3, padding=1),
    ),
    (1, 3, 9),
)
add(
    "channel groups through norm",
    lambda: Fn(
        lambda m, x: m.c(m.n(torch.cat([m.a(x), x], 1))),
        a=nn.Conv1d(1, 2, 3, padding=1),
        n=nn.BatchNorm1d(3),
        c=nn.Conv1d(3, 3, 1, groups=3),
    ),
    (1, 1, 7),
)
add("pixel shuffle", lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), (1, 1, 4, 5))
add("pixel unshuffle", lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 2, 2)), (1, 1, 6, 8))
add("pixel unshuffle, grouped", lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 2, groups=4)), (1, 1, 6, 6))
add(
    "space to depth (focus)",
    lambda: Fn(
        lambda m, x: m.c(torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)),
        c=nn.Conv2d(4, 2, 2),
    ),
    (1, 1, 6, 6),
)
fn("channels become positions", lambda x: x.transpose(1, 2), (1, 5, 4))
fn("mean over channels", lambda x: x.mean(1, keepdim=True), (1, 3, 4, 3))

# Branches and joints

add(
    "residual",
    lambda: Fn(
        lambda m, x: F.relu(x + m.b(F.relu(m.a(x)))), a=nn.Conv2d(1, 2, 3, padding=1), b=nn.Conv2d(2, 1, 3, padding=1)
    ),
    (1, 1, 7, 6),
)
add(
    "residual, strided shortcut",
    lambda: Fn(lambda m, x: m.a(x) + m.s(x), a=nn.Conv2d(1, 2, 4, 3, padding=1), s=nn.Conv2d(1, 2, 1, 3)),
    (1, 1, 9, 8),
)
add(
    "dense block",
    lambda: Fn(
        lambda m, x: m.b(torch.cat([x, m.a(x)], 1)), a=nn.Conv1d(1, 2, 3, padding=1), b=nn.Conv1d(3, 1, 3, dilation=3)
    ),
    (1, 1, 14),
)
add(
    "u-net",
    lambda: Fn(
        lambda m, x: m.out(torch.cat([(e := F.relu(m.a(x))), m.up(F.relu(m.b(F.max_pool2d(e, 2))))], 1)),
        a=nn.Conv2d(1, 2, 3, padding=1),
        b=nn.Conv2d(2, 2, 3, padding=1),
        up=nn.ConvTranspose2d(2, 2, 2, 2),
        out=nn.Conv2d(4, 1, 1),
    ),
    (1, 1, 8, 8),
)
add(
    "squeeze and excite",
    lambda: Fn(
        lambda m, x: (y := m.a(x)) * torch.sigmoid(m.f(y.mean((2, 3))))[:, :, None, None],
        a=nn.Conv2d(1, 2, 3),
        f=nn.Linear(2, 2),
    ),
    (1, 1, 5, 5),
)
add("gated (GLU)", lambda: nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.GLU(1)), (1, 1, 7))
add(
    "highway with tanh and sigmoid",
    lambda: Fn(
        lambda m, x: torch.tanh(m.a(x)) * torch.sigmoid(m.b(x)), a=nn.Conv1d(1, 1, 2, dilation=2), b=nn.Conv1d(1, 1, 3)
    ),
    (1, 1, 7),
)
add(
    "zero times a path",
    lambda: Fn(lambda m, x: x + 0.0 * m.a(x), a=nn.Conv1d(1, 1, 5, padding=2)),
    (1, 1, 7),
    spreads_nan=False,
)
add(
    "zero buffer times a path",
    lambda: Fn(lambda m, x: x[..., 1:-1] + m.z * m.a(x), a=nn.Conv1d(1, 1, 3), z=torch.zeros(())),
    (1, 1, 7),
    spreads_nan=False,
)
add(
    "zero-initialised gate",
    lambda: Fn(lambda m, x: x + m.g * m.a(x), a=nn.Conv1d(1, 1, 3, padding=1), g=nn.Parameter(torch.zeros(()))),
    (1, 1, 7),
)
fn("x - x", lambda x: x - x, (1, 1, 5), cancels=True)
add("f(x) - f(x), one module", lambda: Fn(lambda m, x: m.a(x) - m.a(x), a=nn.Conv1d(1, 1, 3)), (1, 1, 6))
fn("min and max of shifts", lambda x: torch.maximum(x[..., 2:], torch.minimum(x[..., :-2], x[..., 1:-1])), (1, 1, 8))
fn("clamp, abs, exp, pow", lambda x: x.clamp(-1, 1).abs().exp().pow(1.5) + 1, (1, 1, 4, 3))
fn("remainder and floor", lambda x: x.floor() + x % 1.5, (1, 1, 5))
add(
    "prelu, softplus, elu, gelu, hardswish, mish",
    lambda: nn.Sequential(
        nn.PReLU(), nn.Softplus(), nn.ELU(), nn.GELU(), nn.Hardswish(), nn.Mish(), nn.Conv1d(1, 1, 2)
    ),
    (1, 1, 6),
)
add(
    "dropout in train",
    lambda: nn.Sequential(nn.Conv1d(1, 3, 3), nn.Dropout(0.5), nn.Conv1d(3, 2, 2)),
    (1, 1, 8),
    train=True,
    spreads_nan=False,
)
add("dropout in eval", lambda: nn.Sequential(nn.Conv1d(1, 3, 3), nn.Dropout(0.5), nn.Conv1d(3, 2, 2)), (1, 1, 8))
add(
    "channel dropout in train",
    lambda: nn.Sequential(nn.Dropout2d(0.5), nn.Conv2d(2, 2, 2)),
    (1, 2, 4, 4),
    train=True,
    spreads_nan=False,
)

# Upsampling

for kernel, stride, padding, extra, dilation in [
    (3, 2, 1, 1, 1),
    (2, 3, 0, 0, 1),
    (3, 1, 2, 0, 2),
    (4, 2, 1, 0, 1),
    (2, 3, 1, 2, 3),
]:
    add(
        f"transposed conv k{kernel} s{stride} p{padding} op{extra} d{dilation}",
        lambda k=kernel, s=stride, p=padding, o=extra, d=dilation: nn.ConvTranspose2d(1, 1, k, s, p, o, dilation=d),
        (1, 1, 4, 5),
    )
add("transposed conv 1-D, grouped", lambda: nn.ConvTranspose1d(2, 4, 3, 2, groups=2), (1, 2, 5))
add("transposed conv 3-D", lambda: nn.ConvTranspose3d(1, 1, 2, 2), (1, 1, 2, 3, 2))
add(
    "conv, transposed conv, conv",
    lambda: nn.Sequential(nn.Conv1d(1, 1, 3, 2), nn.ConvTranspose1d(1, 1, 4, 2), nn.Conv1d(1, 1, 2)),
    (1, 1, 11),
)
for mode, shape, corners in [
    ("nearest", (1, 1, 5, 4), None),
    ("nearest-exact", (1, 1, 5, 4), None),
    ("linear", (1, 1, 6), False),
    ("linear", (1, 1, 6), True),
    ("bilinear", (1, 1, 4, 5), False),
    ("bilinear", (1, 1, 4, 5), True),
    ("bicubic", (1, 1, 6, 5), False),
    ("bicubic", (1, 1, 6, 5), True),
    ("trilinear", (1, 1, 2, 3, 3), False),
    ("trilinear", (1, 1, 2, 3, 3), True),
    ("area", (1, 1, 5, 6), None),
]:
    for factor in (2, 1.5, 0.6):
        add(
            f"interpolate {mode} x{factor} align_corners={corners}",
            lambda f=factor, m=mode, c=corners: nn.Upsample(scale_factor=f, mode=m, align_corners=c),
            shape,
        )
fn("interpolate to a size", lambda x: F.interpolate(x, (7, 3), mode="bilinear"), (1, 1, 4, 5))
fn("interpolate antialiased", lambda x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True), (1, 1, 7, 8))
fn("interpolate antialiased bicubic", lambda x: F.interpolate(x, (4, 5), mode="bicubic", antialias=True), (1, 1, 7, 8))
fn(
    "interpolate, scale kept",
    lambda x: F.interpolate(x, scale_factor=1.7, mode="linear", recompute_scale_factor=True),
    (1, 1, 5),
)
add(
    "upsample and conv", lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)), (1, 1, 4, 4)
)
fn("repeat_interleave", lambda x: x.repeat_interleave(2, 2), (1, 1, 4, 3))
fn(
    "grid_sample at a constant grid",
    lambda x: F.grid_sample(
        x,
        F.affine_grid(torch.tensor([[[1.0, 0, 0.3], [0, 0.7, 0]]], dtype=x.dtype), [1, 1, 4, 4], align_corners=False),
        align_corners=False,
    ),
    (1, 1, 5, 5),
    spreads_nan=False,
)
