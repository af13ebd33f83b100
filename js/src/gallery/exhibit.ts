/** What the palette needs to know of an exhibit. */
export interface GalleryEntry {
  title: string;
  /** A cell that runs as it is. */
  code: string;
}
