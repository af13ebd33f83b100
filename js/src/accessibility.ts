/** Names and descriptions for assistive technology. Text only: whatever a name holds, it is never parsed as HTML. */

let counter = 0;

/** Gives a figure's svg a role, a title and a description that says its present content. */
export function describeFigure(svg: SVGSVGElement, name: string, content: string): void {
  svg.setAttribute('role', 'img');
  const title = textChild(svg, 'title', name);
  const desc = textChild(svg, 'desc', content);
  svg.setAttribute('aria-label', name);
  if (content) {
    svg.setAttribute('aria-describedby', desc.id);
  } else {
    svg.removeAttribute('aria-describedby');
  }
  svg.append(title, desc); // last: where bqplot saves a figure it takes what comes first for its content
}

/** Lets a figure take the keyboard, without JupyterLab's shortcuts hearing the same keys. */
export function makeFocusable(svg: SVGSVGElement): void {
  svg.setAttribute('tabindex', '0');
  svg.setAttribute('data-lm-suppress-shortcuts', 'true');
  svg.classList.add('dlw-focusable');
}

/**
 * Gives this name to the slider handles and fields of a control. What carries words of its own (a button, a choice)
 * keeps them, and the group around several such gets the name.
 */
export function nameControl(element: Element, name: string): void {
  const handles = element.querySelectorAll('.noUi-handle');
  handles.forEach((handle, i) => {
    const end = handles.length === 2 ? [', lower end', ', upper end'][i] : '';
    handle.setAttribute('aria-label', `${name}${end}`);
  });
  const controls = 'input, select, textarea, button, [contenteditable]';
  const fields = element.matches(controls) ? [element] : [...element.querySelectorAll(controls)];
  const worded = (field: Element) => (field.closest('label') ?? (field.matches('button') ? field : null))?.textContent?.trim();
  fields.filter((field) => !worded(field)).forEach((field) => field.setAttribute('aria-label', name));
  if (fields.filter(worded).length > 1) {
    element.setAttribute('role', 'group');
    element.setAttribute('aria-label', name);
  }
}

/** Text that is read out and not seen. */
export function hiddenText(className: string): HTMLElement {
  const element = document.createElement('span');
  element.className = `dlw-visually-hidden ${className}`;
  return element;
}

function textChild(svg: SVGSVGElement, tag: 'title' | 'desc', text: string): SVGElement {
  const found = [...svg.children].find((child) => child.tagName === tag) as SVGElement | undefined;
  const child = found ?? document.createElementNS('http://www.w3.org/2000/svg', tag);
  child.id ||= `dlw-${tag}-${counter++}`;
  child.textContent = text;
  return child;
}
