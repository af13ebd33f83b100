/** Okabe and Ito's eight colours, which people with any common colour blindness tell apart; twin of marks/palette.py. */
export const OKABE_ITO = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#000000'];

export const [ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE] = OKABE_ITO;

/** [red, green, blue] of a CSS colour as d3 writes it: #rrggbb, #rgb, rgb(...) or rgba(...); null for anything else. */
export function parseColor(text: string): [number, number, number] | null {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text)?.[1];
  if (hex) {
    const digits = hex.length === 3 ? [...hex].map((digit) => digit + digit) : hex.match(/../g)!;
    return digits.map((pair) => parseInt(pair, 16)) as [number, number, number];
  }
  const numbers = /^rgba?\(([^)]*)\)$/.exec(text)?.[1].split(',').slice(0, 3).map(Number);
  return numbers?.length === 3 && numbers.every(Number.isFinite) ? (numbers as [number, number, number]) : null;
}

/** One opaque or translucent pixel as ImageData stores it on little-endian machines. */
export function packColor([red, green, blue]: [number, number, number], alpha = 255): number {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
