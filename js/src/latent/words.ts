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

/** Where the probe is and how far to trust its picture. */
export function describePlace(names: string[], place: number[], source: Source): string {
  if (place.length !== 2) {
    return 'Move over the plane to decode it.';
  }
  const parts = place.slice(0, names.length).map((value, i) => `${names[i]} ${spoken(value).replace('-', '−')}`);
  return `${parts.join(', ')}: ${SOURCES[source]}`;
}

/** What to call a point's own picture. */
export function describePoint(index: number, className: string | undefined): string {
  return className === undefined ? `data point ${index}` : `data point ${index}, ${className}`;
}
