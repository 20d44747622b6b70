/** The log that shim.c writes: what happened to the files under its root, in the order of the kernel. */
export type Operation = {
  /** From 1; that of the last operation for what is none, a mark or a close. */
  number: number;
  name: string;
  /** Below 0: it failed. */
  result: number;
  fd: number;
  offset: number;
  /** Of open: whether the file was made, whether it was emptied. */
  made: boolean;
  emptied: boolean;
  /** Of a mark: its text. */
  path: string;
  to: string;
  data: Buffer;
};

export function parseLog(bytes: Buffer): Operation[] {
  const operations: Operation[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    const fields = bytes.toString('utf8', at, end).split('\t');
    if (fields.length !== 9) throw new Error(`the log is broken at byte ${at}`);
    const [number, name, result, fd, offset, flags, path, to, size] = fields;
    const data = bytes.subarray(end + 1, end + 1 + Number(size));
    at = end + 1 + Number(size) + 1;
    operations.push({
      number: Number(number),
      name,
      result: Number(result),
      fd: Number(fd),
      offset: Number(offset),
      made: (Number(flags) & 1) !== 0,
      emptied: (Number(flags) & 2) !== 0,
      path,
      to,
      data,
    });
  }
  return operations;
}
