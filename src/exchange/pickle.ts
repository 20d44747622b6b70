/**
 * A reader for the few pickles that vector files are: numbers, strings, tuples, lists and dicts, and the
 * tensors of torch.save. It looks opcodes up in a list and builds plain values; nothing in a pickle is
 * ever called, imported or run, and whatever is not on the list is refused.
 */
import { refused } from './source-file.js';

/** A name of Python's that a pickle mentions. */
export class PickledGlobal {
  constructor(readonly name: string) {}
}

export type PickleHooks = {
  /** A persistent id, for torch: where a tensor's storage is. */
  persistent?: (id: unknown) => unknown;
  /** The value of `name(...args)`, for the names that are known; undefined refuses it. */
  reduce?: (name: string, args: unknown[]) => unknown;
};

const MARK = Symbol('mark');
const MAX_BYTES = 1 << 30;

export function readPickle(bytes: Buffer, file: string, hooks: PickleHooks = {}): unknown {
  if (bytes.length > MAX_BYTES) throw refused(file, 'is too large a pickle');
  return new Unpickler(bytes, file, hooks).load();
}

class Unpickler {
  private at = 0;
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();

  constructor(
    private readonly bytes: Buffer,
    private readonly file: string,
    private readonly hooks: PickleHooks,
  ) {}

  load(): unknown {
    for (;;) {
      const code = this.u8();
      if (code === 0x2e) return this.pop(); // STOP
      this.step(code);
    }
  }

  private step(code: number): void {
    const { stack } = this;
    switch (code) {
      case 0x80: // PROTO
        if (this.u8() > 5) throw this.fail('has a protocol newer than 5');
        return;
      case 0x95: // FRAME
        this.take(8);
        return;
      case 0x28: // MARK
        stack.push(MARK);
        return;
      case 0x4e: // NONE
        stack.push(null);
        return;
      case 0x88: // NEWTRUE
        stack.push(true);
        return;
      case 0x89: // NEWFALSE
        stack.push(false);
        return;
      case 0x4b: // BININT1
        stack.push(this.u8());
        return;
      case 0x4d: // BININT2
        stack.push(this.take(2).readUInt16LE());
        return;
      case 0x4a: // BININT
        stack.push(this.take(4).readInt32LE());
        return;
      case 0x8a: // LONG1
        stack.push(this.long(this.u8()));
        return;
      case 0x47: // BINFLOAT
        stack.push(this.take(8).readDoubleBE());
        return;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(this.text(this.u8()));
        return;
      case 0x58: // BINUNICODE
        stack.push(this.text(this.take(4).readUInt32LE()));
        return;
      case 0x8d: // BINUNICODE8
        stack.push(this.text(Number(this.take(8).readBigUInt64LE())));
        return;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        stack.push([]);
        return;
      case 0x7d: // EMPTY_DICT
        stack.push(new Map());
        return;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        stack.push(this.popMany(code - 0x84));
        return;
      case 0x74: // TUPLE
        stack.push(this.popToMark());
        return;
      case 0x61: // APPEND
        this.append([this.pop()]);
        return;
      case 0x65: // APPENDS
        this.append(this.popToMark());
        return;
      case 0x73: // SETITEM
        this.setItems(this.popMany(2));
        return;
      case 0x75: // SETITEMS
        this.setItems(this.popToMark());
        return;
      case 0x71: // BINPUT
        this.memo.set(this.u8(), this.top());
        return;
      case 0x72: // LONG_BINPUT
        this.memo.set(this.take(4).readUInt32LE(), this.top());
        return;
      case 0x94: // MEMOIZE
        this.memo.set(this.memo.size, this.top());
        return;
      case 0x68: // BINGET
        stack.push(this.recall(this.u8()));
        return;
      case 0x6a: // LONG_BINGET
        stack.push(this.recall(this.take(4).readUInt32LE()));
        return;
      case 0x63: // GLOBAL
        stack.push(new PickledGlobal(`${this.line()} ${this.line()}`));
        return;
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.popMany(2);
        stack.push(new PickledGlobal(`${String(module)} ${String(name)}`));
        return;
      }
      case 0x51: // BINPERSID
        stack.push(this.persistent(this.pop()));
        return;
      case 0x52: {
        // REDUCE
        const [callable, args] = this.popMany(2);
        stack.push(this.reduce(callable, args));
        return;
      }
      default:
        throw this.fail(`holds what is not read here (opcode 0x${code.toString(16)})`);
    }
  }

  private persistent(id: unknown): unknown {
    if (this.hooks.persistent === undefined) throw this.fail('refers to data outside of it');
    return this.hooks.persistent(id);
  }

  private reduce(callable: unknown, args: unknown): unknown {
    if (!(callable instanceof PickledGlobal) || !Array.isArray(args)) {
      throw this.fail('is malformed');
    }
    const value = this.hooks.reduce?.(callable.name, args);
    if (value === undefined) {
      throw this.fail(`asks for ${callable.name}, which is not run here`);
    }
    return value;
  }

  private append(items: unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.fail('is malformed');
    for (const item of items) list.push(item);
  }

  private setItems(items: unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0) throw this.fail('is malformed');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  private recall(key: number): unknown {
    if (!this.memo.has(key)) throw this.fail('is malformed');
    return this.memo.get(key);
  }

  private top(): unknown {
    if (this.stack.length === 0) throw this.fail('is malformed');
    return this.stack.at(-1);
  }

  private pop(): unknown {
    const value = this.top();
    if (value === MARK) throw this.fail('is malformed');
    this.stack.pop();
    return value;
  }

  private popMany(count: number): unknown[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  private popToMark(): unknown[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.fail('is malformed');
    const items = this.stack.splice(mark);
    items.shift();
    return items;
  }

  /** Whole numbers of up to 8 bytes; larger ones are none that a vector file needs. */
  private long(size: number): number {
    if (size > 8) throw this.fail('holds a number of more than 64 bits');
    const bytes = this.take(size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    return size === 0 ? 0 : Number(BigInt.asIntN(8 * size, value));
  }

  private text(size: number): string {
    return this.take(size).toString('utf8');
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.fail('is cut short');
    const line = this.bytes.toString('latin1', this.at, end);
    this.at = end + 1;
    return line;
  }

  private u8(): number {
    return this.take(1).readUInt8();
  }

  private take(size: number): Buffer {
    if (this.at + size > this.bytes.length) throw this.fail('is cut short');
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  private fail(problem: string): Error {
    return refused(this.file, `is a pickle that ${problem}`);
  }
}
