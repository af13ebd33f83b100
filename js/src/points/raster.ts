import type { Cloud } from './cloud';
import type { Placement } from './placement';

/** Discs are placed to a quarter of a pixel. */
const BITS = 2;
const STEPS = 1 << BITS;

/**
 * The pixels of a small disc and how far each is covered (1..255), for every shift of its centre by quarters of a
 * pixel: stamp s from starts[s] to starts[s + 1].
 */
interface Stamps {
  starts: number[];
  offsets: Int32Array;
  weights: Int32Array;
}

/** How many pixels a disc may touch on each side of the one that holds its centre. */
function reachOf(radius: number): number {
  return Math.ceil(radius + 0.5);
}

function stampsOf(radius: number, opacity: number, stride: number): Stamps {
  const reach = reachOf(radius);
  const starts = [0];
  const offsets: number[] = [];
  const weights: number[] = [];
  for (let step = 0; step < STEPS * STEPS; step++) {
    const [shiftX, shiftY] = [step % STEPS, Math.floor(step / STEPS)].map((part) => (part + 0.5) / STEPS - 0.5);
    for (let row = -reach; row <= reach; row++) {
      for (let column = -reach; column <= reach; column++) {
        const coverage = Math.min(1, radius + 0.5 - Math.hypot(column - shiftX, row - shiftY));
        const weight = Math.round(255 * opacity * coverage);
        if (weight > 0) {
          offsets.push(row * stride + column);
          weights.push(weight);
        }
      }
    }
    starts.push(offsets.length);
  }
  return { starts, offsets: Int32Array.from(offsets), weights: Int32Array.from(weights) };
}

/**
 * Draws points as discs into an ImageData without any graphics hardware; keeps its memory between two drawings. The
 * points on top come first: where they have covered a pixel, all that lies below costs one glance.
 */
export class CpuRasteriser {
  /** Premultiplied pixels, with a margin that takes what discs at the border spill. */
  private pixels = new Int32Array(0);
  private margin = 0;
  private stride = 0;

  clear({ width, height }: Placement, diameter: number): void {
    this.margin = 2 * reachOf(diameter / 2);
    this.stride = width + 2 * this.margin;
    const size = this.stride * (height + 2 * this.margin);
    if (this.pixels.length < size) {
      this.pixels = new Int32Array(size);
    } else {
      this.pixels.fill(0);
    }
  }

  /**
   * Draws the points whose flag is `wanted` below what is drawn already, the last point on top; `table` holds a pixel
   * a colour index, 0 for hidden ones.
   */
  draw(
    { x, y, color, length }: Cloud,
    place: Placement,
    table: Uint32Array,
    diameter: number,
    opacity: number,
    flags: Uint8Array | null,
    wanted: number,
  ): void {
    const { pixels, margin, stride } = this;
    const { starts, offsets, weights } = stampsOf(diameter / 2, opacity, stride);
    const { center: centerX, scale: scaleX } = place.x;
    const { center: centerY, scale: scaleY } = place.y;
    const offsetX = place.x.offset + margin;
    const offsetY = place.y.offset + margin;
    // from `near` on a disc may touch the canvas, and none spills beyond the margin
    const near = margin / 2;
    const right = place.width + margin + near;
    const bottom = place.height + margin + near;
    for (let i = length - 1; i >= 0; i--) {
      const px = (x[i] - centerX) * scaleX + offsetX;
      const py = (y[i] - centerY) * scaleY + offsetY;
      // NaN fails every comparison
      if (!(px >= near && px < right && py >= near && py < bottom)) {
        continue;
      }
      const source = table[color === null ? 0 : color[i]];
      if (source === 0 || (flags !== null && flags[i] !== wanted)) {
        continue;
      }
      const quarterX = (px * STEPS) | 0;
      const quarterY = (py * STEPS) | 0;
      const stamp = ((quarterY & (STEPS - 1)) << BITS) | (quarterX & (STEPS - 1));
      const base = (quarterY >> BITS) * stride + (quarterX >> BITS);
      // two channels at a time: red and blue, green and alpha
      const evens = source & 0xff00ff;
      const odds = ((source >>> 8) & 0xff) | 0xff0000;
      const stop = starts[stamp + 1];
      for (let k = starts[stamp]; k < stop; k++) {
        const at = base + offsets[k];
        const before = pixels[at];
        const room = 255 - (before >>> 24);
        if (room === 0) {
          continue;
        }
        // every division is by 255, rounded
        const share = Math.imul(weights[k], room) + 128;
        const weight = (share + (share >> 8)) >> 8 || 1;
        const even = (Math.imul(evens, weight) + 0x800080) | 0;
        const odd = (Math.imul(odds, weight) + 0x800080) | 0;
        pixels[at] =
          before +
          (((even + ((even >>> 8) & 0xff00ff)) >>> 8) & 0xff00ff) +
          ((odd + ((odd >>> 8) & 0xff00ff)) & 0xff00ff00);
      }
    }
  }

  /** Writes the drawing as ImageData wants it: without the margin, not premultiplied. */
  finish({ width, height }: Placement, out: Uint32Array): void {
    const { pixels, margin, stride } = this;
    for (let row = 0; row < height; row++) {
      let from = (row + margin) * stride + margin;
      const stop = (row + 1) * width;
      for (let to = row * width; to < stop; to++, from++) {
        const pixel = pixels[from];
        const alpha = pixel >>> 24;
        if (alpha === 0 || alpha === 255) {
          out[to] = pixel;
        } else {
          const gain = 255 / alpha;
          const red = ((pixel & 0xff) * gain + 0.5) | 0;
          const green = (((pixel >>> 8) & 0xff) * gain + 0.5) | 0;
          const blue = (((pixel >>> 16) & 0xff) * gain + 0.5) | 0;
          out[to] = (alpha << 24) | (blue << 16) | (green << 8) | red;
        }
      }
    }
  }
}
