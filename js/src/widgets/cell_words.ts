/** A number to four significant digits, short: 0.01234, 1.234e-21, 0. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) {
    return value > 0 ? 'infinite' : value < 0 ? '-infinite' : 'not a number';
  }
  const text = String(Number(value.toPrecision(4)));
  return text.replace('e+', 'e');
}

/**
 * What a cell holds: its row, its column and its number, which may be stored as a common logarithm, or why it has none.
 * Names of several lines are said line by line: the first of the row, the first of the column, the second of the row...
 */
export function describeCell(
  row: string,
  column: string,
  quantity: string,
  stored: number,
  logarithmic: boolean,
  reason = `${quantity} is not a number`,
): string {
  const [rowLines, columnLines] = [row.split('\n'), column.split('\n')];
  const lines = (rowLines.length > columnLines.length ? rowLines : columnLines).flatMap((_, i) => [rowLines[i], columnLines[i]]);
  const where = lines.filter((name) => name).join(', ');
  if (Number.isNaN(stored)) {
    return `${where}: ${reason}`;
  }
  const value = logarithmic ? (stored === -Infinity ? 0 : 10 ** stored) : stored;
  return `${where}: ${quantity} ${value === 0 ? 'exactly 0' : significant(value)}`;
}
