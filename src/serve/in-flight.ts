/** Requests that a server has begun and not answered yet. */
import type { Server, ServerResponse } from 'node:http';

export class InFlight {
  private readonly responses = new Set<ServerResponse>();
  private onNone: (() => void) | null = null;

  constructor(server: Server) {
    server.on('request', (_, response) => {
      this.responses.add(response);
      // Comes whether it was sent or its client has left.
      response.once('close', () => {
        this.responses.delete(response);
        if (this.responses.size === 0) this.onNone?.();
      });
    });
  }

  /** Resolves as soon as there are none. */
  async none(): Promise<void> {
    if (this.responses.size === 0) return;
    await new Promise<void>((resolve) => {
      this.onNone = resolve;
    });
  }
}
