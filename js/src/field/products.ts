import type { Product } from './packed';

/** Half-open bounds, one pair an axis. */
export type Box = [number, number][];

/** How many positions a union of products holds, each counted once. */
export function countOf(products: Product[], axis = 0): number {
  if (products.length === 0) {
    return 0;
  }
  if (axis === products[0].length) {
    return 1;
  }
  // Positions that lie in the same terms have the same number of positions behind them.
  const sizes = new Map<number, number>();
  for (let position = 0; position < products[0][axis].length; position++) {
    const terms = termsAt(products, axis, position);
    if (terms !== 0) {
      sizes.set(terms, (sizes.get(terms) ?? 0) + 1);
    }
  }
  let count = 0;
  for (const [terms, size] of sizes) {
    count += size * countOf(subset(products, terms), axis + 1);
  }
  return count;
}

/** The smallest box around a union of products; null if it is empty. */
export function boxOf(products: Product[]): Box | null {
  if (products.length === 0) {
    return null;
  }
  return products[0].map((_, axis) => {
    const starts = products.map((product) => product[axis].indexOf(1));
    const stops = products.map((product) => product[axis].lastIndexOf(1) + 1);
    return [Math.min(...starts), Math.max(...stops)];
  });
}

/** How many positions a box holds. */
export function volumeOf(box: Box): number {
  return box.reduce((volume, [start, stop]) => volume * Math.max(0, stop - start), 1);
}

/**
 * What a union of products shows on a picture of rows and columns: its last two axes, at the positions `at` on the
 * axes before them. A single axis runs along the columns; no axis at all is one cell.
 */
export function sliceOf(products: Product[], at: number[]): Product[] {
  const one = Uint8Array.of(1);
  return products
    .filter((product) => product.slice(0, -2).every((set, axis) => set[at[axis] ?? 0] === 1))
    .map((product) => [product.at(-2) ?? one, product.at(-1) ?? one]);
}

/** The index that the cell of a picture stands for, null if the cell lies outside; the inverse of `sliceOf`. */
export function indexOf(cell: number[], shape: number[], at: number[]): number[] | null {
  const sizes = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  const inside = cell.length === 2 && cell.every((value, axis) => value >= 0 && value < sizes[axis]);
  if (!inside) {
    return null;
  }
  const index = [...shape.slice(0, -2).map((_, axis) => at[axis] ?? 0), ...cell];
  return index.slice(index.length - shape.length);
}

/** The terms that hold a position of an axis, as bits. */
export function termsAt(products: Product[], axis: number, position: number): number {
  let terms = 0;
  for (let term = 0; term < products.length; term++) {
    terms |= products[term][axis][position] << term;
  }
  return terms;
}

export function subset(products: Product[], terms: number): Product[] {
  return products.filter((_, term) => (terms >> term) & 1);
}
