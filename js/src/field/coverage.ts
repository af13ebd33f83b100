import type { Region } from './region';

/**
 * Which cells each screen pixel stands for along one axis. A cell wider than a pixel is shown by every pixel whose
 * middle it holds; narrower cells are shared out, each to exactly one pixel, so that none is dropped.
 */
export interface Bins {
  start: Int32Array;
  stop: Int32Array;
}

/** Bins of the pixels first..first+count-1, where pixel = scale * cell + offset and there are `size` cells. */
export function binsOf(first: number, count: number, scale: number, offset: number, size: number): Bins {
  const start = new Int32Array(count);
  const stop = new Int32Array(count);
  const clamp = (cell: number) => Math.min(size, Math.max(0, cell));
  for (let i = 0; i < count; i++) {
    const pixel = first + i;
    if (scale >= 1) {
      const cell = Math.floor((pixel + 0.5 - offset) / scale);
      start[i] = clamp(cell);
      stop[i] = clamp(cell + 1);
    } else {
      start[i] = clamp(Math.ceil((pixel - offset) / scale));
      stop[i] = clamp(Math.ceil((pixel + 1 - offset) / scale));
    }
  }
  return { start, stop };
}

/**
 * The share of each pixel's cells that lie in the region, 0 to 255, written row by row into `out`. A pixel with some
 * of its cells in the region is never 0 and one with a hole is never 255, so single-cell taps and holes stay visible.
 */
export function coverage(region: Region, rows: Bins, columns: Bins, out: Uint8Array): void {
  const width = columns.start.length;
  const height = rows.start.length;
  const counts = region.columns.map((set) => binned(set, columns));
  const totals = new Int32Array(width);
  const drawn = new Map<string, number>();
  for (let y = 0; y < height; y++) {
    const cells = rows.stop[y] - rows.start[y];
    const classes: number[] = [];
    for (let row = rows.start[y]; row < rows.stop[y]; row++) {
      if (region.rows[row] >= 0) {
        classes.push(region.rows[row]);
      }
    }
    const line = out.subarray(y * width, (y + 1) * width);
    const key = `${cells}:${classes}`;
    const same = drawn.get(key);
    if (same !== undefined) {
      line.set(out.subarray(same * width, (same + 1) * width));
      continue;
    }
    drawn.set(key, y);
    totals.fill(0);
    for (const found of classes) {
      const count = counts[found];
      for (let x = 0; x < width; x++) {
        totals[x] += count[x];
      }
    }
    for (let x = 0; x < width; x++) {
      const all = cells * (columns.stop[x] - columns.start[x]);
      const some = totals[x];
      line[x] = some === 0 ? 0 : some === all ? 255 : ((254 * some) / all + 0.5) | 0 || 1;
    }
  }
}

function binned(set: Uint8Array, bins: Bins): Int32Array {
  const counts = new Int32Array(bins.start.length);
  for (let i = 0; i < counts.length; i++) {
    for (let cell = bins.start[i]; cell < bins.stop[i]; cell++) {
      counts[i] += set[cell];
    }
  }
  return counts;
}
