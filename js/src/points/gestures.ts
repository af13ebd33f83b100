import type { Pixel } from './overlay';

export type Drag = 'pan' | 'lasso' | 'brush';

/** How far the pointer may stray, in CSS pixels, for a press to be a click; also the finest step of a lasso. */
const SLACK = 4;
const STEP = 2;

export interface Gestures {
  /** What dragging does without Shift. */
  drag(): Drag;
  /** A place in the window as a pixel of the canvas; null outside it. */
  pixelOf(event: MouseEvent): Pixel | null;
  moved(pixel: Pixel): void;
  left(): void;
  clicked(pixel: Pixel, event: MouseEvent): void;
  /** The outline so far, in pixels of the canvas; null when the drag was given up. */
  outlined(corners: Pixel[] | null): void;
  enclosed(corners: Pixel[]): void;
}

/**
 * Hears the pointer on a figure's svg, before bqplot's interaction does: moving, clicking, and dragging an outline.
 * Returns what stops it.
 */
export function listen(svg: SVGSVGElement, on: Gestures): () => void {
  let pressed: MouseEvent | null = null;
  let path: Pixel[] | null = null;

  const corners = (): Pixel[] => {
    const [first, last] = [path![0], path![path!.length - 1]];
    const [[x0, y0], [x1, y1]] = [first, last];
    return on.drag() === 'brush'
      ? [
          [x0, y0],
          [x1, y0],
          [x1, y1],
          [x0, y1],
        ]
      : path!;
  };

  const handlers: { [name: string]: (event: PointerEvent) => void } = {
    pointerdown: (event) => {
      const pixel = on.pixelOf(event);
      if (pixel === null || event.button !== 0) {
        return;
      }
      svg.focus({ preventScroll: true });
      pressed = event;
      if (event.shiftKey || on.drag() !== 'pan') {
        path = [pixel];
        svg.setPointerCapture(event.pointerId);
      } else {
        on.moved(pixel); // a finger does not hover first
      }
    },
    // d3's dragging, on which bqplot's panning stands, begins with this one
    mousedown: (event) => {
      if (path !== null) {
        event.stopPropagation();
        event.preventDefault();
      }
    },
    pointermove: (event) => {
      const pixel = on.pixelOf(event);
      if (path === null) {
        pixel === null ? on.left() : on.moved(pixel);
      } else if (pixel !== null) {
        const [x, y] = path[path.length - 1];
        if (Math.hypot(pixel[0] - x, pixel[1] - y) >= STEP) {
          path.push(pixel);
          on.outlined(corners());
        }
      }
    },
    pointerup: () => {
      if (path !== null) {
        const outline = corners();
        path = null;
        on.outlined(null);
        if (outline.length > 2) {
          on.enclosed(outline);
        }
      }
    },
    pointercancel: () => {
      path = null;
      on.outlined(null);
    },
    pointerleave: (event) => {
      // capturing hears it of every mark inside too, as when an outline appears under a pointer that rests
      if (path === null && event.target === svg) {
        on.left();
      }
    },
    click: (event) => {
      const pixel = on.pixelOf(event);
      const still = pressed && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) <= SLACK;
      if (pixel !== null && still) {
        on.clicked(pixel, event);
      }
    },
  };
  const entries = Object.entries(handlers) as [string, EventListener][];
  entries.forEach(([name, handler]) => svg.addEventListener(name, handler, true));
  return () => entries.forEach(([name, handler]) => svg.removeEventListener(name, handler, true));
}
