/** The registry: every model and view that Python may name, one line a file. */
import '../style/index.css';

export * from './version';
export { FieldMapModel } from './marks/field_map';
export { PointCloud } from './marks/point_cloud';
export { PointCloudModel } from './marks/point_cloud_model';
export { Raster } from './marks/raster';
export { RasterModel } from './marks/raster_model';
export { ReadoutModel, ReadoutView } from './widgets/readout';
export { ExhibitModel, ExhibitView } from './widgets/exhibit';
