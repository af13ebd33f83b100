/** An arrow key moves the probe by this part of what is visible. */
const STEPS = 50;

/** Where a key moves the probe within what is visible; null if the key is none of ours. */
export function probeMoved(key: string, probe: number[], domainX: number[], domainY: number[]): [number, number] | null {
  const [stepX, stepY] = [domainX, domainY].map(([start, stop]) => (stop - start) / STEPS);
  const moves: { [key: string]: [number, number] } = {
    ArrowLeft: [-stepX, 0],
    ArrowRight: [stepX, 0],
    ArrowDown: [0, -stepY],
    ArrowUp: [0, stepY],
    Home: [0, 0],
  };
  if (!Object.hasOwn(moves, key)) {
    return null;
  }
  const middle = [domainX, domainY].map(([start, stop]) => start / 2 + stop / 2);
  const from = key !== 'Home' && probe.length === 2 ? probe : middle;
  const clamp = (value: number, [start, stop]: number[]) =>
    Math.max(Math.min(start, stop), Math.min(Math.max(start, stop), value));
  return [clamp(from[0] + moves[key][0], domainX), clamp(from[1] + moves[key][1], domainY)];
}
