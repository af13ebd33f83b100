import type { Cloud } from './cloud';
import type { Axis, Placement } from './placement';

const VERTEX = `#version 300 es
layout(location = 0) in float x;
layout(location = 1) in float y;
layout(location = 2) in uint color;
layout(location = 3) in uint flag;
uniform vec3 axisX;
uniform vec3 axisY;
uniform float diameter;
uniform float opacity;
uniform uint wanted;
uniform sampler2D table;
out vec4 pixel;
void main() {
  vec4 straight = texelFetch(table, ivec2(color & 255u, color >> 8u), 0);
  bool finite = abs(x) <= 3.4028235e38 && abs(y) <= 3.4028235e38;
  pixel = vec4(straight.rgb * opacity, opacity);
  gl_PointSize = diameter + 1.0;
  gl_Position = finite && flag == wanted && straight.a > 0.0
    ? vec4((x - axisX.x) * axisX.y + axisX.z, (y - axisY.x) * axisY.y + axisY.z, 0.0, 1.0)
    : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform float diameter;
in vec4 pixel;
out vec4 result;
void main() {
  float away = length(gl_PointCoord - 0.5) * (diameter + 1.0);
  float coverage = min(1.0, 0.5 * (diameter + 1.0) - away);
  if (coverage <= 0.0) discard;
  result = pixel * coverage;
}`;

const TABLE_WIDTH = 256;

/** What one cloud keeps on the card. */
interface Uploaded {
  array: WebGLVertexArrayObject;
  buffers: WebGLBuffer[];
  flags: Uint8Array | null;
  flagBuffer: WebGLBuffer;
}

/** One WebGL2 context for all clouds of the page; each draws into its corner and copies that to its own canvas. */
class SharedRenderer {
  private readonly program: WebGLProgram;
  private readonly table: WebGLTexture;
  private readonly clouds = new Map<Cloud, Uploaded>();
  private readonly places: { [name: string]: WebGLUniformLocation | null } = {};

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGL2RenderingContext,
  ) {
    this.program = gl.createProgram()!;
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    for (const name of ['axisX', 'axisY', 'diameter', 'opacity', 'wanted']) {
      this.places[name] = gl.getUniformLocation(this.program, name);
    }
    this.table = gl.createTexture()!;
    gl.bindTexture(gl.TEXTURE_2D, this.table);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.enable(gl.SCISSOR_TEST);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  get works(): boolean {
    return !this.gl.isContextLost() && Boolean(this.gl.getProgramParameter(this.program, this.gl.LINK_STATUS));
  }

  /** Draws layers of one cloud, each the points of one flag at one opacity, onto a cleared 2-D canvas. */
  draw(
    cloud: Cloud,
    place: Placement,
    table: Uint32Array,
    diameter: number,
    flags: Uint8Array | null,
    layers: [wanted: number, opacity: number][],
    target: CanvasRenderingContext2D,
  ): void {
    const { gl, canvas, places } = this;
    const margin = Math.ceil(diameter / 2) + 1; // a point whose centre lies outside is not drawn at all
    const [width, height] = [place.width + 2 * margin, place.height + 2 * margin];
    if (canvas.width < width || canvas.height < height) {
      canvas.width = Math.max(canvas.width, width);
      canvas.height = Math.max(canvas.height, height);
    }
    gl.viewport(0, 0, width, height);
    gl.scissor(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.bind(cloud, flags);
    const bytes = new Uint8Array(table.buffer);
    const rows = table.length / TABLE_WIDTH;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, TABLE_WIDTH, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    const clip = ({ center, scale, offset }: Axis, size: number, sign: number) =>
      [center, (sign * 2 * scale) / size, sign * ((2 * (offset + margin)) / size - 1)] as const;
    gl.uniform3f(places.axisX, ...clip(place.x, width, 1));
    gl.uniform3f(places.axisY, ...clip(place.y, height, -1));
    gl.uniform1f(places.diameter, diameter);
    for (const [wanted, opacity] of layers) {
      gl.uniform1ui(places.wanted, wanted);
      gl.uniform1f(places.opacity, opacity);
      gl.drawArrays(gl.POINTS, 0, cloud.length);
    }
    const top = canvas.height - height + margin;
    target.drawImage(canvas, margin, top, place.width, place.height, 0, 0, place.width, place.height);
  }

  /** Frees what a cloud keeps on the card. */
  forget(cloud: Cloud): void {
    const uploaded = this.clouds.get(cloud);
    if (uploaded) {
      this.clouds.delete(cloud);
      this.gl.deleteVertexArray(uploaded.array);
      [...uploaded.buffers, uploaded.flagBuffer].forEach((buffer) => this.gl.deleteBuffer(buffer));
    }
  }

  lose(): void {
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }

  private bind(cloud: Cloud, flags: Uint8Array | null): void {
    const { gl } = this;
    let uploaded = this.clouds.get(cloud);
    if (!uploaded) {
      uploaded = { array: gl.createVertexArray()!, buffers: [], flags: null, flagBuffer: gl.createBuffer()! };
      this.clouds.set(cloud, uploaded);
      gl.bindVertexArray(uploaded.array);
      for (const [location, data] of [cloud.x, cloud.y].entries()) {
        uploaded.buffers.push(this.upload(data.subarray(0, cloud.length)));
        gl.enableVertexAttribArray(location);
        gl.vertexAttribPointer(location, 1, gl.FLOAT, false, 0, 0);
      }
      if (cloud.color !== null) {
        uploaded.buffers.push(this.upload(cloud.color.subarray(0, cloud.length)));
        gl.enableVertexAttribArray(2);
        const kind = cloud.color instanceof Uint8Array ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT;
        gl.vertexAttribIPointer(2, 1, kind, 0, 0);
      }
    }
    gl.bindVertexArray(uploaded.array);
    gl.vertexAttribI4ui(2, 0, 0, 0, 0);
    gl.vertexAttribI4ui(3, 0, 0, 0, 0);
    if (flags !== uploaded.flags) {
      uploaded.flags = flags;
      if (flags === null) {
        gl.disableVertexAttribArray(3);
      } else {
        gl.bindBuffer(gl.ARRAY_BUFFER, uploaded.flagBuffer);
        gl.bufferData(gl.ARRAY_BUFFER, flags, gl.STATIC_DRAW);
        gl.enableVertexAttribArray(3);
        gl.vertexAttribIPointer(3, 1, gl.UNSIGNED_BYTE, 0, 0);
      }
    }
  }

  private upload(data: Float32Array | Uint8Array | Uint16Array): WebGLBuffer {
    const buffer = this.gl.createBuffer()!;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, buffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, data, this.gl.STATIC_DRAW);
    return buffer;
  }
}

export type { SharedRenderer };

let shared: SharedRenderer | null = null;
let software: boolean | null = null;
const users = new Set<object>();

/** Whether this renderer's name is that of a program on the processor. */
export function isSoftware(renderer: string): boolean {
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
}

/**
 * The renderer that all figures share, held until its last user releases it. Null where WebGL2 is missing, and, unless
 * `evenSoftware`, where the processor would play the card: the rasteriser is faster then.
 */
export function acquire(user: object, evenSoftware: boolean): SharedRenderer | null {
  if (software && !evenSoftware) {
    return null;
  }
  if (!shared?.works) {
    shared = null;
    const canvas = document.createElement('canvas');
    const gl = canvas.getContext('webgl2', { antialias: false, depth: false, stencil: false });
    if (gl === null) {
      return null;
    }
    const extension = gl.getExtension('WEBGL_debug_renderer_info');
    software = isSoftware(String(gl.getParameter(extension ? extension.UNMASKED_RENDERER_WEBGL : gl.RENDERER)));
    const made = new SharedRenderer(canvas, gl);
    if (!made.works || (software && !evenSoftware)) {
      made.lose();
      return null;
    }
    shared = made;
  }
  users.add(user);
  return shared;
}

/** The last one out switches off the light. */
export function release(user: object, cloud: Cloud | null): void {
  if (cloud !== null) {
    shared?.forget(cloud);
  }
  if (users.delete(user) && users.size === 0) {
    shared?.lose();
    shared = null;
  }
}
