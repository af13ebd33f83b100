import type { Cell } from '../field/lookup';

/** Where cells lie on a canvas, in its own pixels: x = scaleX * column + offsetX, y = scaleY * row + offsetY. */
export interface Frame {
  width: number;
  height: number;
  scaleX: number;
  offsetX: number;
  scaleY: number;
  offsetY: number;
}

export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The smallest pixels that show the cells from (row0, column0) to before (row1, column1): at least one each way. */
export function rectangleOf(frame: Frame, row0: number, column0: number, row1: number, column1: number): Rectangle {
  const x = Math.round(frame.scaleX * column0 + frame.offsetX);
  const y = Math.round(frame.scaleY * row0 + frame.offsetY);
  return {
    x,
    y,
    width: Math.max(1, Math.round(frame.scaleX * column1 + frame.offsetX) - x),
    height: Math.max(1, Math.round(frame.scaleY * row1 + frame.offsetY) - y),
  };
}

/** The part of a rectangle that lies on the canvas. */
export function visible(frame: Frame, { x, y, width, height }: Rectangle): Rectangle {
  const [left, top] = [Math.max(0, x), Math.max(0, y)];
  const right = Math.min(frame.width, x + width);
  const bottom = Math.min(frame.height, y + height);
  return { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

/** The cell under a point of the canvas; null outside the array. */
export function cellAt(frame: Frame, x: number, y: number, rows: number, columns: number): Cell | null {
  const row = Math.floor((y - frame.offsetY) / frame.scaleY);
  const column = Math.floor((x - frame.offsetX) / frame.scaleX);
  return row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : null;
}

/**
 * How much to keep free at both ends of each axis, so that a cell is as wide as it is high.
 * Spans are in cells, sizes in pixels; the answer is in pixels.
 */
export function squarePadding(width: number, height: number, spanX: number, spanY: number): [number, number] {
  if (!(width > 0 && height > 0 && spanX > 0 && spanY > 0)) {
    return [0, 0];
  }
  const cell = Math.min(width / spanX, height / spanY);
  return [(width - cell * spanX) / 2, (height - cell * spanY) / 2];
}
