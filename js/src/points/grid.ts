import type { Cloud, Extent } from './cloud';

const POINTS_A_CELL = 4;
const MAX_CELLS_A_SIDE = 1024;
const NUM_SAMPLES = 1024;
const NOWHERE = 0xffffffff;

/** Which points lie in which cell of a regular grid, from one counting sort: `order[starts[k]]` to `order[starts[k + 1]]`. */
export interface Grid {
  side: number;
  /** Where the cells begin and how many there are to a unit, along x and y; the outermost cells reach to infinity. */
  x: [number, number];
  y: [number, number];
  starts: Uint32Array;
  order: Uint32Array;
}

function cellOf([low, perUnit]: [number, number], side: number, value: number): number {
  const cell = (value - low) * perUnit;
  return cell >= side ? side - 1 : cell > 0 ? cell | 0 : 0;
}

/** The range in which most values lie: a few points far out shall not push all others into one cell. */
function bulk(values: Float32Array, length: number, [low, high]: [number, number], side: number): [number, number] {
  const samples: number[] = [];
  const stride = Math.max(1, Math.floor(length / NUM_SAMPLES));
  for (let i = 0; i < length; i += stride) {
    if (values[i] - values[i] === 0) {
      samples.push(values[i]);
    }
  }
  samples.sort((a, b) => a - b);
  const [first, last] = [0.05, 0.95].map((share) => samples[Math.floor(share * (samples.length - 1))]);
  const from = Math.max(low, first - (last - first));
  const to = Math.min(high, last + (last - first));
  return to > from ? [from, side / (to - from)] : [low, high > low ? side / (high - low) : 0];
}

export function buildGrid({ x, y, length }: Cloud, extent: Extent): Grid {
  const wanted = Math.round(Math.sqrt(extent.numFinite / POINTS_A_CELL));
  const side = Math.max(1, Math.min(MAX_CELLS_A_SIDE, wanted));
  const columns = bulk(x, length, extent.x, side);
  const rows = bulk(y, length, extent.y, side);
  const cells = new Uint32Array(length);
  const starts = new Uint32Array(side * side + 1);
  for (let i = 0; i < length; i++) {
    const finite = x[i] - x[i] === 0 && y[i] - y[i] === 0;
    const cell = finite ? cellOf(rows, side, y[i]) * side + cellOf(columns, side, x[i]) : NOWHERE;
    cells[i] = cell;
    if (finite) {
      starts[cell + 1]++;
    }
  }
  for (let cell = 0; cell < side * side; cell++) {
    starts[cell + 1] += starts[cell];
  }
  const next = starts.slice();
  const order = new Uint32Array(extent.numFinite);
  for (let i = 0; i < length; i++) {
    if (cells[i] !== NOWHERE) {
      order[next[cells[i]]++] = i;
    }
  }
  return { side, x: columns, y: rows, starts, order };
}

/**
 * The point nearest to (x, y), -1 if none lies in the ellipse with half axes `reach` around it; distances are measured
 * in these half axes. Of equally near points it is the last, which is drawn on top.
 */
export function nearest(
  grid: Grid,
  cloud: Cloud,
  [x, y]: [number, number],
  [reachX, reachY]: [number, number],
  shown: (index: number) => boolean,
): number {
  const { side, starts, order } = grid;
  const [left, right] = [x - reachX, x + reachX].map((value) => cellOf(grid.x, side, value));
  const [bottom, top] = [y - reachY, y + reachY].map((value) => cellOf(grid.y, side, value));
  let best = -1;
  let least = 1;
  for (let row = bottom; row <= top; row++) {
    // the cells of a row lie side by side, so their points do
    for (let k = starts[row * side + left]; k < starts[row * side + right + 1]; k++) {
      const i = order[k];
      const dx = (cloud.x[i] - x) / reachX;
      const dy = (cloud.y[i] - y) / reachY;
      const distance = dx * dx + dy * dy;
      if ((distance < least || (distance === least && i > best)) && shown(i)) {
        best = i;
        least = distance;
      }
    }
  }
  return best;
}
