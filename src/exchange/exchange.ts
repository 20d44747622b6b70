/** Here is an index: write it for others; here are others' files: take them in. */

export { IMPORT_FORMATS } from './documents.js';
export {
  EXPORT_FORMATS,
  type ExportFormat,
  type ExportOptions,
  type ExportProgress,
  type ExportResult,
  exportIndex,
} from './export.js';
export {
  describeImport,
  type ImportDescription,
  type ImportFormat,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
  importInto,
  type SourceOptions,
} from './import.js';
