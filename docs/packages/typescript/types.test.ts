/** Compiled by `npm run types`, never run. */
import { type InvoicePaid, type WebhookEvent, webhookEvents } from './index.js';

export function total(event: WebhookEvent): string | number | null | undefined {
  if (event.event === 'invoice.paid') {
    const paid: InvoicePaid = event;
    return paid.data.total;
  }
  if (event.event === 'source.gap') return event.data.message;
  // @ts-expect-error this event has no such column
  if (event.event === 'customer.updated') return event.data.total;
  // @ts-expect-error there is no such event
  if (event.event === 'invoice.payd') return null;
  return event.id;
}

interface Own {
  event: 'order.urgent';
}
export const typed: WebhookEvent[] = webhookEvents({}, new Uint8Array(), '');
export const own: Own[] = webhookEvents<Own>({}, new Uint8Array(), '', 60);
