<?php
/** Loads the package where there is no composer. */
declare(strict_types=1);

require_once __DIR__ . '/src/webhook_is_genuine.php';
spl_autoload_register(static function (string $class): void {
    $name = 'FacturaScriptsCdc\\Receiver\\';
    if (str_starts_with($class, $name) && is_file($file = __DIR__ . '/src/' . substr($class, strlen($name)) . '.php')) {
        require $file;
    }
});
