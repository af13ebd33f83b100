/** Pictures between the pictures of a grid, from bytes alone; the twin in Python is compute/latent_space/decoding.py. */

export interface PictureGrid {
  /** Row by row, the first row at the largest y; each picture `size` bytes long. */
  bytes: Uint8Array;
  rows: number;
  columns: number;
  size: number;
  /** [x of the first column, of the last, y of the last row, of the first]. */
  box: number[];
  /** 0 where there is no picture; null: there is one everywhere. */
  valid: Uint8Array | null;
}

export interface Corner {
  index: number;
  weight: number;
}

export interface Corners {
  /** One to four pictures of the grid with their weights, which add up to 1. */
  corners: Corner[];
  /** Whether the place lies in the box; outside, the nearest place in it is meant. */
  inside: boolean;
}

/** Which pictures of the grid surround a place. */
export function cornersAt({ rows, columns, box }: Pick<PictureGrid, 'rows' | 'columns' | 'box'>, x: number, y: number): Corners {
  const [left, right, bottom, top] = box;
  const [column, across] = between((x - left) / (right - left), columns);
  const [row, down] = between((top - y) / (top - bottom), rows);
  const corners = [
    { index: row * columns + column, weight: (1 - across) * (1 - down) },
    { index: row * columns + column + 1, weight: across * (1 - down) },
    { index: (row + 1) * columns + column, weight: (1 - across) * down },
    { index: (row + 1) * columns + column + 1, weight: across * down },
  ].filter(({ weight }) => weight > 0);
  return { corners, inside: x >= left && x <= right && y >= bottom && y <= top };
}

/** The node before a place, given as a share of the way from the first node to the last, and the rest of the way. */
function between(share: number, count: number): [number, number] {
  const at = Math.min(Math.max(share, 0), 1) * (count - 1);
  const node = Math.max(0, Math.min(Math.floor(at), count - 2));
  return [node, at - node];
}

/**
 * The weighted mean of pictures, rounded to bytes; null if one of them is missing. What is given for `sum` and `mixed`
 * is written over: then a picture costs no new memory.
 */
export function blend(
  { bytes, size, valid }: PictureGrid,
  corners: Corner[],
  sum = new Float32Array(size),
  mixed = new Uint8ClampedArray(size),
): Uint8ClampedArray<ArrayBuffer> | null {
  if (valid && corners.some(({ index }) => valid[index] === 0)) {
    return null;
  }
  sum.fill(0);
  for (const { index, weight } of corners) {
    const start = index * size;
    for (let i = 0; i < size; i++) {
      sum[i] += weight * bytes[start + i];
    }
  }
  mixed.set(sum);
  return mixed;
}
