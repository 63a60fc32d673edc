-- What a FacturaScripts database holds before its first document: one company, its warehouse, series, payment methods,
-- currency, taxes, fiscal year, a role and an administrator (whose password no one knows), and the default document states.

INSERT INTO empresas (idempresa, nombre, nombrecorto, cifnif, codpais, fechaalta, personafisica, regimeniva)
VALUES (1, 'Industrias Ejemplo SL', 'Ejemplo', 'B00000000', 'ESP', '2026-01-01', false, 'General');

INSERT INTO almacenes (codalmacen, nombre, idempresa, codpais, activo) VALUES ('ALG', 'Almacén general', 1, 'ESP', true);

INSERT INTO divisas (coddivisa, codiso, descripcion, simbolo, tasaconv, tasaconvcompra)
VALUES ('EUR', '978', 'Euros', '€', 1, 1), ('USD', '840', 'Dólares estadounidenses', '$', 1.129, 1.129);

INSERT INTO ejercicios (codejercicio, nombre, estado, fechainicio, fechafin, idempresa, longsubcuenta)
VALUES ('2026', '2026', 'ABIERTO', '2026-01-01', '2026-12-31', 1, 10);

INSERT INTO series (codserie, descripcion, siniva, tipo)
VALUES ('A', 'General', false, NULL), ('R', 'Rectificativas', false, 'R'), ('S', 'Simplificadas', false, 'S');

INSERT INTO formaspago (codpago, descripcion, activa, domiciliado, idempresa, imprimir, pagado, plazovencimiento, tipovencimiento)
VALUES
    ('CONT', 'Al contado', true, false, 1, true, false, 0, 'days'),
    ('30D', 'A 30 días', true, false, 1, true, false, 30, 'days'),
    ('TARJETA', 'Tarjeta, ya pagado', true, false, 1, true, true, 0, 'days');

INSERT INTO impuestos (codimpuesto, descripcion, tipo, iva, recargo)
VALUES ('IVA21', 'IVA 21%', 1, 21, 5.2), ('IVA10', 'IVA 10%', 1, 10, 1.4), ('IVA0', 'IVA 0%', 1, 0, 0);

INSERT INTO subcuentas (idsubcuenta, idcuenta, codsubcuenta, codcuenta, codejercicio, descripcion, debe, haber, saldo)
VALUES
    (1, 1, '4300000000', '430', '2026', 'Clientes', 0, 0, 0),
    (2, 2, '4000000000', '400', '2026', 'Proveedores', 0, 0, 0),
    (3, 3, '7000000000', '700', '2026', 'Ventas', 0, 0, 0),
    (4, 4, '4770000021', '477', '2026', 'IVA repercutido', 0, 0, 0),
    (5, 5, '5700000000', '570', '2026', 'Caja', 0, 0, 0);

INSERT INTO pages (name, title, menu, ordernum, showonmenu)
VALUES
    ('ListFacturaCliente', 'invoices', 'sales', 100, true),
    ('EditFacturaCliente', 'invoice', 'sales', 100, false),
    ('ListCliente', 'customers', 'sales', 100, true),
    ('Wizard', 'wizard', 'admin', 100, false);

INSERT INTO roles (codrole, descripcion) VALUES ('employee', 'Empleado');

INSERT INTO users (nick, password, email, admin, enabled, level, codalmacen, idempresa, homepage, langcode, creationdate)
VALUES ('admin', '*', 'admin@example.com', true, true, 99, 'ALG', 1, 'Wizard', 'es_ES', '2026-01-01');

INSERT INTO estados_documentos
    (idestado, tipodoc, nombre, editable, generadoc, actualizastock, predeterminado, bloquear, icon)
VALUES
    (1, 'PresupuestoCliente', 'Abierto', true, NULL, 0, true, true, NULL),
    (2, 'PresupuestoCliente', 'Pedido', false, 'PedidoCliente', 0, false, true, NULL),
    (3, 'PresupuestoCliente', 'Rechazado', false, NULL, 0, false, true, NULL),
    (4, 'PedidoCliente', 'Abierto', true, NULL, -2, true, true, NULL),
    (5, 'PedidoCliente', 'Albarán', false, 'AlbaranCliente', 0, false, true, NULL),
    (6, 'PedidoCliente', 'Cancelado', false, NULL, 0, false, true, NULL),
    (7, 'AlbaranCliente', 'Abierto', true, NULL, -1, true, true, NULL),
    (8, 'AlbaranCliente', 'Facturar', false, 'FacturaCliente', 0, false, true, NULL),
    (9, 'AlbaranCliente', 'Devuelto', false, NULL, 0, false, true, NULL),
    (10, 'FacturaCliente', 'Boceto', true, NULL, -1, true, true, NULL),
    (11, 'FacturaCliente', 'Emitida', false, NULL, -1, false, true, NULL),
    (12, 'PresupuestoProveedor', 'Abierto', true, NULL, 0, true, true, NULL),
    (13, 'PresupuestoProveedor', 'Pedido', false, 'PedidoProveedor', 0, false, true, NULL),
    (14, 'PresupuestoProveedor', 'Cancelado', false, NULL, 0, false, true, NULL),
    (15, 'PedidoProveedor', 'Abierto', true, NULL, 2, true, true, NULL),
    (16, 'PedidoProveedor', 'Albarán', false, 'AlbaranProveedor', 0, false, true, NULL),
    (17, 'PedidoProveedor', 'Cancelado', false, NULL, 0, false, true, NULL),
    (18, 'AlbaranProveedor', 'Abierto', true, NULL, 1, true, true, NULL),
    (19, 'AlbaranProveedor', 'Facturar', false, 'FacturaProveedor', 0, false, true, NULL),
    (20, 'AlbaranProveedor', 'Devuelto', false, NULL, 0, false, true, NULL),
    (21, 'FacturaProveedor', 'Boceto', true, NULL, 1, true, true, NULL),
    (22, 'FacturaProveedor', 'Recibida', false, NULL, 1, false, true, NULL),
    (23, 'PresupuestoCliente', 'Caducado', false, NULL, 0, false, true, 'fa-solid fa-hourglass-end'),
    (24, 'PresupuestoCliente', 'Facturar', false, 'FacturaCliente', 0, false, true, NULL),
    (25, 'PedidoCliente', 'Facturar', false, 'FacturaCliente', 0, false, true, NULL),
    (26, 'PresupuestoProveedor', 'Facturar', false, 'FacturaProveedor', 0, false, true, NULL),
    (27, 'PedidoProveedor', 'Facturar', false, 'FacturaProveedor', 0, false, true, NULL);
