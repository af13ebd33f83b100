/** The registry: every model and view that Python may name, one line a file. */
import '../style/index.css';

export * from './version';
export * from './marks/raster';
