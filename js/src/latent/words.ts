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

/** Where the probe is and how far to trust its picture. */
export function describePlace(names: string[], place: number[], source: Source): string {
  if (place.length !== 2) {
    return 'Move over the plane to decode it.';
  }
  const parts = place.slice(0, names.length).map((value, i) => `${names[i]} ${coordinate(value)}`);
  return `${parts.join(', ')}: ${SOURCES[source]}`;
}

/** What to call a point's own picture. */
export function describePoint(index: number, className: string | undefined, curve: boolean): string {
  const point = `${curve ? 'data point' : 'image'} ${index}`;
  return className === undefined ? point : `${point}, class ${className}`;
}
