<?php

declare(strict_types=1);

namespace FacturaScriptsCdc\Receiver;

/** An event in the default format. */
final class Event
{
    /**
     * @param array<string, mixed> $key primary key of the row
     * @param array<string, mixed> $data the row as the change left it
     * @param array<string, mixed> $previous former values of what changed; empty except after an update
     * @param array<string, mixed> $related records that belong to this one, by what they are to it
     * @param string $link the record's page in FacturaScripts; empty where it is not known
     * @param bool $test an example: no record was changed
     * @param array<string, mixed> $payload everything that arrived
     */
    private function __construct(
        public readonly string $id,
        public readonly string $name,
        public readonly string $timestamp,
        public readonly string $source,
        public readonly array $key,
        public readonly array $data,
        public readonly array $previous,
        public readonly array $related,
        public readonly string $link,
        public readonly bool $test,
        public readonly array $payload,
    ) {
    }

    /**
     * @param array<string, mixed> $payload
     * @throws \UnexpectedValueException when the endpoint has another format
     */
    public static function of(array $payload): self
    {
        foreach (['id', 'event', 'timestamp', 'source', 'key'] as $name) {
            isset($payload[$name]) || throw new \UnexpectedValueException("The event has no $name.");
        }
        return new self(
            $payload['id'],
            $payload['event'],
            $payload['timestamp'],
            $payload['source'],
            $payload['key'],
            $payload['data'] ?? [],
            $payload['previous'] ?? [],
            $payload['related'] ?? [],
            $payload['links']['record'] ?? '',
            $payload['test'] ?? false,
            $payload,
        );
    }
}
