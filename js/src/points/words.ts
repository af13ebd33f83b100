import type { Cloud, Extent } from './cloud';
import { countColors } from './cloud';

const counted = (count: number, noun: string) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

/** A number as a person would say it. */
export function spoken(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** What a figure of points shows, in words. */
export function describeCloud(
  cloud: Cloud,
  extent: Extent,
  hidden: number[],
  numSelected: number,
  pointer: number[],
): string {
  if (cloud.length === 0) {
    return 'No points.';
  }
  const { x, y, numFinite } = extent;
  const range = ([low, high]: [number, number]) => `from ${spoken(low)} to ${spoken(high)}`;
  const parts = [`${counted(cloud.length, 'point')} in ${counted(countColors(cloud), 'colour')}`];
  if (numFinite > 0) {
    parts.push(`x ${range(x)}, y ${range(y)}`);
  }
  if (numFinite < cloud.length) {
    parts.push(`${counted(cloud.length - numFinite, 'point')} not drawn because a coordinate is not finite`);
  }
  if (hidden.length > 0) {
    parts.push(`${counted(hidden.length, 'colour')} hidden`);
  }
  if (numSelected > 0) {
    parts.push(`${counted(numSelected, 'point')} selected`);
  }
  if (pointer.length === 2) {
    parts.push(`probe at x ${spoken(pointer[0])}, y ${spoken(pointer[1])}`);
  }
  return `${parts.join('; ')}.`;
}
