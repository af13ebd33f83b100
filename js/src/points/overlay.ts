/** Marks over the points, in screen pixels: dark inside light, so that they show on every colour and in every theme. */
const DARK = '#1a1a1a';
const LIGHT = '#ffffff';

export type Pixel = [number, number];

function outlined(context: CanvasRenderingContext2D, density: number, width: number): void {
  for (const [style, extra] of [
    [LIGHT, 2],
    [DARK, 0],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = (width + extra) * density;
    context.stroke();
  }
}

export function ring(context: CanvasRenderingContext2D, [x, y]: Pixel, diameter: number, density: number, width: number): void {
  context.beginPath();
  context.arc(x, y, (diameter / 2 + 1.5 + width / 2) * density, 0, 2 * Math.PI);
  outlined(context, density, width);
}

/** The probe: a cross with an open middle. */
export function cross(context: CanvasRenderingContext2D, [x, y]: Pixel, density: number): void {
  context.beginPath();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    context.moveTo(x + 3 * dx * density, y + 3 * dy * density);
    context.lineTo(x + 10 * dx * density, y + 10 * dy * density);
  }
  outlined(context, density, 2);
}

export function outline(context: CanvasRenderingContext2D, corners: Pixel[], density: number): void {
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.fillStyle = 'rgba(0, 114, 178, 0.15)';
  context.fill('evenodd');
  context.setLineDash([5 * density, 3 * density]);
  outlined(context, density, 1.5);
  context.setLineDash([]);
}
