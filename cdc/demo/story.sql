-- What the demo plays: a chapter a heading, a transaction a paragraph, and the events that each transaction must give.

-- ## A new customer, with the text escaped as FacturaScripts stores it
INSERT INTO clientes (codcliente, nombre, razonsocial, cifnif, personafisica) VALUES ('1', 'O&#39;Brien &amp; Sons', 'O&#39;Brien &amp; Sons SL', 'B12345678', false);
-- => customer.created

INSERT INTO contactos (idcontacto, codcliente, nombre, ciudad, codpais) VALUES (1, '1', 'O&#39;Brien &amp; Sons', 'Sevilla', 'ESP');
-- => contact.created

UPDATE clientes SET idcontactofact = 1 WHERE codcliente = '1';

-- ## An invoice, its line and two receipts in one transaction; totals come last
INSERT INTO facturascli (idfactura, codigo, numero, codserie, codejercicio, codcliente, nombrecliente, cifnif, coddivisa, codpago, codalmacen, idempresa, fecha, hora, idestado, editable, total) VALUES (1, 'FAC2026A1', '1', 'A', '2026', '1', 'O&#39;Brien &amp; Sons SL', 'B12345678', 'EUR', '30D', 'ALG', 1, '2026-11-24', '10:15:00', 10, true, 0);
INSERT INTO lineasfacturascli (idlinea, idfactura, descripcion, cantidad, pvpunitario, pvpsindto, pvptotal, iva, recargo) VALUES (1, 1, 'Silla', 2, 50, 100, 100, 21, 0);
INSERT INTO recibospagoscli (idrecibo, idfactura, codigofactura, numero, codcliente, idempresa, fecha, vencimiento, importe, codpago) VALUES (1, 1, 'FAC2026A1', 1, '1', 1, '2026-11-24', '2026-12-24', 60.5, '30D');
INSERT INTO recibospagoscli (idrecibo, idfactura, codigofactura, numero, codcliente, idempresa, fecha, vencimiento, importe, codpago) VALUES (2, 1, 'FAC2026A1', 2, '1', 1, '2026-11-24', '2027-01-24', 60.5, '30D');
UPDATE facturascli SET neto = 100, totaliva = 21, total = 121 WHERE idfactura = 1;
-- => invoice.created receipt.created receipt.created

-- ## The invoice is issued
UPDATE facturascli SET idestado = 11, idestado_ant = 10, editable = false WHERE idfactura = 1;
-- => invoice.updated invoice.status_changed invoice.approved invoice.issued

-- ## The first half is paid; the receiver answers 503 once and gets it again
INSERT INTO pagoscli (idpago, idrecibo, fecha, hora, importe, codpago) VALUES (1, 1, '2026-11-30', '09:00:00', 60.5, '30D');
-- => payment.created payment.recorded

UPDATE recibospagoscli SET pagado = true, fechapago = '2026-11-30' WHERE idrecibo = 1;
-- => receipt.updated receipt.paid

-- ## The second half: now the invoice is paid
INSERT INTO pagoscli (idpago, idrecibo, fecha, hora, importe, codpago) VALUES (2, 2, '2026-12-02', '09:00:00', 60.5, '30D');
-- => payment.created payment.recorded

UPDATE recibospagoscli SET pagado = true, fechapago = '2026-12-02' WHERE idrecibo = 2;
-- => receipt.updated receipt.paid

UPDATE facturascli SET pagada = true WHERE idfactura = 1;
-- => invoice.updated invoice.paid

-- ## Saved again with nothing changed: no event
UPDATE facturascli SET pagada = true, total = 121 WHERE idfactura = 1;

-- ## The goods come back: a refund
INSERT INTO facturascli (idfactura, codigo, numero, codserie, codejercicio, codcliente, nombrecliente, cifnif, coddivisa, codpago, codalmacen, idempresa, fecha, hora, idestado, editable, total, idfacturarect, codigorect) VALUES (2, 'FAC2026R1', '1', 'R', '2026', '1', 'O&#39;Brien &amp; Sons SL', 'B12345678', 'EUR', '30D', 'ALG', 1, '2026-12-10', '12:00:00', 10, true, -121, 1, 'FAC2026A1');
-- => invoice.created invoice.refunded

-- ## The refund is issued
UPDATE facturascli SET idestado = 11, idestado_ant = 10, editable = false WHERE idfactura = 2;
-- => invoice.updated invoice.status_changed invoice.approved invoice.issued invoice.rectified
