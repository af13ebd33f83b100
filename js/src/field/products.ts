import type { Product } from './packed';

/** Half-open bounds, one pair an axis. */
export type Box = [number, number][];

/** For each position of an axis the products that hold it, as bits: the k-th product is bit k. */
export function membersOf(products: Product[], axis: number): Uint8Array {
  const members = new Uint8Array(products[0][axis].length);
  products.forEach((product, k) => {
    const set = product[axis];
    for (let position = 0; position < members.length; position++) {
      members[position] |= set[position] << k;
    }
  });
  return members;
}

/** How many positions a union of at most eight products holds, each counted once. */
export function countOf(products: Product[]): number {
  if (products.length === 0) {
    return 0;
  }
  // How many index tuples over the axes so far lie in exactly these products.
  let tuples = new Map([[255, 1]]);
  for (let axis = 0; axis < products[0].length; axis++) {
    const longer = new Map<number, number>();
    const sizes = tallyOf(membersOf(products, axis));
    for (const [before, count] of tuples) {
      for (let here = 1; here < 256; here++) {
        const both = before & here;
        if (both !== 0 && sizes[here] !== 0) {
          longer.set(both, (longer.get(both) ?? 0) + count * sizes[here]);
        }
      }
    }
    tuples = longer;
  }
  return [...tuples.values()].reduce((total, count) => total + count, 0);
}

function tallyOf(bytes: Uint8Array): Int32Array {
  const tally = new Int32Array(256);
  for (const byte of bytes) {
    tally[byte]++;
  }
  return tally;
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
