import type { Cloud } from './cloud';
import type { Placement } from './placement';

/** Discs are placed to a quarter of a pixel. */
const STEPS = 4;

/** The pixels of a small disc around the middle of a pixel shifted by a part of one, and how far each is covered. */
interface Stamp {
  offsets: Int32Array;
  /** 0..256 */
  weights: Int32Array;
}

function stampsOf(radius: number, opacity: number, stride: number): Stamp[] {
  const reach = Math.ceil(radius + 0.5);
  return Array.from({ length: STEPS * STEPS }, (_, step) => {
    const [shiftX, shiftY] = [((step % STEPS) + 0.5) / STEPS - 0.5, (Math.floor(step / STEPS) + 0.5) / STEPS - 0.5];
    const offsets: number[] = [];
    const weights: number[] = [];
    for (let row = -reach; row <= reach; row++) {
      for (let column = -reach; column <= reach; column++) {
        const coverage = Math.min(1, radius + 0.5 - Math.hypot(column - shiftX, row - shiftY));
        const weight = Math.round(256 * opacity * coverage);
        if (weight > 0) {
          offsets.push(row * stride + column);
          weights.push(weight);
        }
      }
    }
    return { offsets: Int32Array.from(offsets), weights: Int32Array.from(weights) };
  });
}

/** Draws points as discs into an ImageData without any graphics hardware; keeps its memory between two calls. */
export class CpuRasteriser {
  /** Premultiplied pixels, with a margin that takes what discs at the border spill. */
  private pixels = new Uint32Array(0);
  private margin = 0;
  private stride = 0;
  private rows = 0;

  clear({ width, height }: Placement, diameter: number): void {
    this.margin = Math.ceil(diameter / 2) + 2;
    this.stride = width + 2 * this.margin;
    this.rows = height + 2 * this.margin;
    if (this.pixels.length < this.stride * this.rows) {
      this.pixels = new Uint32Array(this.stride * this.rows);
    } else {
      this.pixels.fill(0);
    }
  }

  /** Draws the points whose flag is `wanted`, in order; `table` holds a pixel a colour index, 0 for hidden ones. */
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
    const stamps = stampsOf(diameter / 2, opacity, stride);
    const { center: centerX, scale: scaleX, offset: offsetX } = place.x;
    const { center: centerY, scale: scaleY, offset: offsetY } = place.y;
    const [right, bottom] = [place.width + margin - 1, place.height + margin - 1];
    for (let i = 0; i < length; i++) {
      const px = (x[i] - centerX) * scaleX + offsetX;
      const py = (y[i] - centerY) * scaleY + offsetY;
      // NaN fails every comparison
      if (!(px > 1 - margin && px < right && py > 1 - margin && py < bottom)) {
        continue;
      }
      const source = table[color === null ? 0 : color[i]];
      if (source === 0 || (flags !== null && flags[i] !== wanted)) {
        continue;
      }
      const [quarterX, quarterY] = [((px + margin) * STEPS) | 0, ((py + margin) * STEPS) | 0];
      const { offsets, weights } = stamps[(quarterY & (STEPS - 1)) * STEPS + (quarterX & (STEPS - 1))];
      const base = ((quarterY / STEPS) | 0) * stride + ((quarterX / STEPS) | 0);
      // two channels at a time: red and blue, green and alpha
      const redBlue = source & 0xff00ff;
      const greenAlpha = ((source >>> 8) & 0xff) | 0xff0000;
      for (let k = 0; k < offsets.length; k++) {
        const at = base + offsets[k];
        const weight = weights[k];
        const before = pixels[at];
        const rest = 256 - weight;
        const evens = (Math.imul(before & 0xff00ff, rest) + Math.imul(redBlue, weight)) | 0;
        const odds = (Math.imul((before >>> 8) & 0xff00ff, rest) + Math.imul(greenAlpha, weight)) | 0;
        pixels[at] = ((evens >>> 8) & 0xff00ff) | (odds & 0xff00ff00);
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
          const red = Math.min(255, (pixel & 0xff) * gain);
          const green = Math.min(255, ((pixel >>> 8) & 0xff) * gain);
          const blue = Math.min(255, ((pixel >>> 16) & 0xff) * gain);
          out[to] = (alpha << 24) | (blue << 16) | (green << 8) | red;
        }
      }
    }
  }
}
