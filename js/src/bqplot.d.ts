/** The part of bqplot's front end that we stand on; npm carries only an older version, so nothing is installed. */
declare module 'bqplot' {
  import { WidgetModel, WidgetView } from '@jupyter-widgets/base';

  interface ScaleModel extends WidgetModel {
    computeAndSetDomain(data: number[], id: string): void;
    delDomain(data: number[], id: string): void;
    domain: number[];
  }

  interface Scale extends WidgetView {
    scale: { (value: number): number; invert(pixel: number): number };
    offset: number;
    setRange(range: [number, number]): void;
    model: ScaleModel;
  }

  interface ColorScale extends WidgetView {
    scale(value: number): string;
    setRange(): void;
    model: ScaleModel;
  }

  export class Figure extends WidgetView {
    svg: { node(): SVGSVGElement };
    plotareaWidth: number;
    plotareaHeight: number;
    figure_padding_x: number;
    figure_padding_y: number;
    padded_range(dimension: 'x' | 'y', scale: ScaleModel): [number, number];
  }

  export class MarkModel extends WidgetModel {
    dirty: boolean;
    getScales(): { [name: string]: ScaleModel };
    update_domains(): void;
  }

  export abstract class Mark extends WidgetView {
    d3el: { node(): SVGGElement };
    parent: Figure;
    scales: { x: Scale; y: Scale; color?: ColorScale };
    event_listeners: object;
    xPadding: number;
    yPadding: number;
    create_listeners(): void;
    set_positional_scales(): void;
    initialize_additional_scales(): void;
    render(): Promise<void>;
    abstract draw(): void;
    abstract set_ranges(): void;
    abstract relayout(): void;
    abstract clear_style(): void;
    abstract set_default_style(): void;
    abstract set_style_on_elements(): void;
    abstract compute_view_padding(): void;
  }
}
