-- FacturaScripts' tables as far as its documents, partners, stock, accounting and users need them: names, types,
-- nullability, defaults, keys and foreign keys as FacturaScripts itself creates them (columns in its order).
-- One notation for all engines: `schema.py` reads it, `cdc.demo.server` renders it.  `serial` is an auto-increment
-- integer; `timestamp` has no zone.  Left out: indexes that serve only FacturaScripts' own queries, and foreign keys to
-- tables that are not here.

CREATE TABLE agenciastrans (
    activo boolean NOT NULL DEFAULT true, codtrans varchar(8) NOT NULL, nombre varchar(100) NOT NULL,
    telefono varchar(30), web varchar(100),
    PRIMARY KEY (codtrans)
);

CREATE TABLE fabricantes (
    codfabricante varchar(8) NOT NULL, nombre varchar(100) NOT NULL, numproductos integer NOT NULL DEFAULT 0,
    PRIMARY KEY (codfabricante)
);

CREATE TABLE familias (
    codfamilia varchar(8) NOT NULL, codsubcuentacom varchar(15), codsubcuentairpfcom varchar(15),
    codsubcuentaven varchar(15), descripcion varchar(100) NOT NULL, madre varchar(8),
    numproductos integer NOT NULL DEFAULT 0, idattachedfile integer,
    PRIMARY KEY (codfamilia)
);

CREATE TABLE impuestos (
    activo boolean DEFAULT true, codimpuesto varchar(10) NOT NULL, codsubcuentarep varchar(15),
    codsubcuentarepintra varchar(15), codsubcuentarepre varchar(15), codsubcuentasop varchar(15),
    codsubcuentasopintra varchar(15), codsubcuentasopre varchar(15), descripcion varchar(50), operacion varchar(20),
    tipo integer DEFAULT 1, iva double precision NOT NULL, recargo double precision NOT NULL,
    PRIMARY KEY (codimpuesto)
);

CREATE TABLE productos (
    actualizado timestamp, bloqueado boolean DEFAULT false, codfabricante varchar(8), codfamilia varchar(8),
    codimpuesto varchar(10), codsubcuentacom varchar(15), codsubcuentairpfcom varchar(15),
    codsubcuentaven varchar(15), descripcion text, excepcioniva varchar(20), fechaalta date, idproducto serial,
    nostock boolean DEFAULT false, observaciones text, precio double precision DEFAULT 0,
    publico boolean DEFAULT false, referencia varchar(30) NOT NULL, secompra boolean DEFAULT true,
    sevende boolean DEFAULT true, stockfis double precision DEFAULT 0, tipo varchar(50),
    ventasinstock boolean DEFAULT false,
    PRIMARY KEY (idproducto),
    CONSTRAINT uniq_productos_referencia UNIQUE (referencia),
    CONSTRAINT ca_productos_fabricantes FOREIGN KEY (codfabricante)
        REFERENCES fabricantes (codfabricante) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_productos_familias FOREIGN KEY (codfamilia)
        REFERENCES familias (codfamilia) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_productos_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE agentes (
    cargo varchar(100), cifnif varchar(30), codagente varchar(10) NOT NULL, debaja boolean DEFAULT false,
    email varchar(100), fechaalta date, fechabaja date, idcontacto integer, idproducto integer,
    nombre varchar(100) NOT NULL, observaciones text, telefono1 varchar(30), telefono2 varchar(30),
    tipoidfiscal varchar(25),
    PRIMARY KEY (codagente),
    CONSTRAINT ca_agentes_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE empresas (
    administrador varchar(100), apartado varchar(10), cifnif varchar(30), ciudad varchar(100), codpais varchar(20),
    codpostal varchar(10), direccion varchar(200), email varchar(100), fax varchar(30), fechaalta date,
    idempresa serial, idlogo integer, nombre varchar(100) NOT NULL, nombrecorto varchar(32), observaciones text,
    personafisica boolean DEFAULT false, provincia varchar(100), regimeniva varchar(50), telefono1 varchar(30),
    telefono2 varchar(30), tipoidfiscal varchar(25), web varchar(100),
    PRIMARY KEY (idempresa)
);

CREATE TABLE almacenes (
    activo boolean DEFAULT true, apartado varchar(10), ciudad varchar(100), codalmacen varchar(4) NOT NULL,
    codpais varchar(20), codpostal varchar(10), direccion varchar(200), idempresa integer,
    nombre varchar(100) NOT NULL, provincia varchar(100), telefono varchar(30),
    PRIMARY KEY (codalmacen),
    CONSTRAINT ca_almacenes_empresas FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE formaspago (
    activa boolean DEFAULT true, codcuentabanco varchar(10), codpago varchar(10) NOT NULL,
    descripcion varchar(100) NOT NULL, domiciliado boolean, idempresa integer, imprimir boolean DEFAULT true,
    pagado boolean DEFAULT false, plazovencimiento integer, tipovencimiento varchar(10),
    PRIMARY KEY (codpago),
    CONSTRAINT ca_formaspago_empresas FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE tarifas (
    aplicar varchar(12), codtarifa varchar(6) NOT NULL, maxpvp boolean DEFAULT false, mincoste boolean DEFAULT false,
    nombre varchar(50) NOT NULL, valorx double precision, valory double precision,
    PRIMARY KEY (codtarifa)
);

CREATE TABLE gruposclientes (
    codgrupo varchar(6) NOT NULL, codsubcuenta varchar(15), codtarifa varchar(6), nombre varchar(100) NOT NULL,
    PRIMARY KEY (codgrupo),
    CONSTRAINT ca_gruposclientes_tarifas FOREIGN KEY (codtarifa)
        REFERENCES tarifas (codtarifa) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE retenciones (
    activa boolean DEFAULT true, codretencion varchar(10) NOT NULL, codsubcuentaret varchar(15),
    codsubcuentaacr varchar(15), descripcion varchar(50), porcentaje double precision NOT NULL,
    PRIMARY KEY (codretencion)
);

CREATE TABLE diarios (
    descripcion varchar(100) NOT NULL, iddiario integer NOT NULL,
    PRIMARY KEY (iddiario)
);

CREATE TABLE series (
    canal integer, codserie varchar(4) NOT NULL, descripcion varchar(100), iddiario integer,
    siniva boolean NOT NULL DEFAULT false, tipo varchar(4),
    PRIMARY KEY (codserie),
    CONSTRAINT ca_series_diarios FOREIGN KEY (iddiario)
        REFERENCES diarios (iddiario) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE clientes (
    cifnif varchar(30) NOT NULL, codagente varchar(10), codcliente varchar(10) NOT NULL, codgrupo varchar(6),
    codpago varchar(10), codproveedor varchar(10), codretencion varchar(10), codserie varchar(4),
    codsubcuenta varchar(15), codtarifa varchar(6), debaja boolean DEFAULT false, diaspago varchar(10),
    excepcioniva varchar(20), email varchar(100), fax varchar(30), fechaalta date, fechabaja date,
    idcontactoenv integer, idcontactofact integer, langcode varchar(10), nombre varchar(100) NOT NULL,
    observaciones text, operacion varchar(30), personafisica boolean DEFAULT true, razonsocial varchar(100),
    regimeniva varchar(50), riesgoalcanzado double precision, riesgomax double precision, telefono1 varchar(30),
    telefono2 varchar(30), tipoidfiscal varchar(25), web varchar(100),
    PRIMARY KEY (codcliente),
    CONSTRAINT ca_clientes_agentes FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_clientes_formaspago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_clientes_grupos FOREIGN KEY (codgrupo)
        REFERENCES gruposclientes (codgrupo) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_clientes_retenciones FOREIGN KEY (codretencion)
        REFERENCES retenciones (codretencion) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_clientes_series FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_clientes_tarifas FOREIGN KEY (codtarifa)
        REFERENCES tarifas (codtarifa) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE divisas (
    coddivisa varchar(3) NOT NULL, codiso varchar(5), descripcion varchar(100), simbolo varchar(10),
    tasaconv double precision NOT NULL, tasaconvcompra double precision,
    PRIMARY KEY (coddivisa)
);

CREATE TABLE ejercicios (
    codejercicio varchar(4) NOT NULL, estado varchar(15) NOT NULL, fechafin date NOT NULL, fechainicio date NOT NULL,
    idempresa integer, longsubcuenta integer, nombre varchar(100) NOT NULL,
    PRIMARY KEY (codejercicio),
    CONSTRAINT ca_ejercicios_empresas FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE estados_documentos (
    activo boolean DEFAULT true, actualizastock integer, bloquear boolean, color varchar(15), editable boolean,
    generadoc varchar(30), icon varchar(50), idestado serial, nombre varchar(30) NOT NULL, predeterminado boolean,
    tipodoc varchar(30) NOT NULL,
    PRIMARY KEY (idestado)
);

CREATE TABLE pages (
    icon varchar(50), menu varchar(20), name varchar(40) NOT NULL, ordernum integer NOT NULL DEFAULT 100,
    showonmenu boolean NOT NULL DEFAULT true, submenu varchar(20), title varchar(50) NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE users (
    admin boolean NOT NULL DEFAULT false, codagente varchar(10), codalmacen varchar(4), codserie varchar(4),
    creationdate date, email varchar(100), enabled boolean NOT NULL DEFAULT true, homepage varchar(30),
    idempresa integer, langcode varchar(10), lastactivity timestamp, lastbrowser varchar(200), lastip varchar(45),
    level integer, logkey varchar(100), nick varchar(50) NOT NULL, password varchar(255) NOT NULL,
    two_factor_enabled boolean NOT NULL DEFAULT false, two_factor_secret_key varchar(32),
    PRIMARY KEY (nick),
    CONSTRAINT ca_users_company FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_users_pages FOREIGN KEY (homepage)
        REFERENCES pages (name) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_users_series FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE albaranescli (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codagente varchar(10),
    codalmacen varchar(4), codcliente varchar(10), coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL,
    codigo varchar(20) NOT NULL, codigoenv varchar(200), codpago varchar(10) NOT NULL, codpais varchar(20),
    codpostal varchar(10), codserie varchar(4) NOT NULL, codtrans varchar(8), direccion varchar(200),
    dtopor1 double precision, dtopor2 double precision, editable boolean, fecha date NOT NULL, femail date, hora time,
    idalbaran serial, idcontactoenv integer, idcontactofact integer, idempresa integer, idestado integer,
    idestado_ant integer, irpf double precision, neto double precision, netosindto double precision DEFAULT 0,
    nick varchar(50), nombrecliente varchar(100), numdocs integer DEFAULT 0, numero varchar(12) NOT NULL,
    numero2 varchar(50), observaciones text, operacion varchar(30), provincia varchar(100), tasaconv double precision,
    total double precision, totalbeneficio double precision, totalcoste double precision, totaleuros double precision,
    totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idalbaran),
    CONSTRAINT uniq_codigo_albaranescli UNIQUE (codigo, idempresa),
    CONSTRAINT ca_albaranescli_codagente FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codcliente FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codseries FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_codtrans FOREIGN KEY (codtrans)
        REFERENCES agenciastrans (codtrans) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_idempresas FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_idestados FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranescli_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE proveedores (
    acreedor boolean DEFAULT false, cifnif varchar(30) NOT NULL, codcliente varchar(10), codpago varchar(10),
    codproveedor varchar(10) NOT NULL, codretencion varchar(10), codserie varchar(4), codsubcuenta varchar(15),
    debaja boolean DEFAULT false, excepcioniva varchar(20), email varchar(100), fax varchar(30), fechaalta date,
    fechabaja date, idcontacto integer, langcode varchar(10), nombre varchar(100) NOT NULL, observaciones text,
    operacion varchar(30), personafisica boolean DEFAULT true, razonsocial varchar(100), regimeniva varchar(50),
    telefono1 varchar(30), telefono2 varchar(30), tipoidfiscal varchar(25), web varchar(100),
    PRIMARY KEY (codproveedor),
    CONSTRAINT ca_proveedores_formaspago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_proveedores_retenciones FOREIGN KEY (codretencion)
        REFERENCES retenciones (codretencion) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_proveedores_series FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE albaranesprov (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codalmacen varchar(4),
    coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL, codigo varchar(20) NOT NULL,
    codpago varchar(10) NOT NULL, codpais varchar(20), codpostal varchar(10), codproveedor varchar(10),
    codserie varchar(4) NOT NULL, editable boolean, dtopor1 double precision, dtopor2 double precision,
    direccion varchar(200), fecha date NOT NULL, femail date, hora time, idalbaran serial, idempresa integer,
    idestado integer, idestado_ant integer, irpf double precision, neto double precision,
    netosindto double precision DEFAULT 0, nick varchar(50), nombre varchar(100) NOT NULL, numdocs integer DEFAULT 0,
    numero varchar(12) NOT NULL, numproveedor varchar(50), observaciones text, operacion varchar(30),
    provincia varchar(100), tasaconv double precision, total double precision, totaleuros double precision,
    totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idalbaran),
    CONSTRAINT uniq_codigo_albaranesprov UNIQUE (codigo, idempresa),
    CONSTRAINT ca_albaranesprov_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_codproveedor FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_albaranesprov_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE api_keys (
    apikey varchar(99) NOT NULL, creationdate date NOT NULL, description varchar(150) NOT NULL,
    enabled boolean NOT NULL, fullaccess boolean DEFAULT false, lastactivity timestamp, lastip varchar(45), id serial,
    nick varchar(50),
    PRIMARY KEY (id),
    CONSTRAINT ca_api_keys_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE asientos (
    canal integer, codejercicio varchar(4) NOT NULL, concepto varchar(255), documento varchar(50),
    editable boolean NOT NULL, fecha date NOT NULL, idasiento serial, iddiario integer, idempresa integer,
    importe double precision NOT NULL DEFAULT 0, numero integer NOT NULL, operacion varchar(1),
    PRIMARY KEY (idasiento),
    CONSTRAINT ca_asientos_diarios FOREIGN KEY (iddiario)
        REFERENCES diarios (iddiario) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_asientos_ejercicios FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_asientos_empresas FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE atributos (
    codatributo varchar(20) NOT NULL, nombre varchar(100) NOT NULL, num_selector integer NOT NULL DEFAULT 0,
    PRIMARY KEY (codatributo)
);

CREATE TABLE atributos_valores (
    codatributo varchar(20) NOT NULL, descripcion varchar(200), id serial, valor varchar(100) NOT NULL,
    orden integer DEFAULT 100,
    PRIMARY KEY (id),
    CONSTRAINT uniq_values_atributos_valores UNIQUE (codatributo, valor),
    CONSTRAINT ca_atributos_valores FOREIGN KEY (codatributo)
        REFERENCES atributos (codatributo) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE contactos (
    aceptaprivacidad boolean DEFAULT false, admitemarketing boolean DEFAULT false, apartado varchar(10),
    apellidos varchar(150), cargo varchar(100), cifnif varchar(30), ciudad varchar(100), codagente varchar(10),
    codcliente varchar(10), codpais varchar(20), codpostal varchar(10), codproveedor varchar(10),
    descripcion varchar(100), direccion varchar(200), email varchar(100), empresa varchar(100), fechaalta date,
    idcontacto serial, langcode varchar(10), nombre varchar(100), observaciones text,
    personafisica boolean DEFAULT true, provincia varchar(100), telefono1 varchar(30), telefono2 varchar(30),
    tipoidfiscal varchar(25), verificado boolean DEFAULT false, web varchar(100),
    PRIMARY KEY (idcontacto),
    CONSTRAINT ca_contactos_agentes FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_contactos_clientes FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_contactos_proveedores FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE cuentasbcocli (
    codcliente varchar(10) NOT NULL, codcuenta varchar(10) NOT NULL, descripcion varchar(100), fmandato date,
    iban varchar(34), mandato varchar(35), principal boolean, swift varchar(11),
    PRIMARY KEY (codcuenta),
    CONSTRAINT unique_cuentasbcocli_mandato UNIQUE (mandato),
    CONSTRAINT ca_cuentasbcocli_clientes FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE cuentasbcopro (
    codcuenta varchar(10) NOT NULL, codproveedor varchar(10) NOT NULL, descripcion varchar(100), iban varchar(34),
    principal boolean, swift varchar(11),
    PRIMARY KEY (codcuenta),
    CONSTRAINT ca_cuentasbcopro_proveedores FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE doctransformations (
    cantidad double precision, id serial, iddoc1 integer NOT NULL, iddoc2 integer NOT NULL, idlinea1 integer NOT NULL,
    idlinea2 integer NOT NULL, model1 varchar(30) NOT NULL, model2 varchar(30) NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE facturascli (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codagente varchar(10),
    codalmacen varchar(4), codcliente varchar(10), coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL,
    codigo varchar(20) NOT NULL, codigoenv varchar(200), codigorect varchar(20), codpago varchar(10) NOT NULL,
    codpais varchar(20), codpostal varchar(10), codserie varchar(4) NOT NULL, codtrans varchar(8),
    direccion varchar(200), dtopor1 double precision, dtopor2 double precision, editable boolean, fecha date NOT NULL,
    fechadevengo date, femail date, hora time, idasiento integer, idcontactoenv integer, idcontactofact integer,
    idempresa integer, idestado integer, idestado_ant integer, idfactura serial, idfacturarect integer,
    irpf double precision, neto double precision, netosindto double precision DEFAULT 0, nick varchar(50),
    nombrecliente varchar(100) NOT NULL, numdocs integer DEFAULT 0, numero varchar(12) NOT NULL, numero2 varchar(50),
    observaciones text, operacion varchar(30), pagada boolean DEFAULT false, provincia varchar(100),
    tasaconv double precision, total double precision, totalbeneficio double precision, totalcoste double precision,
    totaleuros double precision, totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0, vencida boolean DEFAULT false,
    PRIMARY KEY (idfactura),
    CONSTRAINT uniq_codigo_facturascli UNIQUE (codigo, idempresa),
    CONSTRAINT uniq_number_facturascli UNIQUE (codejercicio, codserie, idempresa, numero),
    CONSTRAINT ca_facturascli_codagente FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codcliente FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_codtrans FOREIGN KEY (codtrans)
        REFERENCES agenciastrans (codtrans) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_idasiento FOREIGN KEY (idasiento)
        REFERENCES asientos (idasiento) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_idfacturarect FOREIGN KEY (idfacturarect)
        REFERENCES facturascli (idfactura) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturascli_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE facturasprov (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codalmacen varchar(4),
    coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL, codigo varchar(20) NOT NULL,
    codigorect varchar(20), codpago varchar(10) NOT NULL, codpais varchar(20), codpostal varchar(10),
    codproveedor varchar(10), codserie varchar(4) NOT NULL, dtopor1 double precision, dtopor2 double precision,
    direccion varchar(200), editable boolean, fecha date NOT NULL, fechadevengo date, femail date, hora time,
    idasiento integer, idempresa integer, idestado integer, idestado_ant integer, idfactura serial,
    idfacturarect integer, irpf double precision, neto double precision, netosindto double precision DEFAULT 0,
    nick varchar(50), numdocs integer DEFAULT 0, nombre varchar(100) NOT NULL, numero varchar(12) NOT NULL,
    numproveedor varchar(50), observaciones text, operacion varchar(30), pagada boolean DEFAULT false,
    provincia varchar(100), tasaconv double precision, total double precision, totaleuros double precision,
    totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0, vencida boolean DEFAULT false,
    PRIMARY KEY (idfactura),
    CONSTRAINT uniq_codigo_facturasprov UNIQUE (codigo, idempresa),
    CONSTRAINT uniq_numero_facturasprov UNIQUE (codejercicio, codserie, idempresa, numero),
    CONSTRAINT ca_facturasprov_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_codproveedor FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_idasiento FOREIGN KEY (idasiento)
        REFERENCES asientos (idasiento) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_idfacturarect FOREIGN KEY (idfacturarect)
        REFERENCES facturasprov (idfactura) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_facturasprov_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineasalbaranescli (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    coste double precision, descripcion text, dtopor double precision NOT NULL DEFAULT 0,
    dtopor2 double precision NOT NULL DEFAULT 0, excepcioniva varchar(20), idalbaran integer NOT NULL, idlinea serial,
    idproducto integer, irpf double precision, iva double precision NOT NULL, mostrar_cantidad boolean DEFAULT true,
    mostrar_precio boolean DEFAULT true, orden integer DEFAULT 0, pvpsindto double precision NOT NULL,
    pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL, recargo double precision NOT NULL,
    referencia varchar(30), salto_pagina boolean DEFAULT false, servido double precision NOT NULL DEFAULT 0,
    suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineasalbaranescli_albaranescli2 FOREIGN KEY (idalbaran)
        REFERENCES albaranescli (idalbaran) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineasalbaranescli_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineasalbaranescli_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineasalbaranesprov (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    descripcion text, dtopor double precision NOT NULL DEFAULT 0, dtopor2 double precision NOT NULL DEFAULT 0,
    excepcioniva varchar(20), idalbaran integer NOT NULL, idlinea serial, idproducto integer, irpf double precision,
    iva double precision NOT NULL, orden integer DEFAULT 0, pvpsindto double precision NOT NULL,
    pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL, recargo double precision NOT NULL,
    referencia varchar(30), servido double precision NOT NULL DEFAULT 0, suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineasalbaranesprov_albaranesprov2 FOREIGN KEY (idalbaran)
        REFERENCES albaranesprov (idalbaran) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineasalbaranesprov_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineasalbaranesprov_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineasfacturascli (
    actualizastock integer NOT NULL DEFAULT -1, cantidad double precision NOT NULL, codimpuesto varchar(10),
    coste double precision, descripcion text, dtopor double precision NOT NULL DEFAULT 0,
    dtopor2 double precision NOT NULL DEFAULT 0, excepcioniva varchar(20), idfactura integer NOT NULL, idlinea serial,
    idlinearect integer, idproducto integer, irpf double precision, iva double precision NOT NULL,
    mostrar_cantidad boolean DEFAULT true, mostrar_precio boolean DEFAULT true, orden integer DEFAULT 0,
    pvpsindto double precision NOT NULL, pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL,
    recargo double precision NOT NULL, referencia varchar(30), salto_pagina boolean DEFAULT false,
    servido double precision NOT NULL DEFAULT 0, suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineasfacturascli_facturascli2 FOREIGN KEY (idfactura)
        REFERENCES facturascli (idfactura) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturascli_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturascli_linearect2 FOREIGN KEY (idlinearect)
        REFERENCES lineasfacturascli (idlinea) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturascli_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineasfacturasprov (
    actualizastock integer NOT NULL DEFAULT 1, cantidad double precision NOT NULL, codimpuesto varchar(10),
    descripcion text, dtopor double precision NOT NULL DEFAULT 0, dtopor2 double precision NOT NULL DEFAULT 0,
    excepcioniva varchar(20), idfactura integer NOT NULL, idlinea serial, idlinearect integer, idproducto integer,
    irpf double precision, iva double precision NOT NULL, orden integer DEFAULT 0,
    pvpsindto double precision NOT NULL, pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL,
    recargo double precision NOT NULL, referencia varchar(30), servido double precision NOT NULL DEFAULT 0,
    suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineasfacturasprov_facturasprov2 FOREIGN KEY (idfactura)
        REFERENCES facturasprov (idfactura) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturasprov_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturasprov_linearect2 FOREIGN KEY (idlinearect)
        REFERENCES lineasfacturasprov (idlinea) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_lineasfacturasprov_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE pedidoscli (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codagente varchar(10),
    codalmacen varchar(4), codcliente varchar(10), coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL,
    codigo varchar(20) NOT NULL, codigoenv varchar(200), codpago varchar(10) NOT NULL, codpais varchar(20),
    codpostal varchar(10), codserie varchar(4) NOT NULL, codtrans varchar(8), direccion varchar(200),
    dtopor1 double precision, dtopor2 double precision, editable boolean, fecha date NOT NULL, femail date,
    finoferta date, hora time, idcontactoenv integer, idcontactofact integer, idempresa integer, idestado integer,
    idestado_ant integer, idpedido serial, irpf double precision, neto double precision,
    netosindto double precision DEFAULT 0, nick varchar(50), nombrecliente varchar(100), numdocs integer DEFAULT 0,
    numero varchar(12) NOT NULL, numero2 varchar(50), observaciones text, operacion varchar(30),
    provincia varchar(100), tasaconv double precision, total double precision, totalbeneficio double precision,
    totalcoste double precision, totaleuros double precision, totalirpf double precision, totaliva double precision,
    totalrecargo double precision, totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idpedido),
    CONSTRAINT uniq_codigo_pedidoscli UNIQUE (codigo, idempresa),
    CONSTRAINT ca_pedidoscli_codagente FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codcliente FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_codtrans FOREIGN KEY (codtrans)
        REFERENCES agenciastrans (codtrans) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pedidoscli_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineaspedidoscli (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    coste double precision, descripcion text, dtopor double precision NOT NULL DEFAULT 0,
    dtopor2 double precision NOT NULL DEFAULT 0, excepcioniva varchar(20), idlinea serial, idpedido integer NOT NULL,
    idproducto integer, irpf double precision, iva double precision NOT NULL, mostrar_cantidad boolean DEFAULT true,
    mostrar_precio boolean DEFAULT true, orden integer DEFAULT 0, pvpsindto double precision NOT NULL,
    pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL, recargo double precision NOT NULL,
    referencia varchar(30), salto_pagina boolean DEFAULT false, servido double precision NOT NULL DEFAULT 0,
    suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineaspedidoscli_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspedidoscli_pedidoscli FOREIGN KEY (idpedido)
        REFERENCES pedidoscli (idpedido) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspedidoscli_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE pedidosprov (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codalmacen varchar(4),
    coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL, codigo varchar(20) NOT NULL,
    codpago varchar(10) NOT NULL, codpais varchar(20), codpostal varchar(10), codproveedor varchar(10),
    codserie varchar(4) NOT NULL, dtopor1 double precision, dtopor2 double precision, direccion varchar(200),
    editable boolean, fecha date NOT NULL, femail date, hora time, idempresa integer, idestado integer,
    idestado_ant integer, idpedido serial, irpf double precision, neto double precision,
    netosindto double precision DEFAULT 0, nick varchar(50), nombre varchar(100), numdocs integer DEFAULT 0,
    numero varchar(12) NOT NULL, numproveedor varchar(50), observaciones text, operacion varchar(30),
    provincia varchar(100), tasaconv double precision, total double precision, totaleuros double precision,
    totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idpedido),
    CONSTRAINT uniq_codigo_pedidosprov UNIQUE (codigo, idempresa),
    CONSTRAINT ca_pedidosprov_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_codpagos FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_codproveedor FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pedidosprov_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineaspedidosprov (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    descripcion text, dtopor double precision NOT NULL DEFAULT 0, dtopor2 double precision NOT NULL DEFAULT 0,
    excepcioniva varchar(20), idlinea serial, idpedido integer NOT NULL, idproducto integer, irpf double precision,
    iva double precision NOT NULL, orden integer DEFAULT 0, pvpsindto double precision NOT NULL,
    pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL, recargo double precision NOT NULL,
    referencia varchar(30), servido double precision NOT NULL DEFAULT 0, suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineaspedidosprov_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspedidosprov_pedidosprov FOREIGN KEY (idpedido)
        REFERENCES pedidosprov (idpedido) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspedidosprov_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE presupuestoscli (
    apartado varchar(10), cifnif varchar(30), ciudad varchar(100), codagente varchar(10), codalmacen varchar(4),
    codcliente varchar(10), coddivisa varchar(3) NOT NULL, codejercicio varchar(4) NOT NULL,
    codigo varchar(20) NOT NULL, codigoenv varchar(200), codpago varchar(10) NOT NULL, codpais varchar(20),
    codpostal varchar(10), codserie varchar(4) NOT NULL, codtrans varchar(8), direccion varchar(200),
    dtopor1 double precision, dtopor2 double precision, editable boolean, fecha date NOT NULL, femail date,
    finoferta date, hora time, idcontactoenv integer, idcontactofact integer, idempresa integer, idestado integer,
    idestado_ant integer, idpresupuesto serial, irpf double precision, neto double precision,
    netosindto double precision DEFAULT 0, nick varchar(50), nombrecliente varchar(100), numdocs integer DEFAULT 0,
    numero varchar(12) NOT NULL, numero2 varchar(50), observaciones text, operacion varchar(30),
    provincia varchar(100), tasaconv double precision, total double precision, totalbeneficio double precision,
    totalcoste double precision, totaleuros double precision, totalirpf double precision, totaliva double precision,
    totalrecargo double precision, totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idpresupuesto),
    CONSTRAINT uniq_codigo_presupuestoscli UNIQUE (codigo, idempresa),
    CONSTRAINT ca_presupuestoscli_codagente FOREIGN KEY (codagente)
        REFERENCES agentes (codagente) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codcliente FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codpago FOREIGN KEY (codpago)
        REFERENCES formaspago (codpago) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_codtrans FOREIGN KEY (codtrans)
        REFERENCES agenciastrans (codtrans) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestoscli_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineaspresupuestoscli (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    coste double precision, descripcion text, dtopor double precision NOT NULL DEFAULT 0,
    dtopor2 double precision NOT NULL DEFAULT 0, excepcioniva varchar(20), idlinea serial,
    idpresupuesto integer NOT NULL, idproducto integer, irpf double precision, iva double precision NOT NULL,
    mostrar_cantidad boolean DEFAULT true, mostrar_precio boolean DEFAULT true, orden integer DEFAULT 0,
    pvpsindto double precision NOT NULL, pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL,
    recargo double precision NOT NULL, referencia varchar(30), salto_pagina boolean DEFAULT false,
    servido double precision NOT NULL DEFAULT 0, suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineaspresupuestoscli_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspresupuestoscli_presupuestoscli FOREIGN KEY (idpresupuesto)
        REFERENCES presupuestoscli (idpresupuesto) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspresupuestoscli_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE presupuestosprov (
    apartado varchar(10), cifnif varchar(30) NOT NULL, ciudad varchar(100), codalmacen varchar(4),
    codejercicio varchar(4) NOT NULL, codigo varchar(20) NOT NULL, coddivisa varchar(3) NOT NULL,
    codpago varchar(10) NOT NULL, codpais varchar(20), codpostal varchar(10), codproveedor varchar(10),
    codserie varchar(4) NOT NULL, dtopor1 double precision, dtopor2 double precision, direccion varchar(200),
    editable boolean, fecha date NOT NULL, femail date, hora time, idempresa integer, idestado integer,
    idestado_ant integer, idpresupuesto serial, irpf double precision, neto double precision,
    netosindto double precision DEFAULT 0, nick varchar(50), numdocs integer DEFAULT 0, nombre varchar(100),
    numero varchar(12) NOT NULL, numproveedor varchar(50), observaciones text, operacion varchar(30),
    provincia varchar(100), tasaconv double precision, total double precision, totaleuros double precision,
    totalirpf double precision, totaliva double precision, totalrecargo double precision,
    totalsuplidos double precision DEFAULT 0,
    PRIMARY KEY (idpresupuesto),
    CONSTRAINT uniq_codigo_presupuestosprov UNIQUE (codigo, idempresa),
    CONSTRAINT ca_presupuestosprov_codalmacen FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_coddivisa FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_codejercicio FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_codproveedor FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_codserie FOREIGN KEY (codserie)
        REFERENCES series (codserie) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_idempresa FOREIGN KEY (idempresa)
        REFERENCES empresas (idempresa) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_idestado FOREIGN KEY (idestado)
        REFERENCES estados_documentos (idestado) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_idestado_ant FOREIGN KEY (idestado_ant)
        REFERENCES estados_documentos (idestado) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_presupuestosprov_nick FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE lineaspresupuestosprov (
    actualizastock integer NOT NULL DEFAULT 0, cantidad double precision NOT NULL, codimpuesto varchar(10),
    descripcion text, dtopor double precision NOT NULL DEFAULT 0, dtopor2 double precision NOT NULL DEFAULT 0,
    excepcioniva varchar(20), idlinea serial, idpresupuesto integer NOT NULL, idproducto integer,
    irpf double precision, iva double precision NOT NULL, orden integer DEFAULT 0,
    pvpsindto double precision NOT NULL, pvptotal double precision NOT NULL, pvpunitario double precision NOT NULL,
    recargo double precision NOT NULL, referencia varchar(30), servido double precision NOT NULL DEFAULT 0,
    suplido boolean DEFAULT false,
    PRIMARY KEY (idlinea),
    CONSTRAINT ca_lineaspresupuestosprov_impuestos FOREIGN KEY (codimpuesto)
        REFERENCES impuestos (codimpuesto) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspresupuestosprov_presupuestosprov FOREIGN KEY (idpresupuesto)
        REFERENCES presupuestosprov (idpresupuesto) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_lineaspresupuestosprov_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE recibospagoscli (
    codcliente varchar(10) NOT NULL, coddivisa varchar(3), codigofactura varchar(20), codpago varchar(10),
    fecha date NOT NULL, fechapago date, gastos double precision DEFAULT 0, idempresa integer NOT NULL,
    idfactura integer, idrecibo serial, importe double precision DEFAULT 0, liquidado double precision DEFAULT 0,
    nick varchar(50), numero integer, observaciones text, pagado boolean DEFAULT false, vencido boolean DEFAULT false,
    vencimiento date,
    PRIMARY KEY (idrecibo),
    CONSTRAINT ca_recibospagoscli_clientes FOREIGN KEY (codcliente)
        REFERENCES clientes (codcliente) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_recibospagoscli_divisas FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_recibospagoscli_facturascli FOREIGN KEY (idfactura)
        REFERENCES facturascli (idfactura) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE pagoscli (
    codpago varchar(10), customid varchar(30), customstatus varchar(30), fecha date NOT NULL,
    gastos double precision DEFAULT 0, hora time, idasiento integer, idpago serial, idrecibo integer NOT NULL,
    importe double precision DEFAULT 0, nick varchar(50),
    PRIMARY KEY (idpago),
    CONSTRAINT ca_pagoscli_asiento FOREIGN KEY (idasiento)
        REFERENCES asientos (idasiento) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pagoscli_recibo FOREIGN KEY (idrecibo)
        REFERENCES recibospagoscli (idrecibo) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE recibospagosprov (
    coddivisa varchar(3), codigofactura varchar(20), codpago varchar(10), codproveedor varchar(10) NOT NULL,
    fecha date NOT NULL, fechapago date, idempresa integer NOT NULL, idfactura integer, idrecibo serial,
    importe double precision DEFAULT 0, liquidado double precision DEFAULT 0, nick varchar(50), numero integer,
    observaciones text, pagado boolean DEFAULT false, vencido boolean DEFAULT false, vencimiento date,
    PRIMARY KEY (idrecibo),
    CONSTRAINT ca_recibospagosprov_divisas FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_recibospagosprov_facturasprov FOREIGN KEY (idfactura)
        REFERENCES facturasprov (idfactura) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_recibospagosprov_proveedores FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE RESTRICT ON UPDATE CASCADE
);

CREATE TABLE pagosprov (
    codpago varchar(10), fecha date NOT NULL, hora time, idasiento integer, idpago serial, idrecibo integer NOT NULL,
    importe double precision DEFAULT 0, nick varchar(50),
    PRIMARY KEY (idpago),
    CONSTRAINT ca_pagosprov_asiento FOREIGN KEY (idasiento)
        REFERENCES asientos (idasiento) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_pagosprov_recibo FOREIGN KEY (idrecibo)
        REFERENCES recibospagosprov (idrecibo) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE subcuentas (
    codcuenta varchar(10) NOT NULL, codcuentaesp varchar(6), codejercicio varchar(4) NOT NULL,
    codsubcuenta varchar(15) NOT NULL, debe double precision NOT NULL DEFAULT 0, descripcion varchar(255) NOT NULL,
    haber double precision NOT NULL DEFAULT 0, idcuenta integer NOT NULL, idsubcuenta serial,
    saldo double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (idsubcuenta),
    CONSTRAINT uniq_codsubcuenta UNIQUE (codsubcuenta, codejercicio),
    CONSTRAINT ca_subcuentas_ejercicios FOREIGN KEY (codejercicio)
        REFERENCES ejercicios (codejercicio) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE partidas (
    baseimponible double precision NOT NULL DEFAULT 0, cifnif varchar(30), codcontrapartida varchar(15),
    coddivisa varchar(3), codserie varchar(4), codsubcuenta varchar(15) NOT NULL, concepto varchar(255),
    debe double precision NOT NULL DEFAULT 0, documento varchar(50), factura varchar(15),
    haber double precision NOT NULL DEFAULT 0, idasiento integer NOT NULL, idcontrapartida integer, idpartida serial,
    idsubcuenta integer NOT NULL, iva double precision, orden integer NOT NULL DEFAULT 0,
    punteada boolean NOT NULL DEFAULT false, recargo double precision NOT NULL DEFAULT 0,
    saldo double precision NOT NULL DEFAULT 0, tasaconv double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (idpartida),
    CONSTRAINT ca_partidas_asientos FOREIGN KEY (idasiento)
        REFERENCES asientos (idasiento) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_partidas_subcuentas FOREIGN KEY (idsubcuenta)
        REFERENCES subcuentas (idsubcuenta) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_partidas_subcuentas2 FOREIGN KEY (idcontrapartida)
        REFERENCES subcuentas (idsubcuenta) ON DELETE SET NULL ON UPDATE CASCADE
);

CREATE TABLE productosprov (
    actualizado timestamp, coddivisa varchar(3), codproveedor varchar(10) NOT NULL, dtopor double precision,
    dtopor2 double precision, id serial, idproducto integer, neto double precision,
    netoeuros double precision DEFAULT 0, precio double precision, referencia varchar(30),
    refproveedor varchar(30) NOT NULL, stock double precision DEFAULT 0,
    PRIMARY KEY (id),
    CONSTRAINT uniq_productosprov UNIQUE (codproveedor, refproveedor, referencia, coddivisa),
    CONSTRAINT ca_productosprov_divisas FOREIGN KEY (coddivisa)
        REFERENCES divisas (coddivisa) ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT ca_productosprov_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_productosprov_proveedores FOREIGN KEY (codproveedor)
        REFERENCES proveedores (codproveedor) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE roles (
    codrole varchar(20) NOT NULL, descripcion varchar(200) NOT NULL,
    PRIMARY KEY (codrole)
);

CREATE TABLE roles_access (
    allowdelete boolean NOT NULL DEFAULT true, allowexport boolean NOT NULL DEFAULT true,
    allowimport boolean NOT NULL DEFAULT true, allowupdate boolean NOT NULL DEFAULT true,
    codrole varchar(20) NOT NULL, id serial, onlyownerdata boolean NOT NULL DEFAULT false,
    pagename varchar(40) NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT unique_roles_access UNIQUE (codrole, pagename),
    CONSTRAINT ca_roles_access_roles FOREIGN KEY (codrole)
        REFERENCES roles (codrole) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE roles_users (
    codrole varchar(20) NOT NULL, id serial, nick varchar(50) NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT unique_roles_users UNIQUE (codrole, nick),
    CONSTRAINT ca_roles_users_roles FOREIGN KEY (codrole)
        REFERENCES roles (codrole) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_roles_users_user FOREIGN KEY (nick)
        REFERENCES users (nick) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE settings (
    name varchar(50) NOT NULL, properties text,
    PRIMARY KEY (name)
);

CREATE TABLE variantes (
    codbarras varchar(20), coste double precision DEFAULT 0, idatributovalor1 integer, idatributovalor2 integer,
    idatributovalor3 integer, idatributovalor4 integer, idproducto integer NOT NULL, idvariante serial,
    margen double precision DEFAULT 0, precio double precision DEFAULT 0, referencia varchar(30) NOT NULL,
    stockfis double precision DEFAULT 0,
    PRIMARY KEY (idvariante),
    CONSTRAINT uniq_variantes_referencia UNIQUE (referencia),
    CONSTRAINT ca_variantes_atributo1 FOREIGN KEY (idatributovalor1)
        REFERENCES atributos_valores (id) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_variantes_atributo2 FOREIGN KEY (idatributovalor2)
        REFERENCES atributos_valores (id) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_variantes_atributo3 FOREIGN KEY (idatributovalor3)
        REFERENCES atributos_valores (id) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_variantes_atributo4 FOREIGN KEY (idatributovalor4)
        REFERENCES atributos_valores (id) ON DELETE SET NULL ON UPDATE CASCADE,
    CONSTRAINT ca_variantes_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE stocks (
    cantidad double precision DEFAULT 0, codalmacen varchar(4) NOT NULL, disponible double precision DEFAULT 0,
    idproducto integer NOT NULL, idstock serial, pterecibir double precision DEFAULT 0,
    referencia varchar(30) NOT NULL, reservada double precision DEFAULT 0, stockmax double precision DEFAULT 0,
    stockmin double precision DEFAULT 0, ubicacion varchar(100),
    PRIMARY KEY (idstock),
    CONSTRAINT uniq_stocks_almacen_referencia UNIQUE (codalmacen, referencia),
    CONSTRAINT ca_stocks_almacenes FOREIGN KEY (codalmacen)
        REFERENCES almacenes (codalmacen) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_stocks_productos FOREIGN KEY (idproducto)
        REFERENCES productos (idproducto) ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT ca_stocks_variantes FOREIGN KEY (referencia)
        REFERENCES variantes (referencia) ON DELETE CASCADE ON UPDATE CASCADE
);
