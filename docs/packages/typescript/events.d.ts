// Types of the packaged events. Written by `make docs`; do not edit.

/** What all events have. */
export interface WebhookEventBase {
  /** The same on every retry and replay. */
  id: string;
  event: string;
  /** When the change was made, UTC. */
  timestamp: string;
  /** Name of the source in the configuration. */
  source: string;
  /** Names the database transaction that made the change. */
  transaction: string;
  /** Found by comparing two looks at the row (capture by API). */
  observed?: true;
  /** An example that tests an endpoint: no record was changed. */
  test?: true;
}

export interface InvoiceData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codagente?: string | null;
  codalmacen?: string | null;
  codcliente?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codigoenv?: string | null;
  codigorect?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codserie?: string | null;
  codtrans?: string | null;
  direccion?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  fechadevengo?: string | null;
  femail?: string | null;
  hora?: string | null;
  idasiento?: number | null;
  idcontactoenv?: number | null;
  idcontactofact?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idfactura?: number | null;
  idfacturarect?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombrecliente?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numero2?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  pagada?: boolean | number | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totalbeneficio?: number | string | null;
  totalcoste?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
  vencida?: boolean | number | null;
}

export interface SupplierInvoiceData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codalmacen?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codigorect?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codproveedor?: string | null;
  codserie?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  direccion?: string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  fechadevengo?: string | null;
  femail?: string | null;
  hora?: string | null;
  idasiento?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idfactura?: number | null;
  idfacturarect?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  numdocs?: number | null;
  nombre?: string | null;
  numero?: string | null;
  numproveedor?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  pagada?: boolean | number | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
  vencida?: boolean | number | null;
}

export interface EstimateData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codagente?: string | null;
  codalmacen?: string | null;
  codcliente?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codigoenv?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codserie?: string | null;
  codtrans?: string | null;
  direccion?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  femail?: string | null;
  finoferta?: string | null;
  hora?: string | null;
  idcontactoenv?: number | null;
  idcontactofact?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idpresupuesto?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombrecliente?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numero2?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totalbeneficio?: number | string | null;
  totalcoste?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface SupplierEstimateData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codalmacen?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  coddivisa?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codproveedor?: string | null;
  codserie?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  direccion?: string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  femail?: string | null;
  hora?: string | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idpresupuesto?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  numdocs?: number | null;
  nombre?: string | null;
  numero?: string | null;
  numproveedor?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface OrderData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codagente?: string | null;
  codalmacen?: string | null;
  codcliente?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codigoenv?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codserie?: string | null;
  codtrans?: string | null;
  direccion?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  femail?: string | null;
  finoferta?: string | null;
  hora?: string | null;
  idcontactoenv?: number | null;
  idcontactofact?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idpedido?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombrecliente?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numero2?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totalbeneficio?: number | string | null;
  totalcoste?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface SupplierOrderData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codalmacen?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codproveedor?: string | null;
  codserie?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  direccion?: string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  femail?: string | null;
  hora?: string | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  idpedido?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombre?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numproveedor?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface DeliveryNoteData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codagente?: string | null;
  codalmacen?: string | null;
  codcliente?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codigoenv?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codserie?: string | null;
  codtrans?: string | null;
  direccion?: string | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  editable?: boolean | number | null;
  fecha?: string | null;
  femail?: string | null;
  hora?: string | null;
  idalbaran?: number | null;
  idcontactoenv?: number | null;
  idcontactofact?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombrecliente?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numero2?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totalbeneficio?: number | string | null;
  totalcoste?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface SupplierDeliveryNoteData {
  apartado?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codalmacen?: string | null;
  coddivisa?: string | null;
  codejercicio?: string | null;
  codigo?: string | null;
  codpago?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codproveedor?: string | null;
  codserie?: string | null;
  editable?: boolean | number | null;
  dtopor1?: number | string | null;
  dtopor2?: number | string | null;
  direccion?: string | null;
  fecha?: string | null;
  femail?: string | null;
  hora?: string | null;
  idalbaran?: number | null;
  idempresa?: number | null;
  idestado?: number | null;
  idestado_ant?: number | null;
  irpf?: number | string | null;
  neto?: number | string | null;
  netosindto?: number | string | null;
  nick?: string | null;
  nombre?: string | null;
  numdocs?: number | null;
  numero?: string | null;
  numproveedor?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  provincia?: string | null;
  tasaconv?: number | string | null;
  total?: number | string | null;
  totaleuros?: number | string | null;
  totalirpf?: number | string | null;
  totaliva?: number | string | null;
  totalrecargo?: number | string | null;
  totalsuplidos?: number | string | null;
}

export interface ReceiptData {
  codcliente?: string | null;
  coddivisa?: string | null;
  codigofactura?: string | null;
  codpago?: string | null;
  fecha?: string | null;
  fechapago?: string | null;
  gastos?: number | string | null;
  idempresa?: number | null;
  idfactura?: number | null;
  idrecibo?: number | null;
  importe?: number | string | null;
  liquidado?: number | string | null;
  nick?: string | null;
  numero?: number | null;
  observaciones?: string | null;
  pagado?: boolean | number | null;
  vencido?: boolean | number | null;
  vencimiento?: string | null;
}

export interface SupplierReceiptData {
  coddivisa?: string | null;
  codigofactura?: string | null;
  codpago?: string | null;
  codproveedor?: string | null;
  fecha?: string | null;
  fechapago?: string | null;
  idempresa?: number | null;
  idfactura?: number | null;
  idrecibo?: number | null;
  importe?: number | string | null;
  liquidado?: number | string | null;
  nick?: string | null;
  numero?: number | null;
  observaciones?: string | null;
  pagado?: boolean | number | null;
  vencido?: boolean | number | null;
  vencimiento?: string | null;
}

export interface PaymentData {
  codpago?: string | null;
  customid?: string | null;
  customstatus?: string | null;
  fecha?: string | null;
  gastos?: number | string | null;
  hora?: string | null;
  idasiento?: number | null;
  idpago?: number | null;
  idrecibo?: number | null;
  importe?: number | string | null;
  nick?: string | null;
}

export interface PaymentRelatedInvoice {
  entity: "invoice";
  key: { idfactura: number };
  code?: string | null;
  name?: string | null;
  total?: number | string | null;
  link?: string;
}

export interface SupplierPaymentData {
  codpago?: string | null;
  fecha?: string | null;
  hora?: string | null;
  idasiento?: number | null;
  idpago?: number | null;
  idrecibo?: number | null;
  importe?: number | string | null;
  nick?: string | null;
}

export interface SupplierPaymentRelatedInvoice {
  entity: "supplier_invoice";
  key: { idfactura: number };
  code?: string | null;
  name?: string | null;
  total?: number | string | null;
  link?: string;
}

export interface CustomerData {
  cifnif?: string | null;
  codagente?: string | null;
  codcliente?: string | null;
  codgrupo?: string | null;
  codpago?: string | null;
  codproveedor?: string | null;
  codretencion?: string | null;
  codserie?: string | null;
  codsubcuenta?: string | null;
  codtarifa?: string | null;
  debaja?: boolean | number | null;
  diaspago?: string | null;
  excepcioniva?: string | null;
  email?: string | null;
  fax?: string | null;
  fechaalta?: string | null;
  fechabaja?: string | null;
  idcontactoenv?: number | null;
  idcontactofact?: number | null;
  langcode?: string | null;
  nombre?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  personafisica?: boolean | number | null;
  razonsocial?: string | null;
  regimeniva?: string | null;
  riesgoalcanzado?: number | string | null;
  riesgomax?: number | string | null;
  telefono1?: string | null;
  telefono2?: string | null;
  tipoidfiscal?: string | null;
  web?: string | null;
}

export interface SupplierData {
  acreedor?: boolean | number | null;
  cifnif?: string | null;
  codcliente?: string | null;
  codpago?: string | null;
  codproveedor?: string | null;
  codretencion?: string | null;
  codserie?: string | null;
  codsubcuenta?: string | null;
  debaja?: boolean | number | null;
  excepcioniva?: string | null;
  email?: string | null;
  fax?: string | null;
  fechaalta?: string | null;
  fechabaja?: string | null;
  idcontacto?: number | null;
  langcode?: string | null;
  nombre?: string | null;
  observaciones?: string | null;
  operacion?: string | null;
  personafisica?: boolean | number | null;
  razonsocial?: string | null;
  regimeniva?: string | null;
  telefono1?: string | null;
  telefono2?: string | null;
  tipoidfiscal?: string | null;
  web?: string | null;
}

export interface ContactData {
  aceptaprivacidad?: boolean | number | null;
  admitemarketing?: boolean | number | null;
  apartado?: string | null;
  apellidos?: string | null;
  cargo?: string | null;
  cifnif?: string | null;
  ciudad?: string | null;
  codagente?: string | null;
  codcliente?: string | null;
  codpais?: string | null;
  codpostal?: string | null;
  codproveedor?: string | null;
  descripcion?: string | null;
  direccion?: string | null;
  email?: string | null;
  empresa?: string | null;
  fechaalta?: string | null;
  idcontacto?: number | null;
  langcode?: string | null;
  nombre?: string | null;
  observaciones?: string | null;
  personafisica?: boolean | number | null;
  provincia?: string | null;
  telefono1?: string | null;
  telefono2?: string | null;
  tipoidfiscal?: string | null;
  verificado?: boolean | number | null;
  web?: string | null;
}

export interface ProductData {
  actualizado?: string | null;
  bloqueado?: boolean | number | null;
  codfabricante?: string | null;
  codfamilia?: string | null;
  codimpuesto?: string | null;
  codsubcuentacom?: string | null;
  codsubcuentairpfcom?: string | null;
  codsubcuentaven?: string | null;
  descripcion?: string | null;
  excepcioniva?: string | null;
  fechaalta?: string | null;
  idproducto?: number | null;
  nostock?: boolean | number | null;
  observaciones?: string | null;
  precio?: number | string | null;
  publico?: boolean | number | null;
  referencia?: string | null;
  secompra?: boolean | number | null;
  sevende?: boolean | number | null;
  stockfis?: number | string | null;
  tipo?: string | null;
  ventasinstock?: boolean | number | null;
}

export interface VariantData {
  codbarras?: string | null;
  coste?: number | string | null;
  idatributovalor1?: number | null;
  idatributovalor2?: number | null;
  idatributovalor3?: number | null;
  idatributovalor4?: number | null;
  idproducto?: number | null;
  idvariante?: number | null;
  margen?: number | string | null;
  precio?: number | string | null;
  referencia?: string | null;
  stockfis?: number | string | null;
}

export interface StockData {
  cantidad?: number | string | null;
  codalmacen?: string | null;
  disponible?: number | string | null;
  idproducto?: number | null;
  idstock?: number | null;
  pterecibir?: number | string | null;
  referencia?: string | null;
  reservada?: number | string | null;
  stockmax?: number | string | null;
  stockmin?: number | string | null;
  ubicacion?: string | null;
}

export interface UserData {
  admin?: boolean | number | null;
  codagente?: string | null;
  codalmacen?: string | null;
  codserie?: string | null;
  creationdate?: string | null;
  email?: string | null;
  enabled?: boolean | number | null;
  homepage?: string | null;
  idempresa?: number | null;
  langcode?: string | null;
  lastactivity?: string | null;
  lastbrowser?: string | null;
  lastip?: string | null;
  level?: number | null;
  nick?: string | null;
  two_factor_enabled?: boolean | number | null;
}

export interface UserDataChangesItem {
  table: string;
  operation: "create" | "update" | "delete";
  row: Record<string, unknown>;
  previous?: Record<string, unknown>;
}

export interface EndpointData {
  endpoint: string;
  name: string;
  description: string;
  url: string;
  failing_since: string;
  percent: number;
  disabled_at: string;
  last_error: string;
  waiting: number;
  message: string;
}

export interface EndpointData_ {
  endpoint: string;
  name: string;
  description: string;
  url: string;
  failing_since: string;
  reason: string;
  last_error: string;
  waiting: number;
  message: string;
}

export interface EndpointData__ {
  endpoint: string;
  name: string;
  description: string;
  url: string;
  failing_since: string;
  message: string;
}

export interface SourceData {
  source: string;
  since: string;
  message: string;
}

export interface SourceData_ {
  source: string;
  table: string;
  operation: "create" | "update" | "delete" | "read" | "truncate";
  message: string;
}

export interface ComponentData {
  component: string;
  since: string;
  message: string;
}

/** Customer invoice: a row is inserted. */
export interface InvoiceCreated extends WebhookEventBase {
  event: "invoice.created";
  key: { idfactura: number };
  data: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: a row is changed in more than noise columns. */
export interface InvoiceUpdated extends WebhookEventBase {
  event: "invoice.updated";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: a row is deleted, by itself or by a foreign key's cascade. */
export interface InvoiceDeleted extends WebhookEventBase {
  event: "invoice.deleted";
  key: { idfactura: number };
  data: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface InvoiceRead extends WebhookEventBase {
  event: "invoice.read";
  key: { idfactura: number };
  data: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface InvoiceExisting extends WebhookEventBase {
  event: "invoice.existing";
  key: { idfactura: number };
  data: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface InvoiceTruncated extends WebhookEventBase {
  event: "invoice.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Customer invoice: its state (idestado) is changed to another one. */
export interface InvoiceStatusChanged extends WebhookEventBase {
  event: "invoice.status_changed";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: it is issued: an update makes it not editable (one that is inserted issued, as refunds are, is only created). */
export interface InvoiceApproved extends WebhookEventBase {
  event: "invoice.approved";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: it becomes editable again, for instance because the document made from it was deleted. */
export interface InvoiceReopened extends WebhookEventBase {
  event: "invoice.reopened";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: its date of e-mailing (femail) is set for the first time. */
export interface InvoiceSent extends WebhookEventBase {
  event: "invoice.sent";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: it is paid in full (pagada). */
export interface InvoicePaid extends WebhookEventBase {
  event: "invoice.paid";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: it was paid and is not any more, for instance because a payment was undone. */
export interface InvoiceUnpaid extends WebhookEventBase {
  event: "invoice.unpaid";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: one of its receipts is overdue (vencida); a receipt that is due today is overdue at once. */
export interface InvoiceOverdue extends WebhookEventBase {
  event: "invoice.overdue";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: a refund (factura rectificativa) is made; data is the refund, data.idfacturarect the invoice that it corrects. */
export interface InvoiceRefunded extends WebhookEventBase {
  event: "invoice.refunded";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: its series and number are final: it stops being a draft (editable), or is inserted issued. */
export interface InvoiceIssued extends WebhookEventBase {
  event: "invoice.issued";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Customer invoice: a refund (factura rectificativa) is issued; data is the refund, data.codigorect the invoice that it corrects. */
export interface InvoiceRectified extends WebhookEventBase {
  event: "invoice.rectified";
  key: { idfactura: number };
  data: InvoiceData;
  previous?: InvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: a row is inserted. */
export interface SupplierInvoiceCreated extends WebhookEventBase {
  event: "supplier_invoice.created";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: a row is changed in more than noise columns. */
export interface SupplierInvoiceUpdated extends WebhookEventBase {
  event: "supplier_invoice.updated";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierInvoiceDeleted extends WebhookEventBase {
  event: "supplier_invoice.deleted";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierInvoiceRead extends WebhookEventBase {
  event: "supplier_invoice.read";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierInvoiceExisting extends WebhookEventBase {
  event: "supplier_invoice.existing";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierInvoiceTruncated extends WebhookEventBase {
  event: "supplier_invoice.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Supplier invoice: its state (idestado) is changed to another one. */
export interface SupplierInvoiceStatusChanged extends WebhookEventBase {
  event: "supplier_invoice.status_changed";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: it is issued: an update makes it not editable (one that is inserted issued, as refunds are, is only created). */
export interface SupplierInvoiceApproved extends WebhookEventBase {
  event: "supplier_invoice.approved";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: it becomes editable again, for instance because the document made from it was deleted. */
export interface SupplierInvoiceReopened extends WebhookEventBase {
  event: "supplier_invoice.reopened";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: its date of e-mailing (femail) is set for the first time. */
export interface SupplierInvoiceSent extends WebhookEventBase {
  event: "supplier_invoice.sent";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: it is paid in full (pagada). */
export interface SupplierInvoicePaid extends WebhookEventBase {
  event: "supplier_invoice.paid";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: it was paid and is not any more, for instance because a payment was undone. */
export interface SupplierInvoiceUnpaid extends WebhookEventBase {
  event: "supplier_invoice.unpaid";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: one of its receipts is overdue (vencida); a receipt that is due today is overdue at once. */
export interface SupplierInvoiceOverdue extends WebhookEventBase {
  event: "supplier_invoice.overdue";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Supplier invoice: a refund (factura rectificativa) is made; data is the refund, data.idfacturarect the invoice that it corrects. */
export interface SupplierInvoiceRefunded extends WebhookEventBase {
  event: "supplier_invoice.refunded";
  key: { idfactura: number };
  data: SupplierInvoiceData;
  previous?: SupplierInvoiceData;
  links?: { record?: string };
}

/** Estimate for a customer: a row is inserted. */
export interface EstimateCreated extends WebhookEventBase {
  event: "estimate.created";
  key: { idpresupuesto: number };
  data: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: a row is changed in more than noise columns. */
export interface EstimateUpdated extends WebhookEventBase {
  event: "estimate.updated";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: a row is deleted, by itself or by a foreign key's cascade. */
export interface EstimateDeleted extends WebhookEventBase {
  event: "estimate.deleted";
  key: { idpresupuesto: number };
  data: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface EstimateRead extends WebhookEventBase {
  event: "estimate.read";
  key: { idpresupuesto: number };
  data: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface EstimateExisting extends WebhookEventBase {
  event: "estimate.existing";
  key: { idpresupuesto: number };
  data: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface EstimateTruncated extends WebhookEventBase {
  event: "estimate.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Estimate for a customer: its state (idestado) is changed to another one. */
export interface EstimateStatusChanged extends WebhookEventBase {
  event: "estimate.status_changed";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: it enters a state that generates the next document (generadoc of the state is set). */
export interface EstimateApproved extends WebhookEventBase {
  event: "estimate.approved";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface EstimateRejected extends WebhookEventBase {
  event: "estimate.rejected";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: it becomes editable again, for instance because the document made from it was deleted. */
export interface EstimateReopened extends WebhookEventBase {
  event: "estimate.reopened";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: its date of e-mailing (femail) is set for the first time. */
export interface EstimateSent extends WebhookEventBase {
  event: "estimate.sent";
  key: { idpresupuesto: number };
  data: EstimateData;
  previous?: EstimateData;
  links?: { record?: string };
}

/** Estimate for a customer: its last day (finoferta) is so many days ahead or ago, and it is still open; off until your rules name the days. */
export interface EstimateExpiring extends WebhookEventBase {
  event: "estimate.expiring";
  key: { idpresupuesto: number };
  data: EstimateData;
  days: number;
  links?: { record?: string };
}

/** Estimate of a supplier: a row is inserted. */
export interface SupplierEstimateCreated extends WebhookEventBase {
  event: "supplier_estimate.created";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: a row is changed in more than noise columns. */
export interface SupplierEstimateUpdated extends WebhookEventBase {
  event: "supplier_estimate.updated";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierEstimateDeleted extends WebhookEventBase {
  event: "supplier_estimate.deleted";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierEstimateRead extends WebhookEventBase {
  event: "supplier_estimate.read";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierEstimateExisting extends WebhookEventBase {
  event: "supplier_estimate.existing";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierEstimateTruncated extends WebhookEventBase {
  event: "supplier_estimate.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Estimate of a supplier: its state (idestado) is changed to another one. */
export interface SupplierEstimateStatusChanged extends WebhookEventBase {
  event: "supplier_estimate.status_changed";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: it enters a state that generates the next document (generadoc of the state is set). */
export interface SupplierEstimateApproved extends WebhookEventBase {
  event: "supplier_estimate.approved";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface SupplierEstimateRejected extends WebhookEventBase {
  event: "supplier_estimate.rejected";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: it becomes editable again, for instance because the document made from it was deleted. */
export interface SupplierEstimateReopened extends WebhookEventBase {
  event: "supplier_estimate.reopened";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Estimate of a supplier: its date of e-mailing (femail) is set for the first time. */
export interface SupplierEstimateSent extends WebhookEventBase {
  event: "supplier_estimate.sent";
  key: { idpresupuesto: number };
  data: SupplierEstimateData;
  previous?: SupplierEstimateData;
  links?: { record?: string };
}

/** Customer order: a row is inserted. */
export interface OrderCreated extends WebhookEventBase {
  event: "order.created";
  key: { idpedido: number };
  data: OrderData;
  links?: { record?: string };
}

/** Customer order: a row is changed in more than noise columns. */
export interface OrderUpdated extends WebhookEventBase {
  event: "order.updated";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Customer order: a row is deleted, by itself or by a foreign key's cascade. */
export interface OrderDeleted extends WebhookEventBase {
  event: "order.deleted";
  key: { idpedido: number };
  data: OrderData;
  links?: { record?: string };
}

/** Customer order: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface OrderRead extends WebhookEventBase {
  event: "order.read";
  key: { idpedido: number };
  data: OrderData;
  links?: { record?: string };
}

/** Customer order: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface OrderExisting extends WebhookEventBase {
  event: "order.existing";
  key: { idpedido: number };
  data: OrderData;
  links?: { record?: string };
}

/** Customer order: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface OrderTruncated extends WebhookEventBase {
  event: "order.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Customer order: its state (idestado) is changed to another one. */
export interface OrderStatusChanged extends WebhookEventBase {
  event: "order.status_changed";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Customer order: it enters a state that generates the next document (generadoc of the state is set). */
export interface OrderApproved extends WebhookEventBase {
  event: "order.approved";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Customer order: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface OrderRejected extends WebhookEventBase {
  event: "order.rejected";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Customer order: it becomes editable again, for instance because the document made from it was deleted. */
export interface OrderReopened extends WebhookEventBase {
  event: "order.reopened";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Customer order: its date of e-mailing (femail) is set for the first time. */
export interface OrderSent extends WebhookEventBase {
  event: "order.sent";
  key: { idpedido: number };
  data: OrderData;
  previous?: OrderData;
  links?: { record?: string };
}

/** Order to a supplier: a row is inserted. */
export interface SupplierOrderCreated extends WebhookEventBase {
  event: "supplier_order.created";
  key: { idpedido: number };
  data: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: a row is changed in more than noise columns. */
export interface SupplierOrderUpdated extends WebhookEventBase {
  event: "supplier_order.updated";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierOrderDeleted extends WebhookEventBase {
  event: "supplier_order.deleted";
  key: { idpedido: number };
  data: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierOrderRead extends WebhookEventBase {
  event: "supplier_order.read";
  key: { idpedido: number };
  data: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierOrderExisting extends WebhookEventBase {
  event: "supplier_order.existing";
  key: { idpedido: number };
  data: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierOrderTruncated extends WebhookEventBase {
  event: "supplier_order.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Order to a supplier: its state (idestado) is changed to another one. */
export interface SupplierOrderStatusChanged extends WebhookEventBase {
  event: "supplier_order.status_changed";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: it enters a state that generates the next document (generadoc of the state is set). */
export interface SupplierOrderApproved extends WebhookEventBase {
  event: "supplier_order.approved";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface SupplierOrderRejected extends WebhookEventBase {
  event: "supplier_order.rejected";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: it becomes editable again, for instance because the document made from it was deleted. */
export interface SupplierOrderReopened extends WebhookEventBase {
  event: "supplier_order.reopened";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Order to a supplier: its date of e-mailing (femail) is set for the first time. */
export interface SupplierOrderSent extends WebhookEventBase {
  event: "supplier_order.sent";
  key: { idpedido: number };
  data: SupplierOrderData;
  previous?: SupplierOrderData;
  links?: { record?: string };
}

/** Delivery note to a customer: a row is inserted. */
export interface DeliveryNoteCreated extends WebhookEventBase {
  event: "delivery_note.created";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: a row is changed in more than noise columns. */
export interface DeliveryNoteUpdated extends WebhookEventBase {
  event: "delivery_note.updated";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: a row is deleted, by itself or by a foreign key's cascade. */
export interface DeliveryNoteDeleted extends WebhookEventBase {
  event: "delivery_note.deleted";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface DeliveryNoteRead extends WebhookEventBase {
  event: "delivery_note.read";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface DeliveryNoteExisting extends WebhookEventBase {
  event: "delivery_note.existing";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface DeliveryNoteTruncated extends WebhookEventBase {
  event: "delivery_note.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Delivery note to a customer: its state (idestado) is changed to another one. */
export interface DeliveryNoteStatusChanged extends WebhookEventBase {
  event: "delivery_note.status_changed";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: it enters a state that generates the next document (generadoc of the state is set). */
export interface DeliveryNoteApproved extends WebhookEventBase {
  event: "delivery_note.approved";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface DeliveryNoteRejected extends WebhookEventBase {
  event: "delivery_note.rejected";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: it becomes editable again, for instance because the document made from it was deleted. */
export interface DeliveryNoteReopened extends WebhookEventBase {
  event: "delivery_note.reopened";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note to a customer: its date of e-mailing (femail) is set for the first time. */
export interface DeliveryNoteSent extends WebhookEventBase {
  event: "delivery_note.sent";
  key: { idalbaran: number };
  data: DeliveryNoteData;
  previous?: DeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: a row is inserted. */
export interface SupplierDeliveryNoteCreated extends WebhookEventBase {
  event: "supplier_delivery_note.created";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: a row is changed in more than noise columns. */
export interface SupplierDeliveryNoteUpdated extends WebhookEventBase {
  event: "supplier_delivery_note.updated";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierDeliveryNoteDeleted extends WebhookEventBase {
  event: "supplier_delivery_note.deleted";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierDeliveryNoteRead extends WebhookEventBase {
  event: "supplier_delivery_note.read";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierDeliveryNoteExisting extends WebhookEventBase {
  event: "supplier_delivery_note.existing";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierDeliveryNoteTruncated extends WebhookEventBase {
  event: "supplier_delivery_note.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Delivery note of a supplier: its state (idestado) is changed to another one. */
export interface SupplierDeliveryNoteStatusChanged extends WebhookEventBase {
  event: "supplier_delivery_note.status_changed";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: it enters a state that generates the next document (generadoc of the state is set). */
export interface SupplierDeliveryNoteApproved extends WebhookEventBase {
  event: "supplier_delivery_note.approved";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: it enters a state that is not editable and generates nothing: rejected, cancelled, expired, returned. */
export interface SupplierDeliveryNoteRejected extends WebhookEventBase {
  event: "supplier_delivery_note.rejected";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: it becomes editable again, for instance because the document made from it was deleted. */
export interface SupplierDeliveryNoteReopened extends WebhookEventBase {
  event: "supplier_delivery_note.reopened";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Delivery note of a supplier: its date of e-mailing (femail) is set for the first time. */
export interface SupplierDeliveryNoteSent extends WebhookEventBase {
  event: "supplier_delivery_note.sent";
  key: { idalbaran: number };
  data: SupplierDeliveryNoteData;
  previous?: SupplierDeliveryNoteData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: a row is inserted. */
export interface ReceiptCreated extends WebhookEventBase {
  event: "receipt.created";
  key: { idrecibo: number };
  data: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: a row is changed in more than noise columns. */
export interface ReceiptUpdated extends WebhookEventBase {
  event: "receipt.updated";
  key: { idrecibo: number };
  data: ReceiptData;
  previous?: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: a row is deleted, by itself or by a foreign key's cascade. */
export interface ReceiptDeleted extends WebhookEventBase {
  event: "receipt.deleted";
  key: { idrecibo: number };
  data: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface ReceiptRead extends WebhookEventBase {
  event: "receipt.read";
  key: { idrecibo: number };
  data: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface ReceiptExisting extends WebhookEventBase {
  event: "receipt.existing";
  key: { idrecibo: number };
  data: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface ReceiptTruncated extends WebhookEventBase {
  event: "receipt.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Receipt (an instalment to be paid) of a customer invoice: it is paid (pagado), or made already paid. */
export interface ReceiptPaid extends WebhookEventBase {
  event: "receipt.paid";
  key: { idrecibo: number };
  data: ReceiptData;
  previous?: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: it was paid and is not any more. */
export interface ReceiptUnpaid extends WebhookEventBase {
  event: "receipt.unpaid";
  key: { idrecibo: number };
  data: ReceiptData;
  previous?: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: it is past its due date (vencido); one that is due today is overdue at once. */
export interface ReceiptOverdue extends WebhookEventBase {
  event: "receipt.overdue";
  key: { idrecibo: number };
  data: ReceiptData;
  previous?: ReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a customer invoice: its due date (vencimiento) is so many days ahead or ago, and it is not paid; off until your rules name the days. */
export interface ReceiptDue extends WebhookEventBase {
  event: "receipt.due";
  key: { idrecibo: number };
  data: ReceiptData;
  days: number;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: a row is inserted. */
export interface SupplierReceiptCreated extends WebhookEventBase {
  event: "supplier_receipt.created";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: a row is changed in more than noise columns. */
export interface SupplierReceiptUpdated extends WebhookEventBase {
  event: "supplier_receipt.updated";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  previous?: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierReceiptDeleted extends WebhookEventBase {
  event: "supplier_receipt.deleted";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierReceiptRead extends WebhookEventBase {
  event: "supplier_receipt.read";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierReceiptExisting extends WebhookEventBase {
  event: "supplier_receipt.existing";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierReceiptTruncated extends WebhookEventBase {
  event: "supplier_receipt.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Receipt (an instalment to be paid) of a supplier invoice: it is paid (pagado), or made already paid. */
export interface SupplierReceiptPaid extends WebhookEventBase {
  event: "supplier_receipt.paid";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  previous?: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: it was paid and is not any more. */
export interface SupplierReceiptUnpaid extends WebhookEventBase {
  event: "supplier_receipt.unpaid";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  previous?: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: it is past its due date (vencido); one that is due today is overdue at once. */
export interface SupplierReceiptOverdue extends WebhookEventBase {
  event: "supplier_receipt.overdue";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  previous?: SupplierReceiptData;
  links?: { record?: string };
}

/** Receipt (an instalment to be paid) of a supplier invoice: its due date (vencimiento) is so many days ahead or ago, and it is not paid; off until your rules name the days. */
export interface SupplierReceiptDue extends WebhookEventBase {
  event: "supplier_receipt.due";
  key: { idrecibo: number };
  data: SupplierReceiptData;
  days: number;
  links?: { record?: string };
}

/** Payment of a customer receipt: a row is inserted. */
export interface PaymentCreated extends WebhookEventBase {
  event: "payment.created";
  key: { idpago: number };
  data: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a customer receipt: a row is changed in more than noise columns. */
export interface PaymentUpdated extends WebhookEventBase {
  event: "payment.updated";
  key: { idpago: number };
  data: PaymentData;
  previous?: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a customer receipt: a row is deleted, by itself or by a foreign key's cascade. */
export interface PaymentDeleted extends WebhookEventBase {
  event: "payment.deleted";
  key: { idpago: number };
  data: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a customer receipt: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface PaymentRead extends WebhookEventBase {
  event: "payment.read";
  key: { idpago: number };
  data: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a customer receipt: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface PaymentExisting extends WebhookEventBase {
  event: "payment.existing";
  key: { idpago: number };
  data: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a customer receipt: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface PaymentTruncated extends WebhookEventBase {
  event: "payment.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Payment of a customer receipt: a payment is recorded; undoing one records another with the opposite amount. */
export interface PaymentRecorded extends WebhookEventBase {
  event: "payment.recorded";
  key: { idpago: number };
  data: PaymentData;
  related: { invoice: PaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: a row is inserted. */
export interface SupplierPaymentCreated extends WebhookEventBase {
  event: "supplier_payment.created";
  key: { idpago: number };
  data: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: a row is changed in more than noise columns. */
export interface SupplierPaymentUpdated extends WebhookEventBase {
  event: "supplier_payment.updated";
  key: { idpago: number };
  data: SupplierPaymentData;
  previous?: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierPaymentDeleted extends WebhookEventBase {
  event: "supplier_payment.deleted";
  key: { idpago: number };
  data: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierPaymentRead extends WebhookEventBase {
  event: "supplier_payment.read";
  key: { idpago: number };
  data: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierPaymentExisting extends WebhookEventBase {
  event: "supplier_payment.existing";
  key: { idpago: number };
  data: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Payment of a supplier receipt: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierPaymentTruncated extends WebhookEventBase {
  event: "supplier_payment.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Payment of a supplier receipt: a payment is recorded; undoing one records another with the opposite amount. */
export interface SupplierPaymentRecorded extends WebhookEventBase {
  event: "supplier_payment.recorded";
  key: { idpago: number };
  data: SupplierPaymentData;
  related: { invoice: SupplierPaymentRelatedInvoice | null };
  links?: { record?: string };
}

/** Customer: a row is inserted. */
export interface CustomerCreated extends WebhookEventBase {
  event: "customer.created";
  key: { codcliente: string };
  data: CustomerData;
  links?: { record?: string };
}

/** Customer: a row is changed in more than noise columns. */
export interface CustomerUpdated extends WebhookEventBase {
  event: "customer.updated";
  key: { codcliente: string };
  data: CustomerData;
  previous?: CustomerData;
  links?: { record?: string };
}

/** Customer: a row is deleted, by itself or by a foreign key's cascade. */
export interface CustomerDeleted extends WebhookEventBase {
  event: "customer.deleted";
  key: { codcliente: string };
  data: CustomerData;
  links?: { record?: string };
}

/** Customer: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface CustomerRead extends WebhookEventBase {
  event: "customer.read";
  key: { codcliente: string };
  data: CustomerData;
  links?: { record?: string };
}

/** Customer: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface CustomerExisting extends WebhookEventBase {
  event: "customer.existing";
  key: { codcliente: string };
  data: CustomerData;
  links?: { record?: string };
}

/** Customer: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface CustomerTruncated extends WebhookEventBase {
  event: "customer.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Supplier: a row is inserted. */
export interface SupplierCreated extends WebhookEventBase {
  event: "supplier.created";
  key: { codproveedor: string };
  data: SupplierData;
  links?: { record?: string };
}

/** Supplier: a row is changed in more than noise columns. */
export interface SupplierUpdated extends WebhookEventBase {
  event: "supplier.updated";
  key: { codproveedor: string };
  data: SupplierData;
  previous?: SupplierData;
  links?: { record?: string };
}

/** Supplier: a row is deleted, by itself or by a foreign key's cascade. */
export interface SupplierDeleted extends WebhookEventBase {
  event: "supplier.deleted";
  key: { codproveedor: string };
  data: SupplierData;
  links?: { record?: string };
}

/** Supplier: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface SupplierRead extends WebhookEventBase {
  event: "supplier.read";
  key: { codproveedor: string };
  data: SupplierData;
  links?: { record?: string };
}

/** Supplier: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface SupplierExisting extends WebhookEventBase {
  event: "supplier.existing";
  key: { codproveedor: string };
  data: SupplierData;
  links?: { record?: string };
}

/** Supplier: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface SupplierTruncated extends WebhookEventBase {
  event: "supplier.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Contact or address: a row is inserted. */
export interface ContactCreated extends WebhookEventBase {
  event: "contact.created";
  key: { idcontacto: number };
  data: ContactData;
  links?: { record?: string };
}

/** Contact or address: a row is changed in more than noise columns. */
export interface ContactUpdated extends WebhookEventBase {
  event: "contact.updated";
  key: { idcontacto: number };
  data: ContactData;
  previous?: ContactData;
  links?: { record?: string };
}

/** Contact or address: a row is deleted, by itself or by a foreign key's cascade. */
export interface ContactDeleted extends WebhookEventBase {
  event: "contact.deleted";
  key: { idcontacto: number };
  data: ContactData;
  links?: { record?: string };
}

/** Contact or address: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface ContactRead extends WebhookEventBase {
  event: "contact.read";
  key: { idcontacto: number };
  data: ContactData;
  links?: { record?: string };
}

/** Contact or address: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface ContactExisting extends WebhookEventBase {
  event: "contact.existing";
  key: { idcontacto: number };
  data: ContactData;
  links?: { record?: string };
}

/** Contact or address: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface ContactTruncated extends WebhookEventBase {
  event: "contact.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Product: a row is inserted. */
export interface ProductCreated extends WebhookEventBase {
  event: "product.created";
  key: { idproducto: number };
  data: ProductData;
  links?: { record?: string };
}

/** Product: a row is changed in more than noise columns. */
export interface ProductUpdated extends WebhookEventBase {
  event: "product.updated";
  key: { idproducto: number };
  data: ProductData;
  previous?: ProductData;
  links?: { record?: string };
}

/** Product: a row is deleted, by itself or by a foreign key's cascade. */
export interface ProductDeleted extends WebhookEventBase {
  event: "product.deleted";
  key: { idproducto: number };
  data: ProductData;
  links?: { record?: string };
}

/** Product: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface ProductRead extends WebhookEventBase {
  event: "product.read";
  key: { idproducto: number };
  data: ProductData;
  links?: { record?: string };
}

/** Product: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface ProductExisting extends WebhookEventBase {
  event: "product.existing";
  key: { idproducto: number };
  data: ProductData;
  links?: { record?: string };
}

/** Product: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface ProductTruncated extends WebhookEventBase {
  event: "product.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Product: its sales price (precio) is changed, but not with that of a variant, which has the event then. */
export interface ProductPriceChanged extends WebhookEventBase {
  event: "product.price_changed";
  key: { idproducto: number };
  data: ProductData;
  previous?: ProductData;
  links?: { record?: string };
}

/** Variant of a product: a row is inserted. */
export interface VariantCreated extends WebhookEventBase {
  event: "variant.created";
  key: { idvariante: number };
  data: VariantData;
  links?: { record?: string };
}

/** Variant of a product: a row is changed in more than noise columns. */
export interface VariantUpdated extends WebhookEventBase {
  event: "variant.updated";
  key: { idvariante: number };
  data: VariantData;
  previous?: VariantData;
  links?: { record?: string };
}

/** Variant of a product: a row is deleted, by itself or by a foreign key's cascade. */
export interface VariantDeleted extends WebhookEventBase {
  event: "variant.deleted";
  key: { idvariante: number };
  data: VariantData;
  links?: { record?: string };
}

/** Variant of a product: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface VariantRead extends WebhookEventBase {
  event: "variant.read";
  key: { idvariante: number };
  data: VariantData;
  links?: { record?: string };
}

/** Variant of a product: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface VariantExisting extends WebhookEventBase {
  event: "variant.existing";
  key: { idvariante: number };
  data: VariantData;
  links?: { record?: string };
}

/** Variant of a product: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface VariantTruncated extends WebhookEventBase {
  event: "variant.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Variant of a product: its sales price (precio) is changed. */
export interface VariantPriceChanged extends WebhookEventBase {
  event: "variant.price_changed";
  key: { idvariante: number };
  data: VariantData;
  previous?: VariantData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: a row is inserted. */
export interface StockCreated extends WebhookEventBase {
  event: "stock.created";
  key: { idstock: number };
  data: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: a row is changed in more than noise columns. */
export interface StockUpdated extends WebhookEventBase {
  event: "stock.updated";
  key: { idstock: number };
  data: StockData;
  previous?: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: a row is deleted, by itself or by a foreign key's cascade. */
export interface StockDeleted extends WebhookEventBase {
  event: "stock.deleted";
  key: { idstock: number };
  data: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface StockRead extends WebhookEventBase {
  event: "stock.read";
  key: { idstock: number };
  data: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface StockExisting extends WebhookEventBase {
  event: "stock.existing";
  key: { idstock: number };
  data: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface StockTruncated extends WebhookEventBase {
  event: "stock.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Stock of a product in a warehouse: a quantity differs (cantidad, reservada, pterecibir, disponible), or the stock is new. */
export interface StockChanged extends WebhookEventBase {
  event: "stock.changed";
  key: { idstock: number };
  data: StockData;
  previous?: StockData;
  links?: { record?: string };
}

/** Stock of a product in a warehouse: the available quantity (disponible) comes to be below the minimum (stockmin). */
export interface StockLow extends WebhookEventBase {
  event: "stock.low";
  key: { idstock: number };
  data: StockData;
  previous?: StockData;
  links?: { record?: string };
}

/** User of FacturaScripts: a row is inserted. */
export interface UserCreated extends WebhookEventBase {
  event: "user.created";
  key: { nick: string };
  data: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: a row is changed in more than noise columns. */
export interface UserUpdated extends WebhookEventBase {
  event: "user.updated";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: a row is deleted, by itself or by a foreign key's cascade. */
export interface UserDeleted extends WebhookEventBase {
  event: "user.deleted";
  key: { nick: string };
  data: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface UserRead extends WebhookEventBase {
  event: "user.read";
  key: { nick: string };
  data: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface UserExisting extends WebhookEventBase {
  event: "user.existing";
  key: { nick: string };
  data: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface UserTruncated extends WebhookEventBase {
  event: "user.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** User of FacturaScripts: the user signs in from another address or browser than the last time. */
export interface UserLogin extends WebhookEventBase {
  event: "user.login";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  inferred: true;
  links?: { record?: string };
}

/** User of FacturaScripts: the session key is renewed without another address or browser: the user signs out, or signs in again. */
export interface UserSessionChanged extends WebhookEventBase {
  event: "user.session_changed";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  inferred: true;
  links?: { record?: string };
}

/** User of FacturaScripts: the password is changed. */
export interface UserPasswordChanged extends WebhookEventBase {
  event: "user.password_changed";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: the user may log in again. */
export interface UserEnabled extends WebhookEventBase {
  event: "user.enabled";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: the user may not log in any more. */
export interface UserDisabled extends WebhookEventBase {
  event: "user.disabled";
  key: { nick: string };
  data: UserData;
  previous?: UserData;
  links?: { record?: string };
}

/** User of FacturaScripts: the user's administrator flag, level or roles change, or what one of the user's roles allows; once a burst. */
export interface UserPermissionsChanged extends WebhookEventBase {
  event: "user.permissions_changed";
  key: { nick: string };
  data: { nick: string; changes: Array<UserDataChangesItem> };
}

/** Role: a row is inserted. */
export interface RoleCreated extends WebhookEventBase {
  event: "role.created";
  key: { codrole: string };
  data: { codrole?: string | null; descripcion?: string | null };
  links?: { record?: string };
}

/** Role: a row is changed in more than noise columns. */
export interface RoleUpdated extends WebhookEventBase {
  event: "role.updated";
  key: { codrole: string };
  data: { codrole?: string | null; descripcion?: string | null };
  previous?: { codrole?: string | null; descripcion?: string | null };
  links?: { record?: string };
}

/** Role: a row is deleted, by itself or by a foreign key's cascade. */
export interface RoleDeleted extends WebhookEventBase {
  event: "role.deleted";
  key: { codrole: string };
  data: { codrole?: string | null; descripcion?: string | null };
  links?: { record?: string };
}

/** Role: an existing row is read again after a gap in the capture; only for endpoints that write the event out. */
export interface RoleRead extends WebhookEventBase {
  event: "role.read";
  key: { codrole: string };
  data: { codrole?: string | null; descripcion?: string | null };
  links?: { record?: string };
}

/** Role: a row that was there already, sent by `cdc backfill`; only for endpoints that name the event. */
export interface RoleExisting extends WebhookEventBase {
  event: "role.existing";
  key: { codrole: string };
  data: { codrole?: string | null; descripcion?: string | null };
  links?: { record?: string };
}

/** Role: the whole table is emptied at once (TRUNCATE); key and data are empty. */
export interface RoleTruncated extends WebhookEventBase {
  event: "role.truncated";
  key: Record<string, never>;
  data: Record<string, never>;
}

/** Endpoint: an endpoint has accepted nothing for 50, 70 or 90 % of the time after which it is disabled. */
export interface EndpointFailing extends WebhookEventBase {
  event: "endpoint.failing";
  source: "cdc";
  key: { endpoint: string };
  data: EndpointData;
}

/** Endpoint: an endpoint was disabled: it answered 410 Gone, accepted nothing for too long, or its filter or transform takes too long; its deliveries wait. */
export interface EndpointDisabled extends WebhookEventBase {
  event: "endpoint.disabled";
  source: "cdc";
  key: { endpoint: string };
  data: EndpointData_;
}

/** Endpoint: an endpoint accepts deliveries again, or was enabled by hand, after `endpoint.failing`. */
export interface EndpointRecovered extends WebhookEventBase {
  event: "endpoint.recovered";
  source: "cdc";
  key: { endpoint: string };
  data: EndpointData__;
}

/** Source: a source cannot be read, or stores nothing although its database has changes. */
export interface SourceStalled extends WebhookEventBase {
  event: "source.stalled";
  source: "cdc";
  key: { source: string };
  data: SourceData;
}

/** Source: a source is read again, after `source.stalled`. */
export interface SourceResumed extends WebhookEventBase {
  event: "source.resumed";
  source: "cdc";
  key: { source: string };
  data: SourceData;
}

/** Source: a change could not be recorded, or was not in the log: the table is read again (once a table and hour). */
export interface SourceGap extends WebhookEventBase {
  event: "source.gap";
  source: "cdc";
  key: { source: string };
  data: SourceData_;
}

/** Component: a component of the program failed; it is restarted, and the others keep running. */
export interface ComponentFailed extends WebhookEventBase {
  event: "component.failed";
  source: "cdc";
  key: { component: string };
  data: ComponentData;
}

/** Component: the machine's clock was set by a minute or more, or the machine was suspended. */
export interface ComponentClockSet extends WebhookEventBase {
  event: "component.clock_set";
  source: "cdc";
  key: { component: string };
  data: ComponentData;
}

/** The payloads by the names of their events. */
export interface WebhookEvents {
  "invoice.created": InvoiceCreated;
  "invoice.updated": InvoiceUpdated;
  "invoice.deleted": InvoiceDeleted;
  "invoice.read": InvoiceRead;
  "invoice.existing": InvoiceExisting;
  "invoice.truncated": InvoiceTruncated;
  "invoice.status_changed": InvoiceStatusChanged;
  "invoice.approved": InvoiceApproved;
  "invoice.reopened": InvoiceReopened;
  "invoice.sent": InvoiceSent;
  "invoice.paid": InvoicePaid;
  "invoice.unpaid": InvoiceUnpaid;
  "invoice.overdue": InvoiceOverdue;
  "invoice.refunded": InvoiceRefunded;
  "invoice.issued": InvoiceIssued;
  "invoice.rectified": InvoiceRectified;
  "supplier_invoice.created": SupplierInvoiceCreated;
  "supplier_invoice.updated": SupplierInvoiceUpdated;
  "supplier_invoice.deleted": SupplierInvoiceDeleted;
  "supplier_invoice.read": SupplierInvoiceRead;
  "supplier_invoice.existing": SupplierInvoiceExisting;
  "supplier_invoice.truncated": SupplierInvoiceTruncated;
  "supplier_invoice.status_changed": SupplierInvoiceStatusChanged;
  "supplier_invoice.approved": SupplierInvoiceApproved;
  "supplier_invoice.reopened": SupplierInvoiceReopened;
  "supplier_invoice.sent": SupplierInvoiceSent;
  "supplier_invoice.paid": SupplierInvoicePaid;
  "supplier_invoice.unpaid": SupplierInvoiceUnpaid;
  "supplier_invoice.overdue": SupplierInvoiceOverdue;
  "supplier_invoice.refunded": SupplierInvoiceRefunded;
  "estimate.created": EstimateCreated;
  "estimate.updated": EstimateUpdated;
  "estimate.deleted": EstimateDeleted;
  "estimate.read": EstimateRead;
  "estimate.existing": EstimateExisting;
  "estimate.truncated": EstimateTruncated;
  "estimate.status_changed": EstimateStatusChanged;
  "estimate.approved": EstimateApproved;
  "estimate.rejected": EstimateRejected;
  "estimate.reopened": EstimateReopened;
  "estimate.sent": EstimateSent;
  "estimate.expiring": EstimateExpiring;
  "supplier_estimate.created": SupplierEstimateCreated;
  "supplier_estimate.updated": SupplierEstimateUpdated;
  "supplier_estimate.deleted": SupplierEstimateDeleted;
  "supplier_estimate.read": SupplierEstimateRead;
  "supplier_estimate.existing": SupplierEstimateExisting;
  "supplier_estimate.truncated": SupplierEstimateTruncated;
  "supplier_estimate.status_changed": SupplierEstimateStatusChanged;
  "supplier_estimate.approved": SupplierEstimateApproved;
  "supplier_estimate.rejected": SupplierEstimateRejected;
  "supplier_estimate.reopened": SupplierEstimateReopened;
  "supplier_estimate.sent": SupplierEstimateSent;
  "order.created": OrderCreated;
  "order.updated": OrderUpdated;
  "order.deleted": OrderDeleted;
  "order.read": OrderRead;
  "order.existing": OrderExisting;
  "order.truncated": OrderTruncated;
  "order.status_changed": OrderStatusChanged;
  "order.approved": OrderApproved;
  "order.rejected": OrderRejected;
  "order.reopened": OrderReopened;
  "order.sent": OrderSent;
  "supplier_order.created": SupplierOrderCreated;
  "supplier_order.updated": SupplierOrderUpdated;
  "supplier_order.deleted": SupplierOrderDeleted;
  "supplier_order.read": SupplierOrderRead;
  "supplier_order.existing": SupplierOrderExisting;
  "supplier_order.truncated": SupplierOrderTruncated;
  "supplier_order.status_changed": SupplierOrderStatusChanged;
  "supplier_order.approved": SupplierOrderApproved;
  "supplier_order.rejected": SupplierOrderRejected;
  "supplier_order.reopened": SupplierOrderReopened;
  "supplier_order.sent": SupplierOrderSent;
  "delivery_note.created": DeliveryNoteCreated;
  "delivery_note.updated": DeliveryNoteUpdated;
  "delivery_note.deleted": DeliveryNoteDeleted;
  "delivery_note.read": DeliveryNoteRead;
  "delivery_note.existing": DeliveryNoteExisting;
  "delivery_note.truncated": DeliveryNoteTruncated;
  "delivery_note.status_changed": DeliveryNoteStatusChanged;
  "delivery_note.approved": DeliveryNoteApproved;
  "delivery_note.rejected": DeliveryNoteRejected;
  "delivery_note.reopened": DeliveryNoteReopened;
  "delivery_note.sent": DeliveryNoteSent;
  "supplier_delivery_note.created": SupplierDeliveryNoteCreated;
  "supplier_delivery_note.updated": SupplierDeliveryNoteUpdated;
  "supplier_delivery_note.deleted": SupplierDeliveryNoteDeleted;
  "supplier_delivery_note.read": SupplierDeliveryNoteRead;
  "supplier_delivery_note.existing": SupplierDeliveryNoteExisting;
  "supplier_delivery_note.truncated": SupplierDeliveryNoteTruncated;
  "supplier_delivery_note.status_changed": SupplierDeliveryNoteStatusChanged;
  "supplier_delivery_note.approved": SupplierDeliveryNoteApproved;
  "supplier_delivery_note.rejected": SupplierDeliveryNoteRejected;
  "supplier_delivery_note.reopened": SupplierDeliveryNoteReopened;
  "supplier_delivery_note.sent": SupplierDeliveryNoteSent;
  "receipt.created": ReceiptCreated;
  "receipt.updated": ReceiptUpdated;
  "receipt.deleted": ReceiptDeleted;
  "receipt.read": ReceiptRead;
  "receipt.existing": ReceiptExisting;
  "receipt.truncated": ReceiptTruncated;
  "receipt.paid": ReceiptPaid;
  "receipt.unpaid": ReceiptUnpaid;
  "receipt.overdue": ReceiptOverdue;
  "receipt.due": ReceiptDue;
  "supplier_receipt.created": SupplierReceiptCreated;
  "supplier_receipt.updated": SupplierReceiptUpdated;
  "supplier_receipt.deleted": SupplierReceiptDeleted;
  "supplier_receipt.read": SupplierReceiptRead;
  "supplier_receipt.existing": SupplierReceiptExisting;
  "supplier_receipt.truncated": SupplierReceiptTruncated;
  "supplier_receipt.paid": SupplierReceiptPaid;
  "supplier_receipt.unpaid": SupplierReceiptUnpaid;
  "supplier_receipt.overdue": SupplierReceiptOverdue;
  "supplier_receipt.due": SupplierReceiptDue;
  "payment.created": PaymentCreated;
  "payment.updated": PaymentUpdated;
  "payment.deleted": PaymentDeleted;
  "payment.read": PaymentRead;
  "payment.existing": PaymentExisting;
  "payment.truncated": PaymentTruncated;
  "payment.recorded": PaymentRecorded;
  "supplier_payment.created": SupplierPaymentCreated;
  "supplier_payment.updated": SupplierPaymentUpdated;
  "supplier_payment.deleted": SupplierPaymentDeleted;
  "supplier_payment.read": SupplierPaymentRead;
  "supplier_payment.existing": SupplierPaymentExisting;
  "supplier_payment.truncated": SupplierPaymentTruncated;
  "supplier_payment.recorded": SupplierPaymentRecorded;
  "customer.created": CustomerCreated;
  "customer.updated": CustomerUpdated;
  "customer.deleted": CustomerDeleted;
  "customer.read": CustomerRead;
  "customer.existing": CustomerExisting;
  "customer.truncated": CustomerTruncated;
  "supplier.created": SupplierCreated;
  "supplier.updated": SupplierUpdated;
  "supplier.deleted": SupplierDeleted;
  "supplier.read": SupplierRead;
  "supplier.existing": SupplierExisting;
  "supplier.truncated": SupplierTruncated;
  "contact.created": ContactCreated;
  "contact.updated": ContactUpdated;
  "contact.deleted": ContactDeleted;
  "contact.read": ContactRead;
  "contact.existing": ContactExisting;
  "contact.truncated": ContactTruncated;
  "product.created": ProductCreated;
  "product.updated": ProductUpdated;
  "product.deleted": ProductDeleted;
  "product.read": ProductRead;
  "product.existing": ProductExisting;
  "product.truncated": ProductTruncated;
  "product.price_changed": ProductPriceChanged;
  "variant.created": VariantCreated;
  "variant.updated": VariantUpdated;
  "variant.deleted": VariantDeleted;
  "variant.read": VariantRead;
  "variant.existing": VariantExisting;
  "variant.truncated": VariantTruncated;
  "variant.price_changed": VariantPriceChanged;
  "stock.created": StockCreated;
  "stock.updated": StockUpdated;
  "stock.deleted": StockDeleted;
  "stock.read": StockRead;
  "stock.existing": StockExisting;
  "stock.truncated": StockTruncated;
  "stock.changed": StockChanged;
  "stock.low": StockLow;
  "user.created": UserCreated;
  "user.updated": UserUpdated;
  "user.deleted": UserDeleted;
  "user.read": UserRead;
  "user.existing": UserExisting;
  "user.truncated": UserTruncated;
  "user.login": UserLogin;
  "user.session_changed": UserSessionChanged;
  "user.password_changed": UserPasswordChanged;
  "user.enabled": UserEnabled;
  "user.disabled": UserDisabled;
  "user.permissions_changed": UserPermissionsChanged;
  "role.created": RoleCreated;
  "role.updated": RoleUpdated;
  "role.deleted": RoleDeleted;
  "role.read": RoleRead;
  "role.existing": RoleExisting;
  "role.truncated": RoleTruncated;
  "endpoint.failing": EndpointFailing;
  "endpoint.disabled": EndpointDisabled;
  "endpoint.recovered": EndpointRecovered;
  "source.stalled": SourceStalled;
  "source.resumed": SourceResumed;
  "source.gap": SourceGap;
  "component.failed": ComponentFailed;
  "component.clock_set": ComponentClockSet;
}

export type WebhookEventName = keyof WebhookEvents;
export type WebhookEvent = WebhookEvents[WebhookEventName];
