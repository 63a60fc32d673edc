import type { WebhookEvent } from './events.js';

export * from './events.js';

/** Headers with names in lower case, as Node gives them. */
export type WebhookHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** The request is forged, changed or too old, or there is no secret to verify it with: answer 401. */
export declare class NotGenuine extends Error {}

/**
 * Returns whether a request was signed with the secret.
 * @param body the bytes as they arrived
 * @param secret whsec_…, or the public key whpk_…; an empty one accepts nothing
 * @param tolerance age in seconds beyond which a request is refused; 300 unless given
 */
export declare function webhookIsGenuine(
  headers: WebhookHeaders,
  body: Uint8Array,
  secret: string,
  tolerance?: number,
): boolean;

/**
 * Returns the events of a request: one, or those of a batch. Throws NotGenuine.
 *
 * Your own rules: `cdc event schema --format typescript` prints types with them, to be given as `Event`.
 */
export declare function webhookEvents<Event = WebhookEvent>(
  headers: WebhookHeaders,
  body: Uint8Array,
  secret: string,
  tolerance?: number,
): Event[];
