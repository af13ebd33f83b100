import { existsSync, readFileSync } from 'node:fs';

/** What the Python side says the answers are; tests/marks/vectors.py writes them. */
export function vectors<T>(name: string): T[] {
  const file = `build/vectors/${name}.json`;
  if (!existsSync(file)) {
    throw new Error(`${file} is missing: run 'jlpm test:vectors' first`);
  }
  return JSON.parse(readFileSync(file, 'utf-8'));
}
