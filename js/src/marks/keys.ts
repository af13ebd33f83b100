import type { Cell } from '../field/lookup';

/** How many cells PageUp and PageDown move. */
const PAGE = 10;

/** Where a key moves the selected cell of a picture of rows and columns; null if the key is none of ours. */
export function moved(key: string, cell: Cell | null, rows: number, columns: number): Cell | null {
  const [row, column] = cell ?? [Math.floor(rows / 2), Math.floor(columns / 2)];
  const moves: { [key: string]: Cell } = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    PageUp: [row - PAGE, column],
    PageDown: [row + PAGE, column],
    Home: [row, 0],
    End: [row, columns - 1],
    Enter: [row, column],
    ' ': [row, column],
  };
  if (!Object.hasOwn(moves, key)) {
    return null;
  }
  const [newRow, newColumn] = cell === null ? [row, column] : moves[key];
  return [clamp(newRow, rows), clamp(newColumn, columns)];
}

function clamp(value: number, size: number): number {
  return Math.max(0, Math.min(size - 1, value));
}
