/** ^C and SIGTERM as an AbortSignal; a second one ends the process at once. */

const EXIT_CODE = { SIGINT: 130, SIGTERM: 143 } as const;

export class Interrupt {
  private readonly controller = new AbortController();
  private code: number | null = null;

  constructor(private readonly onFirst: () => void = () => {}) {
    process.on('SIGINT', this.take);
    process.on('SIGTERM', this.take);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** 128 + the signal's number, by the shell's convention; null when there was none. */
  get exitCode(): number | null {
    return this.code;
  }

  release(): void {
    process.off('SIGINT', this.take);
    process.off('SIGTERM', this.take);
  }

  private readonly take = (signal: keyof typeof EXIT_CODE): void => {
    if (this.code !== null) process.exit(EXIT_CODE[signal]);
    this.code = EXIT_CODE[signal];
    this.onFirst();
    this.controller.abort();
  };
}
