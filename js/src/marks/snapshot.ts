/**
 * bqplot saves a figure by cloning its svg, and a cloned canvas is blank: give the clone an <image> in the place of
 * every canvas. Asking twice for one figure does nothing.
 */
export function keepCanvasesInClones(svg: SVGSVGElement): void {
  if (Object.hasOwn(svg, 'cloneNode')) {
    return;
  }
  svg.cloneNode = (deep?: boolean): Node => {
    const clone = SVGSVGElement.prototype.cloneNode.call(svg, deep) as SVGSVGElement;
    const originals = svg.querySelectorAll('foreignObject');
    clone.querySelectorAll('foreignObject').forEach((copy, i) => {
      const images = [...originals[i].querySelectorAll('canvas')].map((canvas) => imageOf(canvas, copy));
      copy.replaceWith(...images);
    });
    return clone;
  };
}

function imageOf(canvas: HTMLCanvasElement, place: SVGForeignObjectElement): SVGImageElement {
  const image = document.createElementNS('http://www.w3.org/2000/svg', 'image');
  for (const name of ['x', 'y', 'width', 'height']) {
    image.setAttribute(name, place.getAttribute(name) ?? '0');
  }
  image.setAttribute('preserveAspectRatio', 'none');
  image.style.imageRendering = 'pixelated';
  image.setAttribute('href', canvas.toDataURL('image/png'));
  return image;
}
