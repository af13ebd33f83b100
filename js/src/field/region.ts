import type { Product } from './packed';
import { membersOf } from './products';

/** A set of cells of a picture. Rows that hold the same columns share one 0/1 vector. */
export interface Region {
  /** For each row an index into `columns`, -1 for a row without cells. */
  rows: Int32Array;
  columns: Uint8Array[];
}

/** The cells of a union of products over rows and columns. */
export function regionOf(products: Product[]): Region {
  if (products.length === 0) {
    return { rows: new Int32Array(0), columns: [] };
  }
  const rowMembers = membersOf(products, 0);
  const columnMembers = membersOf(products, 1);
  const rows = new Int32Array(rowMembers.length).fill(-1);
  const columns: Uint8Array[] = [];
  const classOf = new Int32Array(256).fill(-1);
  rowMembers.forEach((members, row) => {
    if (members !== 0) {
      if (classOf[members] < 0) {
        classOf[members] = columns.push(columnMembers.map((others) => ((members & others) === 0 ? 0 : 1))) - 1;
      }
      rows[row] = classOf[members];
    }
  });
  return { rows, columns };
}

/** The cells of a mask, row by row, that equal `value`. */
export function regionOfMask(mask: ArrayLike<number>, numColumns: number, value = 1): Region {
  const rows = new Int32Array(numColumns === 0 ? 0 : mask.length / numColumns).fill(-1);
  const columns: Uint8Array[] = [];
  for (let row = 0; row < rows.length; row++) {
    const set = new Uint8Array(numColumns);
    let empty = true;
    for (let column = 0; column < numColumns; column++) {
      if (mask[row * numColumns + column] === value) {
        set[column] = 1;
        empty = false;
      }
    }
    if (empty) {
      continue;
    }
    const previous = row === 0 ? -1 : rows[row - 1];
    if (previous >= 0 && columns[previous].every((bit, column) => bit === set[column])) {
      rows[row] = previous;
    } else {
      rows[row] = columns.push(set) - 1;
    }
  }
  return { rows, columns };
}

/** Starts and stops of the runs of ones. */
export function runsOf(set: ArrayLike<number>): number[] {
  const runs: number[] = [];
  for (let position = 0; position <= set.length; position++) {
    const here = position < set.length ? set[position] : 0;
    const before = position > 0 ? set[position - 1] : 0;
    if (here !== before) {
      runs.push(position);
    }
  }
  return runs;
}

/**
 * Disjoint rectangles (row start, column start, row stop, column stop) that cover a region exactly, one after
 * the other; null as soon as there would be more than `limit`.
 */
export function rectanglesOf(region: Region, limit: number): number[] | null {
  const columnRuns = region.columns.map(runsOf);
  const rectangles: number[] = [];
  let start = 0;
  for (let row = 1; row <= region.rows.length; row++) {
    if (row < region.rows.length && region.rows[row] === region.rows[start]) {
      continue;
    }
    const runs = region.rows[start] < 0 ? [] : columnRuns[region.rows[start]];
    for (let run = 0; run < runs.length; run += 2) {
      rectangles.push(start, runs[run], row, runs[run + 1]);
    }
    if (rectangles.length > 4 * limit) {
      return null;
    }
    start = row;
  }
  return rectangles;
}
