-- What users of the ERP do, in SQL that PostgreSQL, MariaDB and MySQL all take, and the events that each transaction must give.
-- Behind [cascade]: rows that a foreign key changed by itself, which MariaDB's binlog does not hold.
-- The statements follow the ERP's habits: every column saved, no-op updates, totals written by the last update of a transaction.

-- ## new customer: three transactions
BEGIN;
INSERT INTO clientes (cifnif, codcliente, nombre, razonsocial, personafisica, debaja, riesgoalcanzado) VALUES ('B12345678', 'C1', 'O&#39;Brien &amp; Sons', 'O&#39;Brien &amp; Sons SL', FALSE, FALSE, 0);
COMMIT;
BEGIN;
INSERT INTO contactos (codcliente, nombre, ciudad, codpais, idcontacto) VALUES ('C1', 'O&#39;Brien', 'Sevilla', 'ESP', 1);
COMMIT;
BEGIN;
UPDATE clientes SET idcontactofact = 1 WHERE codcliente = 'C1';
COMMIT;
-- => customer.created
-- => contact.created

-- ## saved without changes
BEGIN;
UPDATE clientes SET nombre = 'O&#39;Brien &amp; Sons', razonsocial = 'O&#39;Brien &amp; Sons SL', debaja = FALSE WHERE codcliente = 'C1';
COMMIT;

-- ## only upper and lower case differ
BEGIN;
UPDATE clientes SET nombre = 'O&#39;BRIEN &amp; Sons' WHERE codcliente = 'C1';
COMMIT;
-- => customer.updated(nombre)

-- ## only an accent and a trailing space differ
BEGIN;
UPDATE contactos SET ciudad = 'Sévilla', direccion = 'Calle 1 ' WHERE idcontacto = 1;
COMMIT;
BEGIN;
UPDATE contactos SET direccion = 'Calle 1' WHERE idcontacto = 1;
COMMIT;
-- => contact.updated(ciudad,direccion)
-- => contact.updated(direccion)

-- ## empty text and null are not the same
BEGIN;
UPDATE clientes SET observaciones = '' WHERE codcliente = 'C1';
COMMIT;
BEGIN;
UPDATE clientes SET observaciones = NULL WHERE codcliente = 'C1';
COMMIT;
-- => customer.updated(observaciones)
-- => customer.updated(observaciones)

-- ## text of every kind
BEGIN;
UPDATE clientes SET observaciones = 'tab	 "quotes" back/slash, ¿ñ€? 😀 line
break', telefono1 = '+34 600' WHERE codcliente = 'C1';
COMMIT;
-- => customer.updated(observaciones,telefono1)

-- ## product with a variant and stock, two transactions
BEGIN;
INSERT INTO familias (codfamilia, descripcion) VALUES ('F1', 'Sillas');
INSERT INTO productos (idproducto, referencia, descripcion, precio, codfamilia, fechaalta, actualizado) VALUES (10, 'P-1', 'Silla', 20.5, 'F1', '2026-11-24', '2026-11-24 10:00:00');
INSERT INTO variantes (idvariante, idproducto, referencia, precio, coste) VALUES (11, 10, 'P-1', 20.5, 0.1);
COMMIT;
BEGIN;
INSERT INTO stocks (idstock, idproducto, referencia, codalmacen, cantidad, disponible) VALUES (1, 10, 'P-1', 'ALG', 3, 3);
UPDATE productos SET stockfis = 3, actualizado = '2026-11-24 10:00:01' WHERE idproducto = 10;
UPDATE variantes SET stockfis = 3 WHERE idvariante = 11;
COMMIT;
-- => product.created ; variant.created
-- => stock.created ; stock.changed

-- ## price change
BEGIN;
UPDATE variantes SET precio = 22 WHERE idvariante = 11;
UPDATE productos SET precio = 22, actualizado = '2026-11-24 10:00:02' WHERE idproducto = 10;
COMMIT;
-- => variant.updated(precio) ; variant.price_changed ; product.updated(precio)

-- ## stock movements; a limit is not a movement, but one that is raised above what there is makes the stock low
BEGIN;
UPDATE stocks SET cantidad = 1e16, disponible = 0.30000000000000004 WHERE idstock = 1;
COMMIT;
BEGIN;
UPDATE stocks SET stockmin = 2 WHERE idstock = 1;
COMMIT;
-- => stock.updated(cantidad,disponible) ; stock.changed
-- => stock.updated(stockmin) ; stock.low

-- ## new invoice in one transaction: the totals come last
BEGIN;
INSERT INTO facturascli (idfactura, cifnif, codcliente, nombrecliente, coddivisa, codejercicio, codigo, codpago, codserie, fecha, hora, numero, idempresa, codalmacen, idestado, editable, pagada, vencida, total) VALUES (1, 'B12345678', 'C1', 'O&#39;Brien', 'EUR', '2026', 'FAC2026A1', 'CONT', 'A', '2026-11-24', '09:05:00', '1', 1, 'ALG', 10, TRUE, FALSE, FALSE, 0);
INSERT INTO lineasfacturascli (idlinea, idfactura, cantidad, iva, pvpsindto, pvptotal, pvpunitario, recargo) VALUES (1, 1, 2, 21, 50, 50, 25, 0);
INSERT INTO lineasfacturascli (idlinea, idfactura, cantidad, iva, pvpsindto, pvptotal, pvpunitario, recargo) VALUES (2, 1, 1, 21, 50, 50, 50, 0);
INSERT INTO recibospagoscli (idrecibo, codcliente, fecha, idempresa, idfactura, importe, pagado, vencido, vencimiento) VALUES (1, 'C1', '2026-11-24', 1, 1, 121, FALSE, FALSE, '2026-12-24');
UPDATE facturascli SET neto = 100, totaliva = 21, total = 121 WHERE idfactura = 1;
COMMIT;
-- => invoice.created ; receipt.created

-- ## edited twice in one transaction, back to what it was
BEGIN;
UPDATE facturascli SET observaciones = 'x' WHERE idfactura = 1;
UPDATE facturascli SET observaciones = NULL WHERE idfactura = 1;
COMMIT;

-- ## issued and sent
BEGIN;
UPDATE facturascli SET idestado = 11, idestado_ant = 10, editable = FALSE WHERE idfactura = 1;
COMMIT;
BEGIN;
UPDATE facturascli SET femail = '2026-11-24' WHERE idfactura = 1;
COMMIT;
-- => invoice.updated(editable,idestado,idestado_ant) ; invoice.status_changed ; invoice.approved ; invoice.issued
-- => invoice.updated(femail) ; invoice.sent

-- ## overdue by cron
BEGIN;
UPDATE recibospagoscli SET vencido = TRUE WHERE idrecibo = 1;
UPDATE facturascli SET vencida = TRUE WHERE idfactura = 1;
COMMIT;
-- => receipt.updated(vencido) ; receipt.overdue ; invoice.updated(vencida) ; invoice.overdue

-- ## receipt paid: separate transactions
BEGIN;
INSERT INTO pagoscli (idpago, fecha, hora, idrecibo, importe) VALUES (1, '2026-11-24', '23:59:59', 1, 121);
COMMIT;
BEGIN;
UPDATE recibospagoscli SET pagado = TRUE, vencido = FALSE, fechapago = '2026-11-24' WHERE idrecibo = 1;
COMMIT;
BEGIN;
UPDATE facturascli SET pagada = TRUE, vencida = FALSE WHERE idfactura = 1;
COMMIT;
BEGIN;
UPDATE clientes SET riesgoalcanzado = 0 WHERE codcliente = 'C1';
COMMIT;
-- => payment.created ; payment.recorded
-- => receipt.updated(fechapago,pagado,vencido) ; receipt.paid
-- => invoice.updated(pagada,vencida) ; invoice.paid

-- ## receipt unpaid
BEGIN;
INSERT INTO pagoscli (idpago, fecha, idrecibo, importe) VALUES (2, '2026-11-25', 1, -121);
UPDATE recibospagoscli SET pagado = FALSE, fechapago = NULL WHERE idrecibo = 1;
UPDATE facturascli SET pagada = FALSE WHERE idfactura = 1;
COMMIT;
-- => payment.created ; payment.recorded ; receipt.updated(fechapago,pagado) ; receipt.unpaid ; invoice.updated(pagada) ; invoice.unpaid

-- ## receipt inserted already paid
BEGIN;
INSERT INTO recibospagoscli (idrecibo, codcliente, fecha, idempresa, idfactura, importe, pagado) VALUES (2, 'C1', '2026-11-24', 1, 1, 0, TRUE);
COMMIT;
-- => receipt.created ; receipt.paid

-- ## refund
BEGIN;
INSERT INTO facturascli (idfactura, cifnif, codcliente, nombrecliente, coddivisa, codejercicio, codigo, codpago, codserie, fecha, numero, idempresa, idestado, editable, total, idfacturarect, codigorect) VALUES (2, 'B12345678', 'C1', 'O&#39;Brien', 'EUR', '2026', 'FAC2026R1', 'CONT', 'R', '2026-11-24', '1', 1, 10, TRUE, -121, 1, 'FAC2026A1');
COMMIT;
-- => invoice.created ; invoice.refunded

-- ## estimate approved: it makes an order, the parent last
BEGIN;
INSERT INTO presupuestoscli (idpresupuesto, cifnif, codcliente, nombrecliente, coddivisa, codejercicio, codigo, codpago, codserie, fecha, numero, idempresa, idestado, editable) VALUES (1, 'B12345678', 'C1', 'O&#39;Brien', 'EUR', '2026', 'PRE1', 'CONT', 'A', '2026-11-24', '1', 1, 1, TRUE);
COMMIT;
BEGIN;
INSERT INTO pedidoscli (idpedido, cifnif, codcliente, nombrecliente, coddivisa, codejercicio, codigo, codpago, codserie, fecha, numero, idempresa, idestado, editable) VALUES (1, 'B12345678', 'C1', 'O&#39;Brien', 'EUR', '2026', 'PED1', 'CONT', 'A', '2026-11-24', '1', 1, 4, TRUE);
UPDATE presupuestoscli SET idestado = 2, idestado_ant = 1, editable = FALSE WHERE idpresupuesto = 1;
COMMIT;
-- => estimate.created
-- => order.created ; estimate.updated(editable,idestado,idestado_ant) ; estimate.status_changed ; estimate.approved

-- ## the order is deleted: the estimate reopens, and is then refused
BEGIN;
DELETE FROM pedidoscli WHERE idpedido = 1;
UPDATE presupuestoscli SET idestado = 1, idestado_ant = 2, editable = TRUE WHERE idpresupuesto = 1;
COMMIT;
BEGIN;
UPDATE presupuestoscli SET idestado = 3, idestado_ant = 1, editable = FALSE WHERE idpresupuesto = 1;
COMMIT;
-- => order.deleted ; estimate.updated(editable,idestado,idestado_ant) ; estimate.status_changed ; estimate.reopened
-- => estimate.updated(editable,idestado,idestado_ant) ; estimate.status_changed ; estimate.rejected

-- ## a state that a user added counts like the others
INSERT INTO estados_documentos (idestado, nombre, tipodoc, editable, generadoc, activo, bloquear, predeterminado, actualizastock) VALUES (900, 'A pedido', 'PresupuestoCliente', FALSE, 'PedidoCliente', TRUE, FALSE, FALSE, 0);
BEGIN;
INSERT INTO presupuestoscli (idpresupuesto, cifnif, codcliente, nombrecliente, coddivisa, codejercicio, codigo, codpago, codserie, fecha, numero, idempresa, idestado, editable) VALUES (2, 'B12345678', 'C1', 'O&#39;Brien', 'EUR', '2026', 'PRE2', 'CONT', 'A', '2026-11-24', '2', 1, 900, FALSE);
COMMIT;
-- => estimate.created ; estimate.approved

-- ## inserted and deleted in one transaction leaves no trace; deleted and inserted again is an update
BEGIN;
INSERT INTO contactos (idcontacto, nombre) VALUES (50, 'nadie');
DELETE FROM contactos WHERE idcontacto = 50;
COMMIT;
BEGIN;
INSERT INTO contactos (idcontacto, nombre) VALUES (51, 'uno');
COMMIT;
BEGIN;
DELETE FROM contactos WHERE idcontacto = 51;
INSERT INTO contactos (idcontacto, nombre) VALUES (51, 'dos');
COMMIT;
-- => contact.created
-- => contact.updated(nombre)

-- ## rolled back, wholly and to a savepoint
BEGIN;
UPDATE clientes SET nombre = 'never' WHERE codcliente = 'C1';
ROLLBACK;
BEGIN;
UPDATE clientes SET telefono2 = '1' WHERE codcliente = 'C1';
SAVEPOINT s;
UPDATE clientes SET nombre = 'never' WHERE codcliente = 'C1';
INSERT INTO contactos (idcontacto, nombre) VALUES (52, 'never');
ROLLBACK TO SAVEPOINT s;
UPDATE clientes SET web = 'example.com' WHERE codcliente = 'C1';
COMMIT;
-- => customer.updated(telefono2,web)

-- ## upsert of an import: the second row exists already
BEGIN;
INSERT INTO contactos (idcontacto, nombre) VALUES (53, 'a'), (54, 'b');
UPDATE contactos SET nombre = 'c' WHERE idcontacto IN (53, 54);
COMMIT;
-- => contact.created ; contact.created

-- ## user: created, logs in, is active, logs out, changes the password, is disabled
BEGIN;
INSERT INTO users (nick, password, enabled, admin, level, logkey) VALUES ('pepe', 'hash-SECRET-1', TRUE, FALSE, 2, NULL);
COMMIT;
BEGIN;
UPDATE users SET logkey = 'key-SECRET-1', lastactivity = '2026-11-24 10:00:00', lastip = '10.1.2.3', lastbrowser = 'Firefox' WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET lastactivity = '2026-11-24 11:00:00' WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET logkey = 'key-SECRET-2', lastactivity = '2026-11-24 11:00:01' WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET logkey = 'key-SECRET-3', lastactivity = '2026-11-24 11:00:02' WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET logkey = 'key-SECRET-4', password = 'hash-SECRET-2' WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET enabled = FALSE WHERE nick = 'pepe';
COMMIT;
BEGIN;
UPDATE users SET enabled = TRUE, level = 5 WHERE nick = 'pepe';
COMMIT;
-- => user.created
-- => user.login
-- => user.session_changed
-- => user.session_changed
-- => user.password_changed
-- => user.updated(enabled) ; user.disabled
-- => user.updated(enabled,level) ; user.enabled ; user.permissions_changed

-- ## permissions through a role
BEGIN;
INSERT INTO roles (codrole, descripcion) VALUES ('ventas', 'Ventas');
INSERT INTO roles_access (id, codrole, pagename) VALUES (900, 'ventas', 'ListCliente');
COMMIT;
BEGIN;
INSERT INTO roles_users (id, codrole, nick) VALUES (900, 'ventas', 'pepe');
COMMIT;
BEGIN;
UPDATE roles_access SET allowdelete = FALSE WHERE id = 900;
COMMIT;
BEGIN;
DELETE FROM roles WHERE codrole = 'ventas';
COMMIT;
-- => role.created
-- => user.permissions_changed
-- => user.permissions_changed
-- => role.deleted ; [cascade] user.permissions_changed

-- ## cascade: a family renamed and deleted re-keys and nulls its products
BEGIN;
UPDATE familias SET codfamilia = 'F2' WHERE codfamilia = 'F1';
COMMIT;
BEGIN;
DELETE FROM familias WHERE codfamilia = 'F2';
COMMIT;
-- => [cascade] product.updated(codfamilia)
-- => [cascade] product.updated(codfamilia)

-- ## cascade: a customer's code is renamed
BEGIN;
UPDATE clientes SET codcliente = 'C9' WHERE codcliente = 'C1';
COMMIT;
-- => customer.updated(codcliente) ; [cascade] contact.updated(codcliente) ; invoice.updated(codcliente) ; invoice.updated(codcliente) ; estimate.updated(codcliente) ; estimate.updated(codcliente) ; receipt.updated(codcliente) ; receipt.updated(codcliente)

-- ## cascade: a variant's reference is renamed, the stock follows
BEGIN;
UPDATE variantes SET referencia = 'P-2' WHERE idvariante = 11;
COMMIT;
-- => variant.updated(referencia) ; [cascade] stock.updated(referencia)

-- ## cascade: a product deletes its variants, and its stock by two paths
BEGIN;
DELETE FROM productos WHERE idproducto = 10;
COMMIT;
-- => product.deleted ; [cascade] variant.deleted ; stock.deleted

-- ## cascade: an invoice's receipts and their payments
BEGIN;
DELETE FROM facturascli WHERE idfactura = 2;
DELETE FROM facturascli WHERE idfactura = 1;
COMMIT;
-- => invoice.deleted ; invoice.deleted ; [cascade] receipt.deleted ; receipt.deleted ; payment.deleted ; payment.deleted

-- ## a deletion that a foreign key refuses leaves no trace
BEGIN;
DELETE FROM clientes WHERE codcliente = 'C9';
ROLLBACK;

-- ## cascade: the customer goes, its contact stays
BEGIN;
DELETE FROM presupuestoscli WHERE codcliente = 'C9';
DELETE FROM clientes WHERE codcliente = 'C9';
COMMIT;
-- => customer.deleted ; estimate.deleted ; estimate.deleted ; [cascade] contact.updated(codcliente)

-- ## a code used again is a new record
BEGIN;
INSERT INTO clientes (cifnif, codcliente, nombre) VALUES ('A1', 'C9', 'Otro');
COMMIT;
BEGIN;
DELETE FROM clientes WHERE codcliente = 'C9';
COMMIT;
-- => customer.created
-- => customer.deleted

-- ## the user goes
BEGIN;
DELETE FROM users WHERE nick = 'pepe';
COMMIT;
-- => user.deleted
