import { spoken } from '../points/words';

export type Source = 'exact' | 'estimated' | 'interpolated' | 'beyond' | 'failed' | 'none';

const SOURCES: { [source in Source]: string } = {
  exact: 'decoded exactly',
  estimated: 'decoded from an approximate code',
  interpolated: 'interpolated',
  beyond: 'beyond the decoded grid: its edge is shown',
  failed: 'the decoder gives no picture here',
  none: '',
};

/** A coordinate as a person would write it; a billion is 1e9. */
function coordinate(value: number): string {
  const words = Math.abs(value) < 1e5 ? spoken(value) : Number(value.toPrecision(3)).toExponential();
  return words.replace('e+', 'e').replaceAll('-', '−');
}

/** What the figure shows beyond its scales to each side, as a share of them: its padding. */
const PADDING = 0.027;

/** Whether a place lies where the plot shows nothing, given the ends of its axes; those without a name mean nothing. */
export function isOutOfSight(names: string[], place: number[], domains: number[][]): boolean {
  return place.slice(0, names.length).some((value, i) => {
    const [low, high] = [Math.min(...domains[i]), Math.max(...domains[i])];
    const beyond = PADDING * (high - low);
    return value < low - beyond || value > high + beyond;
  });
}

/** Where the probe is, how far to trust its picture, and whether it is out of sight. */
export function describePlace(names: string[], place: number[], source: Source, outOfSight = false): string {
  if (place.length !== 2) {
    return 'Move over the plane to decode it.';
  }
  const parts = place.slice(0, names.length).map((value, i) => `${names[i]} ${coordinate(value)}`);
  const said = [SOURCES[source], outOfSight ? 'outside of what the plot shows' : ''].filter(Boolean);
  return `${parts.join(', ')}: ${said.join('; ')}`;
}

/** What to call a point's own picture. */
export function describePoint(index: number, className: string | undefined, curve: boolean, clicked = false): string {
  const point = `${clicked ? 'the clicked ' : ''}${curve ? 'data point' : 'image'} ${index}`;
  return className === undefined ? point : `${point}, class ${className}`;
}
