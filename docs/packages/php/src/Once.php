<?php

declare(strict_types=1);

namespace FacturaScriptsCdc\Receiver;

/**
 * Handles each event once, by its id, in files of a folder.
 *
 * An id is stored when its work is done: work that fails, or is killed, is done again when the event is sent again.
 * With a database of yours, a table of ids written in the transaction of the work does it without a repetition.
 */
final class Once
{
    public function __construct(private readonly string $folder)
    {
    }

    /**
     * Calls the work with the event, one event at a time, and returns true; returns false for an event that was handled
     * before, and for a test.
     *
     * @param callable(Event): void $work
     */
    public function handle(Event $event, callable $work): bool
    {
        if ($event->test) {
            return false;
        }
        is_dir($this->folder) || mkdir($this->folder, 0700, true);
        $lock = fopen($this->folder . '/lock', 'c') ?: throw new \RuntimeException("$this->folder cannot be written.");
        flock($lock, LOCK_EX);
        try {
            $seen = $this->folder . '/' . sha1($event->id) . '.seen';
            if (file_exists($seen)) {
                return false;
            }
            $work($event);
            touch($seen) || throw new \RuntimeException("$seen cannot be written.");
            return true;
        } finally {
            fclose($lock);
        }
    }

    /** Removes the ids of events that were handled so many days ago; they could be handled again after that. */
    public function forget(int $days): void
    {
        foreach (glob($this->folder . '/*.seen') ?: [] as $file) {
            if (filemtime($file) < time() - $days * 86400) {
                unlink($file);
            }
        }
    }
}
