/** The pieces into which a plane is cut so that each shows one picture. */
export interface Tiling {
  /** Of the first tile's centre, and from one centre to the next; down the screen y falls. */
  x: number;
  y: number;
  stepX: number;
  stepY: number;
  columns: number;
  rows: number;
}

/**
 * Cuts the visible part of a box into tiles at least `size` pixels wide and high. Their edges stay where they are in the
 * data while the plane is moved, and their number doubles as it is magnified.
 */
export function tilesOf(
  box: number[],
  visibleX: [number, number],
  visibleY: [number, number],
  pixelsPerX: number,
  pixelsPerY: number,
  size: number,
): Tiling {
  const [left, right, bottom, top] = box;
  const [stepX, startX, columns] = cut(left, right, visibleX, pixelsPerX, size);
  const [stepY, startY, rows] = cut(bottom, top, visibleY, pixelsPerY, size);
  return { x: startX + stepX / 2, y: startY + (rows - 0.5) * stepY, stepX, stepY, columns, rows };
}

/** Start and length in whole pixels of what a tile may fill between two edges, so that a gap stays to the next one. */
export function within(edge: number, other: number, gap: number): [number, number] {
  const [start, end] = [Math.round(edge), Math.round(other)];
  const before = Math.floor(gap / 2);
  return [start + before, Math.max(1, end - start - gap)];
}

/** Step, start and number of the pieces of an interval that are visible. */
function cut(
  low: number,
  high: number,
  visible: [number, number],
  pixelsPerUnit: number,
  size: number,
): [number, number, number] {
  const parts = 2 ** Math.max(0, Math.floor(Math.log2((Math.abs(pixelsPerUnit) * (high - low)) / size)));
  const step = (high - low) / parts;
  const first = Math.max(0, Math.floor((Math.min(...visible) - low) / step));
  const last = Math.min(parts, Math.ceil((Math.max(...visible) - low) / step));
  return [step, low + first * step, Math.max(0, last - first)];
}
