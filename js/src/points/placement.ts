/**
 * Where a number lies along one side of a canvas: pixel = (value - center) * scale + offset. Subtracting the centre
 * first keeps the digits of float32 in a deep zoom.
 */
export interface Axis {
  center: number;
  scale: number;
  offset: number;
}

/** A canvas in its own pixels, and where data lie on it. */
export interface Placement {
  width: number;
  height: number;
  x: Axis;
  y: Axis;
}

/** The axis of a linear scale; `density` is canvas pixels for each CSS pixel. */
export function axisOf(pixelOf: (value: number) => number, domain: number[], density: number): Axis {
  const [start, stop] = domain;
  const center = Math.fround(start / 2 + stop / 2);
  const scale = (pixelOf(stop) - pixelOf(start)) / (stop - start);
  // from an end of the domain: away from it, `pixelOf` loses digits
  const offset = pixelOf(start) + (center - start) * scale;
  return { center, scale: density * scale, offset: density * offset };
}

export function toPixel({ center, scale, offset }: Axis, value: number): number {
  return (value - center) * scale + offset;
}

export function toValue({ center, scale, offset }: Axis, pixel: number): number {
  return (pixel - offset) / scale + center;
}
