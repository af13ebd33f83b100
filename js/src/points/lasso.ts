import type { Cloud } from './cloud';

const MAX_BANDS = 1024;

/**
 * The points inside a closed polygon [x0, y0, x1, y1, ...] by the even-odd rule, in ascending order. The edges are
 * sorted into horizontal bands first, so that each point meets only the few edges at its own height.
 */
export function pointsInPolygon(cloud: Cloud, polygon: number[], shown: (index: number) => boolean): Int32Array<ArrayBuffer> {
  const numCorners = polygon.length / 2;
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let k = 0; k < numCorners; k++) {
    [left, right] = [Math.min(left, polygon[2 * k]), Math.max(right, polygon[2 * k])];
    [bottom, top] = [Math.min(bottom, polygon[2 * k + 1]), Math.max(top, polygon[2 * k + 1])];
  }
  const numBands = Math.min(MAX_BANDS, numCorners);
  if (!(right > left && top > bottom) || numCorners < 3) {
    return new Int32Array(0);
  }
  const perUnit = numBands / (top - bottom);
  const bandOf = (y: number) => Math.min(numBands - 1, Math.floor((y - bottom) * perUnit));
  const bands: number[][] = Array.from({ length: numBands }, () => []);
  for (let k = 0; k < numCorners; k++) {
    const next = (k + 1) % numCorners;
    const edge = [polygon[2 * k], polygon[2 * k + 1], polygon[2 * next], polygon[2 * next + 1]];
    for (let band = bandOf(Math.min(edge[1], edge[3])); band <= bandOf(Math.max(edge[1], edge[3])); band++) {
      bands[band].push(...edge);
    }
  }
  const { x, y, length } = cloud;
  const inside = new Int32Array(length);
  let count = 0;
  for (let i = 0; i < length; i++) {
    const px = x[i];
    const py = y[i];
    if (px >= left && px <= right && py >= bottom && py <= top && isInside(bands[bandOf(py)], px, py) && shown(i)) {
      inside[count++] = i;
    }
  }
  return inside.slice(0, count);
}

function isInside(edges: number[], x: number, y: number): boolean {
  let inside = false;
  for (let k = 0; k < edges.length; k += 4) {
    const y0 = edges[k + 1];
    const y1 = edges[k + 3];
    if (y0 > y !== y1 > y && x < edges[k] + ((edges[k + 2] - edges[k]) * (y - y0)) / (y1 - y0)) {
      inside = !inside;
    }
  }
  return inside;
}

/** The corners of a rectangle as a polygon. */
export function rectangle([x0, y0]: [number, number], [x1, y1]: [number, number]): number[] {
  return [x0, y0, x1, y0, x1, y1, x0, y1];
}
