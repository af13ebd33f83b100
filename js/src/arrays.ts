/** Arrays as bqplot sends them: a buffer, a dtype and a shape. */

const TYPES = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
};

export type DType = keyof typeof TYPES;

export interface Wire {
  value: DataView;
  dtype: DType;
  shape: number[];
}

export interface NDArray {
  data: InstanceType<(typeof TYPES)[DType]>;
  dtype: DType;
  shape: number[];
}

/** The array behind a message; its memory is shared unless the buffer is not aligned for the dtype. */
export function fromWire(wire: Wire | null): NDArray | null {
  if (wire === null || wire === undefined) {
    return null;
  }
  const Type = TYPES[wire.dtype];
  if (Type === undefined) {
    throw new Error(`dlwidgets: arrays of dtype ${wire.dtype} cannot be shown; expected one of ${Object.keys(TYPES)}`);
  }
  const { buffer, byteOffset, byteLength } = wire.value;
  const length = byteLength / Type.BYTES_PER_ELEMENT;
  const data =
    byteOffset % Type.BYTES_PER_ELEMENT === 0
      ? new Type(buffer as ArrayBuffer, byteOffset, length)
      : new Type(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
  return { data, dtype: wire.dtype, shape: wire.shape };
}

export function toWire(array: NDArray | null): Wire | null {
  if (array === null || array === undefined) {
    return null;
  }
  const { buffer, byteOffset, byteLength } = array.data;
  return { value: new DataView(buffer, byteOffset, byteLength), dtype: array.dtype, shape: array.shape };
}

export const arraySerializer = { deserialize: fromWire, serialize: toWire };
