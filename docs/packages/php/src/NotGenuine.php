<?php

declare(strict_types=1);

namespace FacturaScriptsCdc\Receiver;

/** The request is forged, changed or too old, or there is no secret to verify it with: answer 401. */
final class NotGenuine extends \RuntimeException
{
}
