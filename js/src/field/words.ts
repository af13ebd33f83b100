import type { Cell, Role, Seen } from './lookup';
import { Box, volumeOf } from './products';

const NAMES: Record<number, string[]> = {
  0: [],
  1: ['positions'],
  2: ['rows', 'columns'],
  3: ['planes', 'rows', 'columns'],
};

/** What a person hovers or has selected, in words. */
export function describe(role: Role, cell: Cell, seen: Seen, label: string, inShape: number[]): string {
  const of = label ? ` of ${label}` : '';
  const at = `(${cell.map(grouped).join(', ')})`;
  const pixels = inShape.length === 2 ? 'pixel' : 'position';
  const many = seen.total === 1 ? '' : 's';
  const most = seen.status === 'bound' ? 'at most ' : '';
  const amount = `${most}${grouped(seen.count)} of ${grouped(seen.total)}`;
  const unit = role === 'unit';
  const nothing = unit ? `Unit ${at}${of} sees no ${pixels}` : `No unit${of} sees ${pixels} ${at}`;
  const something = unit
    ? `Unit ${at}${of} sees ${amount} ${pixels}${many}`
    : `${capital(pixels)} ${at} is seen by ${amount} unit${many}${of}`;
  const text = seen.count === 0 || seen.fullBox === null ? nothing : `${something}${extent(seen.fullBox, seen)}`;
  const padded = seen.padded && seen.count > 0;
  const because = seen.status === 'bound' && seen.because ? ` (bound, because of ${seen.because})` : '';
  return `${text}${padded ? '; part of its window lies in the padding' : ''}${because}.`;
}

function extent(box: Box, seen: Seen): string {
  const names = NAMES[box.length] ?? box.map((_, axis) => `axis ${axis}`);
  const ranges = box.map(([start, stop], axis) =>
    stop - start === 1
      ? `${names[axis].replace(/s$/, '')} ${grouped(start)}`
      : `${names[axis]} ${grouped(start)}–${grouped(stop - 1)}`,
  );
  const sizes = box.map(([start, stop]) => grouped(stop - start)).join(' × ');
  const holes = seen.status === 'exact' && seen.count < volumeOf(box) ? ', with holes' : '';
  return box.length === 0 ? '' : `: ${ranges.join(', ')}${box.length > 1 ? `, ${sizes}` : ''}${holes}`;
}

/** A whole number with commas between the thousands. */
export function grouped(value: number): string {
  const digits = String(value);
  return digits.length <= 3 ? digits : `${grouped(Number(digits.slice(0, -3)))},${digits.slice(-3)}`;
}

function capital(word: string): string {
  return word[0].toUpperCase() + word.slice(1);
}
