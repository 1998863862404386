// The way to one store: the public client, and plain requests for what it does not offer.

import { OperationFailedError, OutcomeUnknownError, connectPrimary } from "../web/client.ts";
import type { FailureCode, PrimaryClient } from "../web/client.ts";
import { CommandFailedError } from "./failure.ts";

export interface Address {
  /** Where the primaries are, `http://localhost:8787` for instance. */
  url: string;
  store: string;
  token: string | undefined;
}

type Fetch = typeof fetch;

export class Connection {
  readonly store: string;
  readonly #origin: string;
  readonly #url: string;
  readonly #token: string | undefined;
  /** Something has been sent that may have arrived. */
  #hasReached = false;

  constructor({ url, store, token }: Address) {
    if (!/^(?!\.{1,2}$)[\w.-]+$/.test(store))
      throw new CommandFailedError("usage", "a store's name is made of letters, digits and -_.");
    if (!/^https?:\/\//.test(url) || !URL.canParse(url))
      throw new CommandFailedError("usage", `--url is to begin with http:// or https://, not ${JSON.stringify(url)}`);
    this.store = store;
    this.#origin = new URL(url).origin;
    this.#url = `${url.replace(/\/+$/, "")}/v1/stores/${store}`;
    this.#token = token;
  }

  /** The client of the store's primary. `around` is put around each of its requests. */
  connect(around: (fetch: Fetch) => Fetch = (fetch) => fetch): PrimaryClient {
    const options = { url: this.#url, fetch: around((...request) => this.#fetch(...request)) };
    return connectPrimary(this.#token === undefined ? options : { ...options, token: this.#token });
  }

  /** One request, whose answer is a success; everything else is thrown as it is by the client. */
  async ask(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.#token !== undefined) headers.set("Authorization", `Bearer ${this.#token}`);
    let response: Response;
    try {
      response = await this.#fetch(`${this.#url}${path}`, { ...init, headers });
    } catch (error) {
      if (error instanceof OperationFailedError) throw error;
      if (init.method !== undefined) throw new OutcomeUnknownError();
      throw this.#offline(error);
    }
    if (!response.ok) throw await refusalOf(response);
    return response;
  }

  /**
   * Until something may have arrived, it is certain that nothing has happened and is said at once; that ends the client's
   * attempts. Later on they go on.
   */
  async #fetch(...request: Parameters<Fetch>): Promise<Response> {
    try {
      const response = await fetch(...request);
      this.#hasReached = true;
      return response;
    } catch (error) {
      if (!this.#hasReached && isUnconnected(error)) throw this.#offline(error);
      this.#hasReached = true;
      throw error;
    }
  }

  #offline(error: unknown): OperationFailedError {
    const reason = causeOf(error)?.code ?? (error instanceof Error ? error.message : String(error));
    return new OperationFailedError({
      code: "offline",
      applied: false,
      detail: `${this.#origin} cannot be reached (${reason})`,
    });
  }
}

const causeOf = (error: unknown): { code?: string } | undefined =>
  error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;

/** Whether there was no connection on which anything could have been sent: no name, no route, no listener, no trust. */
function isUnconnected(error: unknown): boolean {
  const code = causeOf(error)?.code ?? "";
  return /^(ECONNREFUSED|ENOTFOUND|EAI_.*|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_.*|.*CERT.*)$/.test(
    code,
  );
}

async function refusalOf(response: Response): Promise<OperationFailedError> {
  const text = await response.text().catch(() => "");
  try {
    const { code, detail, applied } = JSON.parse(text) as { code: FailureCode; detail: string; applied?: boolean };
    return new OperationFailedError({ code, detail, ...(applied !== undefined && { applied }) });
  } catch {
    // Something between here and the primary has answered.
    return new OperationFailedError({ code: "unavailable", detail: `HTTP ${response.status}` });
  }
}
