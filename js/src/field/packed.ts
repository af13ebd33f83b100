/**
 * Which input positions each unit can see, as up to eight products of per-axis sets ("terms").
 *
 * Per term and input axis there is a matrix of bits, one row for each position on the output axis it depends on (one
 * row if it depends on none), one column for each input position. Rows are padded to whole bytes; the lowest bit of
 * a byte comes first. The twin that packs is dlwidgets/marks/field_map.py.
 */
export interface Packed {
  bits: Uint8Array;
  /** For each term, for each input axis: the output axis (-1: none), and where its matrix starts in `bits`. */
  index: Int32Array;
  outShape: number[];
  inShape: number[];
}

/** One 0/1 vector for each axis; the set is their Cartesian product, and is never empty. */
export type Product = Uint8Array[];

export function numTerms(packed: Packed): number {
  const entries = 2 * packed.inShape.length;
  return entries === 0 ? 0 : packed.index.length / entries;
}

/** The input positions that the unit at `unit` (one entry an output axis) can see: a union of products. */
export function productsOf(packed: Packed, unit: number[]): Product[] {
  const products: Product[] = [];
  for (let term = 0; term < numTerms(packed); term++) {
    const sets = packed.inShape.map((size, axis) => {
      const [outputAxis, start] = entry(packed, term, axis);
      return unpackRow(packed.bits, start, outputAxis < 0 ? 0 : unit[outputAxis], size);
    });
    if (sets.every((set) => set.includes(1))) {
      products.push(sets);
    }
  }
  return products;
}

/** The units that can see the input position `pixel` (one entry an input axis): a union of products. */
export function projectionOf(packed: Packed, pixel: number[]): Product[] {
  const products: Product[] = [];
  for (let term = 0; term < numTerms(packed); term++) {
    const sets = packed.outShape.map((size) => new Uint8Array(size).fill(1));
    const open = packed.inShape.every((size, axis) => {
      const [outputAxis, start] = entry(packed, term, axis);
      if (outputAxis < 0) {
        return bitAt(packed.bits, start, 0, size, pixel[axis]) === 1;
      }
      const set = sets[outputAxis];
      for (let position = 0; position < set.length; position++) {
        set[position] &= bitAt(packed.bits, start, position, size, pixel[axis]);
      }
      return true;
    });
    if (open && sets.every((set) => set.includes(1))) {
      products.push(sets);
    }
  }
  return products;
}

function entry(packed: Packed, term: number, axis: number): [number, number] {
  const at = 2 * (term * packed.inShape.length + axis);
  return [packed.index[at], packed.index[at + 1]];
}

function bitAt(bits: Uint8Array, start: number, row: number, size: number, position: number): number {
  return (bits[start + row * ((size + 7) >> 3) + (position >> 3)] >> (position & 7)) & 1;
}

export function unpackRow(bits: Uint8Array, start: number, row: number, size: number): Uint8Array {
  const set = new Uint8Array(size);
  const first = start + row * ((size + 7) >> 3);
  for (let position = 0; position < size; position++) {
    set[position] = (bits[first + (position >> 3)] >> (position & 7)) & 1;
  }
  return set;
}
