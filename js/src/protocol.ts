/** What to tell a person whose kernel and page hold versions that do not fit; null if they do. */
export function mismatch(kernelProtocol: number, pageProtocol: number): string | null {
  if (kernelProtocol === pageProtocol) {
    return null;
  }
  const fix =
    kernelProtocol > pageProtocol
      ? 'Upgrade dlwidgets in the environment of the Jupyter server and reload this page.'
      : 'Upgrade dlwidgets in the environment of the kernel and restart the kernel.';
  return `dlwidgets in the kernel speaks protocol ${kernelProtocol}, dlwidgets in this page ${pageProtocol}. ${fix}`;
}
